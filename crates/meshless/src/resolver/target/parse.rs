//! From a string to a [`Target`].

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use super::error::MAX_UNIX_PATH;
use super::{HTTP_PORT, HTTPS_PORT, Scheme, Target, TargetError, TargetKind, kubernetes};

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        if text.trim().is_empty() {
            return Err(TargetError::Empty);
        }
        let text = text.trim();
        let Some((scheme, rest)) = text.split_once(':') else {
            return Err(TargetError::MissingPort { host: text.to_owned(), target: text.to_owned() });
        };
        let parser = Parser { target: text };
        let grpc = |kind| Self { scheme: Scheme::Grpc, kind };
        // "The scheme is case-insensitive" (RFC 3986 §3.1).
        match scheme.to_ascii_lowercase().as_str() {
            "dns" => parser.dns(rest).map(grpc),
            "ipv4" => parser.addresses(rest, SocketAddr::is_ipv4, "ipv4:10.0.0.1:50051").map(grpc),
            "ipv6" => parser.addresses(rest, SocketAddr::is_ipv6, "ipv6:[fd00::1]:50051").map(grpc),
            "unix" => parser.unix(rest).map(grpc),
            "kubernetes" => kubernetes::parse(rest, text).map(grpc),
            "http" => parser.web(rest, Scheme::Http, HTTP_PORT),
            "https" => parser.web(rest, Scheme::Https, HTTPS_PORT),
            _ if rest.starts_with("//") => {
                Err(TargetError::UnknownScheme { scheme: scheme.to_owned(), target: text.to_owned() })
            }
            // No scheme: "if no scheme is given, dns is used" (gRPC's naming.md).
            _ => parser.endpoint(None, text, None).map(grpc),
        }
    }
}

/// Parses the parts of one target, which it names in errors.
#[derive(Clone, Copy)]
struct Parser<'a> {
    target: &'a str,
}

impl<'a> Parser<'a> {
    /// What follows `dns:`: `//[name server]/host:port`, or `host:port`.
    fn dns(self, rest: &'a str) -> Result<TargetKind, TargetError> {
        let Some(rest) = rest.strip_prefix("//") else {
            return self.endpoint(None, rest, None);
        };
        let Some((name_server, endpoint)) = rest.split_once('/') else {
            // `dns://host:port`: one slash short of what was meant, and unclear about which part is missing.
            return Err(self.bad_name_server(rest));
        };
        let name_server = match name_server {
            "" => None,
            written => Some(self.name_server(written)?),
        };
        self.endpoint(name_server, endpoint, None)
    }

    fn name_server(self, written: &str) -> Result<SocketAddr, TargetError> {
        let bare = written.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(written);
        written
            .parse()
            .or_else(|_| bare.parse().map(|ip: IpAddr| SocketAddr::new(ip, DNS_PORT)))
            .ok()
            .filter(|address: &SocketAddr| address.port() != 0)
            .ok_or_else(|| self.bad_name_server(written))
    }

    /// What follows `http:` or `https:`.
    fn web(self, rest: &'a str, scheme: Scheme, default_port: u16) -> Result<Target, TargetError> {
        let endpoint = rest.strip_prefix("//").ok_or_else(|| self.empty_host())?;
        // A final slash is what URLs are often written with; more than that would be a path.
        let endpoint = endpoint.strip_suffix('/').unwrap_or(endpoint);
        Ok(Target { scheme, kind: self.endpoint(None, endpoint, Some(default_port))? })
    }

    /// `host:port`, or an address with its port.
    fn endpoint(
        self,
        name_server: Option<SocketAddr>,
        endpoint: &str,
        default_port: Option<u16>,
    ) -> Result<TargetKind, TargetError> {
        if let Some((at, _)) = endpoint.char_indices().find(|(_, c)| matches!(c, '/' | '?' | '#')) {
            let rest = endpoint[at..].to_owned();
            return Err(TargetError::TrailingPath { rest, target: self.target.to_owned() });
        }
        let (host, port) = split_port(endpoint);
        if host.is_empty() || host == "[]" {
            return Err(self.empty_host());
        }
        let port = match (port, default_port) {
            (Some(port), _) => self.port(port)?,
            (None, Some(default_port)) => default_port,
            (None, None) => {
                let host = host.to_owned();
                return Err(TargetError::MissingPort { host, target: self.target.to_owned() });
            }
        };
        let bracketed = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let ip: Option<IpAddr> = match bracketed {
            Some(inner) => inner.parse().ok().filter(IpAddr::is_ipv6),
            None => host.parse().ok().filter(IpAddr::is_ipv4),
        };
        if let Some(ip) = ip {
            return Ok(TargetKind::Addresses(vec![SocketAddr::new(ip, port)]));
        }
        if !is_host_name(host) {
            return Err(TargetError::BadHost { host: host.to_owned(), target: self.target.to_owned() });
        }
        Ok(TargetKind::Dns { name_server, host: host.to_owned(), port })
    }

    fn port(self, written: &str) -> Result<u16, TargetError> {
        // `parse` alone would take "+80".
        let digits = !written.is_empty() && written.bytes().all(|byte| byte.is_ascii_digit());
        written
            .parse()
            .ok()
            .filter(|port| digits && *port != 0)
            .ok_or_else(|| TargetError::BadPort { port: written.to_owned(), target: self.target.to_owned() })
    }

    /// A list of addresses of one family.
    fn addresses(
        self,
        rest: &str,
        family: impl Fn(&SocketAddr) -> bool,
        example: &'static str,
    ) -> Result<TargetKind, TargetError> {
        // gRPC's URI form of the same: `ipv4:///10.0.0.1:50051`.
        let rest = rest.strip_prefix("///").unwrap_or(rest);
        let parse = |address: &str| {
            let parsed: Option<SocketAddr> = address.trim().parse().ok();
            parsed.filter(|parsed| family(parsed) && parsed.port() != 0).ok_or_else(|| {
                TargetError::BadAddress {
                    address: address.to_owned(),
                    target: self.target.to_owned(),
                    example,
                }
            })
        };
        rest.split(',').map(parse).collect::<Result<_, _>>().map(TargetKind::Addresses)
    }

    /// What follows `unix:`: a path, or `//` and an absolute path.
    fn unix(self, rest: &str) -> Result<TargetKind, TargetError> {
        let path = match rest.strip_prefix("//") {
            // `unix://authority/path`: "the authority must be empty" (gRPC's naming.md).
            Some(after) if !after.starts_with('/') => String::new(),
            _ if rest.starts_with('/') => format!("/{}", rest.trim_start_matches('/')),
            _ => rest.to_owned(),
        };
        if path.is_empty() || path.ends_with('/') || path.len() > MAX_UNIX_PATH || path.contains('\0') {
            return Err(TargetError::BadPath { target: self.target.to_owned() });
        }
        Ok(TargetKind::Unix(PathBuf::from(path)))
    }

    fn empty_host(self) -> TargetError {
        TargetError::EmptyHost { target: self.target.to_owned() }
    }

    fn bad_name_server(self, written: &str) -> TargetError {
        TargetError::BadNameServer { name_server: written.to_owned(), target: self.target.to_owned() }
    }
}

/// Splits at the colon before the port, if there is one: the last, unless it stands within brackets.
fn split_port(endpoint: &str) -> (&str, Option<&str>) {
    match endpoint.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (endpoint, None),
    }
}

/// Letters, digits, hyphen, dot (RFC 1123 §2.1) and the underscore that Kubernetes and SRV names use.
fn is_host_name(host: &str) -> bool {
    let name = host.strip_suffix('.').unwrap_or(host);
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    name.len() <= 253 && name.split('.').all(label)
}

const DNS_PORT: u16 = 53;
