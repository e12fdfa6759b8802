//! Parses a string into a [`Target`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::path::PathBuf;
use std::str::FromStr;

use percent_encoding::percent_decode_str;

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
            other if rest.starts_with("//") || is_grpc_scheme(other, rest) => {
                Err(TargetError::UnknownScheme { scheme: scheme.to_owned(), target: text.to_owned() })
            }
            // No scheme: "if no scheme is given, dns is used" (gRPC's naming.md).
            _ => parser.endpoint(None, text, None).map(grpc),
        }
    }
}

/// Returns true for schemes of other gRPC libraries, which are also written without slashes:
/// `xds:echo` is not a host with a port.
fn is_grpc_scheme(scheme: &str, rest: &str) -> bool {
    let is_port = !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit());
    !is_port && ["google-c2p", "passthrough", "unix-abstract", "vsock", "xds"].contains(&scheme)
}

/// Parses the parts of one target. Errors name the whole target.
#[derive(Clone, Copy)]
struct Parser<'a> {
    target: &'a str,
}

impl<'a> Parser<'a> {
    /// Parses the text after `dns:`: `//[name server]/host:port`, or `host:port`.
    fn dns(self, rest: &'a str) -> Result<TargetKind, TargetError> {
        let Some(rest) = rest.strip_prefix("//") else {
            return self.endpoint(None, rest, None);
        };
        let Some((name_server, endpoint)) = rest.split_once('/') else {
            // `dns://host:port` lacks one slash, and it is unclear which part is missing.
            return Err(self.bad_name_server(rest));
        };
        let name_server = match name_server {
            "" => None,
            written => Some(self.name_server(written)?),
        };
        self.endpoint(name_server, endpoint, None)
    }

    fn name_server(self, written: &str) -> Result<SocketAddr, TargetError> {
        let bracketed = written.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let without_port = || match bracketed {
            Some(inner) => self.ipv6(inner, DNS_PORT),
            None => Ok(written.parse().ok().map(|ip: IpAddr| SocketAddr::new(ip, DNS_PORT))),
        };
        self.address(written)?
            .map_or_else(without_port, |address| Ok(Some(address)))?
            .filter(|address: &SocketAddr| address.port() != 0)
            .ok_or_else(|| self.bad_name_server(written))
    }

    /// Parses the text after `http:` or `https:`.
    fn web(self, rest: &'a str, scheme: Scheme, default_port: u16) -> Result<Target, TargetError> {
        let endpoint = rest.strip_prefix("//").ok_or_else(|| self.empty_host())?;
        // URLs often end with a slash; more than that would be a path.
        let endpoint = endpoint.strip_suffix('/').unwrap_or(endpoint);
        Ok(Target { scheme, kind: self.endpoint(None, endpoint, Some(default_port))? })
    }

    /// Parses `host:port`, or an address with its port.
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
        let address = match bracketed {
            Some(inner) => self.ipv6(inner, port)?,
            None => host.parse().ok().map(|ip: Ipv4Addr| SocketAddr::from((ip, port))),
        };
        if let Some(address) = address {
            return Ok(TargetKind::Addresses(vec![address]));
        }
        if bracketed.is_none() && ends_in_number(host) {
            return Err(TargetError::BadIpv4 { host: host.to_owned(), target: self.target.to_owned() });
        }
        if !is_host_name(host) {
            return Err(TargetError::BadHost { host: host.to_owned(), target: self.target.to_owned() });
        }
        Ok(TargetKind::Dns { name_server, host: host.to_owned(), port })
    }

    /// Parses the text in brackets: an IPv6 address, possibly with a zone (RFC 6874).
    fn ipv6(self, inner: &str, port: u16) -> Result<Option<SocketAddr>, TargetError> {
        let Some((ip, zone)) = inner.split_once('%') else {
            return Ok(inner.parse().ok().map(|ip: Ipv6Addr| SocketAddr::from((ip, port))));
        };
        let Ok(ip) = ip.parse::<Ipv6Addr>() else { return Ok(None) };
        // "%25" is the delimiter in a URI. The bare "%" of other tools is accepted "when not
        // followed by two hexadecimal digits" that mean it (RFC 6874 §3).
        let zone = zone.strip_prefix("25").filter(|zone| !zone.is_empty()).unwrap_or(zone);
        let digits = !zone.is_empty() && zone.bytes().all(|byte| byte.is_ascii_digit());
        match zone.parse() {
            Ok(scope) if digits => Ok(Some(SocketAddr::V6(SocketAddrV6::new(ip, port, 0, scope)))),
            _ => Err(TargetError::BadZone { zone: zone.to_owned(), target: self.target.to_owned() }),
        }
    }

    /// Parses an address with its port.
    fn address(self, written: &str) -> Result<Option<SocketAddr>, TargetError> {
        let zoned = written
            .strip_prefix('[')
            .and_then(|rest| rest.split_once(']'))
            .filter(|(ip, _)| ip.contains('%'));
        match zoned {
            Some((inner, port)) => match port.strip_prefix(':').map(str::parse) {
                Some(Ok(port)) => self.ipv6(inner, port),
                _ => Ok(None),
            },
            None => Ok(written.parse().ok()),
        }
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

    /// Parses a list of addresses of one family.
    fn addresses(
        self,
        rest: &str,
        family: impl Fn(&SocketAddr) -> bool,
        example: &'static str,
    ) -> Result<TargetKind, TargetError> {
        // gRPC's URI form of the same: `ipv4:///10.0.0.1:50051`.
        let rest = rest.strip_prefix("///").unwrap_or(rest);
        let parse = |address: &str| {
            self.address(address.trim())?.filter(|parsed| family(parsed) && parsed.port() != 0).ok_or_else(
                || TargetError::BadAddress {
                    address: address.to_owned(),
                    target: self.target.to_owned(),
                    example,
                },
            )
        };
        rest.split(',').map(parse).collect::<Result<_, _>>().map(TargetKind::Addresses)
    }

    /// Parses the text after `unix:`: a path, or `//` and an absolute path. It is part of a URI, so
    /// `%20` in it is a space.
    fn unix(self, rest: &'a str) -> Result<TargetKind, TargetError> {
        let bad = || TargetError::BadPath { target: self.target.to_owned() };
        let path = match rest.strip_prefix("//") {
            // `unix://authority/path`: "the authority must be empty" (gRPC's naming.md).
            Some(after) if !after.starts_with('/') => return Err(bad()),
            _ if rest.starts_with('/') => format!("/{}", rest.trim_start_matches('/')),
            _ => rest.to_owned(),
        };
        if path.contains(['?', '#']) {
            return Err(bad());
        }
        let path = percent_decode_str(&path).decode_utf8().map_err(|_| bad())?;
        if path.is_empty() || path.ends_with('/') || path.len() > MAX_UNIX_PATH || path.contains('\0') {
            return Err(bad());
        }
        Ok(TargetKind::Unix(PathBuf::from(path.as_ref())))
    }

    fn empty_host(self) -> TargetError {
        TargetError::EmptyHost { target: self.target.to_owned() }
    }

    fn bad_name_server(self, written: &str) -> TargetError {
        TargetError::BadNameServer { name_server: written.to_owned(), target: self.target.to_owned() }
    }
}

/// Splits at the colon before the port, if there is one: the last colon that is not within
/// brackets.
fn split_port(endpoint: &str) -> (&str, Option<&str>) {
    match endpoint.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (endpoint, None),
    }
}

/// Returns true for letters, digits, hyphen, dot (RFC 1123 §2.1) and the underscore of Kubernetes
/// and SRV names.
fn is_host_name(host: &str) -> bool {
    let name = host.strip_suffix('.').unwrap_or(host);
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    name.len() <= 253 && name.split('.').all(label)
}

/// Returns true if `host` is meant as an IPv4 address. In a name, "the highest-level component
/// label will be alphabetic" (RFC 1123 §2.1). Leading zeros are octal to some parsers and decimal
/// to others, so no reading of them is right.
fn ends_in_number(host: &str) -> bool {
    let last = host.strip_suffix('.').unwrap_or(host).rsplit('.').next().unwrap_or_default();
    !last.is_empty() && last.bytes().all(|byte| byte.is_ascii_digit())
}

const DNS_PORT: u16 = 53;
