//! A target in gRPC's naming: what a channel connects to.
//!
//! It is parsed once, when a channel is built. The resolver, the connections and the `:authority`
//! of calls use it; it resolves nothing itself. The syntax is that of gRPC's `doc/naming.md`, with
//! one difference: **a port is always required**, except after `http://` (80) and `https://` (443).
//! gRPC falls back to 443: a plain-text service on 50051 is then tried on 443 and times out, which
//! helps nobody.

mod custom;
mod error;
mod kubernetes;
mod parse;

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

pub use error::TargetError;
use meshless_core::KubernetesPort;

/// Names the backends of a channel.
///
/// | written | means |
/// |---|---|
/// | `dns:///echo.shop.svc.cluster.local:50051` | every A and AAAA record of the name, asked again as records expire |
/// | `dns://10.96.0.10/echo.shop:50051` | the same, asked of that name server (port 53 unless given) |
/// | `echo.shop:50051` | short for `dns:///echo.shop:50051` |
/// | `ipv4:10.0.0.1:50051,10.0.0.2:50051` | these addresses |
/// | `ipv6:[fd00::1]:50051,[fd00::2]:50051` | these addresses |
/// | `kubernetes:///echo.shop:50051` | the ready pods of the Service `echo` in the namespace `shop`, by their port number |
/// | `kubernetes:///echo.shop:grpc` | the same, by the name of the Service's port |
/// | `kubernetes:///echo:grpc` | the Service `echo` of the client's own namespace |
/// | `unix:/run/echo.sock`, `unix:///run/echo.sock` | a Unix domain socket |
/// | `http://echo.shop:50051` | `dns:///`, plain text |
/// | `https://echo.shop` | `dns:///`, TLS; port 443 unless given |
///
/// An IP address in place of a host name is used as it is, without DNS. `0.0.0.0` and `[::]` reach
/// this host itself, as in other gRPC libraries. An IPv4 address with leading zeros is refused:
/// programs disagree about its meaning. The zone of a link-local address is the number of its
/// interface, as in `ipv6:[fe80::1%253]:50051` (RFC 6874).
///
/// A channel with [its own resolver](crate::ChannelBuilder::resolver) takes any URI, such as
/// `consul:///orders`.
///
/// ```
/// let target: meshless::Target = "dns:///echo.shop.svc.cluster.local:50051".parse()?;
/// assert_eq!(target.authority(), "echo.shop.svc.cluster.local:50051");
/// assert_eq!(target.server_name(), "echo.shop.svc.cluster.local");
/// # Ok::<(), meshless::resolver::TargetError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    scheme: Scheme,
    kind: TargetKind,
}

/// The kind of a target, with its parts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TargetKind {
    /// The A and AAAA records of a name.
    Dns {
        /// The name server to ask; `None` is the system's.
        name_server: Option<SocketAddr>,
        /// The host name as written. A final dot skips the search path.
        host: String,
        /// The port of every backend.
        port: u16,
    },
    /// The pods of a Kubernetes Service, from its EndpointSlices. Needs the feature `kubernetes`.
    Kubernetes {
        /// The name of the Service.
        service: String,
        /// The Service's namespace; `None` is the client's own.
        namespace: Option<String>,
        /// The port of every pod.
        port: KubernetesPort,
    },
    /// A list of addresses, never empty.
    Addresses(Vec<SocketAddr>),
    /// A Unix domain socket.
    Unix(PathBuf),
    /// Anything else, for your own [resolver](crate::ChannelBuilder::resolver).
    Custom {
        /// The scheme in lower case; `None` for a plain name.
        scheme: Option<String>,
        /// What follows the scheme and its colon.
        rest: String,
    },
}

/// How a target was written, if it matters later: the two HTTP schemes decide about TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Scheme {
    Grpc,
    Http,
    Https,
}

impl Target {
    /// Returns the kind of the target.
    pub fn kind(&self) -> &TargetKind {
        &self.kind
    }

    /// Returns true if the target asks for TLS (`https://`), false for plain text (`http://`).
    /// `None` leaves it to the channel's settings.
    pub fn tls(&self) -> Option<bool> {
        match self.scheme {
            Scheme::Grpc => None,
            Scheme::Http => Some(false),
            Scheme::Https => Some(true),
        }
    }

    /// Returns the `:authority` of calls.
    ///
    /// It is host and port without the final dot of a name, the first address of a list,
    /// `localhost` for a Unix domain socket (gRFC A26 and `doc/naming.md`), or the last segment of
    /// any other URI. It leaves out the scheme's default port (RFC 9110 §4.2.3), a port that only
    /// has a name, and a zone (RFC 6874 §4).
    pub fn authority(&self) -> String {
        match &self.kind {
            TargetKind::Dns { host, port, .. } => {
                let host = host.trim_end_matches('.');
                if self.default_port() == Some(*port) { host.to_owned() } else { format!("{host}:{port}") }
            }
            TargetKind::Kubernetes { service, namespace, port } => {
                let host = kubernetes::host(service, namespace.as_deref());
                match port {
                    KubernetesPort::Number(port) => format!("{host}:{port}"),
                    _ => host,
                }
            }
            TargetKind::Addresses(addresses) => {
                let first = first(addresses);
                match self.default_port() == Some(first.port()) {
                    true => bracketed(first),
                    false => format!("{}:{}", bracketed(first), first.port()),
                }
            }
            TargetKind::Unix(_) => "localhost".to_owned(),
            TargetKind::Custom { rest, .. } => custom::authority(rest).to_owned(),
        }
    }

    /// Returns the name that a server's certificate must contain, and that SNI sends.
    ///
    /// It is host or address without port and without the final dot of a name (RFC 6066 §3). For a
    /// Service it is `service.namespace.svc`, the name that the API server itself expects of a
    /// Service.
    pub fn server_name(&self) -> String {
        match &self.kind {
            TargetKind::Dns { host, .. } => host.trim_end_matches('.').to_owned(),
            TargetKind::Kubernetes { service, namespace: Some(namespace), .. } => {
                format!("{service}.{namespace}.svc")
            }
            TargetKind::Kubernetes { service, namespace: None, .. } => service.clone(),
            TargetKind::Addresses(addresses) => first(addresses).ip().to_string(),
            TargetKind::Unix(_) => "localhost".to_owned(),
            TargetKind::Custom { rest, .. } => custom::host(rest).to_owned(),
        }
    }

    fn default_port(&self) -> Option<u16> {
        match self.scheme {
            Scheme::Grpc => None,
            Scheme::Http => Some(HTTP_PORT),
            Scheme::Https => Some(HTTPS_PORT),
        }
    }
}

/// The canonical form; parsing it gives an equal target.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let web = match self.scheme {
            Scheme::Grpc => None,
            Scheme::Http => Some("http"),
            Scheme::Https => Some("https"),
        };
        match &self.kind {
            TargetKind::Dns { name_server, host, port } => match (web, name_server) {
                (Some(scheme), _) => write!(f, "{scheme}://{host}:{port}"),
                (None, Some(name_server)) => write!(f, "dns://{}/{host}:{port}", Shown(*name_server)),
                (None, None) => write!(f, "dns:///{host}:{port}"),
            },
            TargetKind::Kubernetes { service, namespace, port } => {
                write!(f, "kubernetes:///{}:{port}", kubernetes::host(service, namespace.as_deref()))
            }
            TargetKind::Addresses(addresses) => {
                if let Some(scheme) = web {
                    return write!(f, "{scheme}://{}", Shown(first(addresses)));
                }
                write!(f, "{}:", if first(addresses).is_ipv4() { "ipv4" } else { "ipv6" })?;
                for (index, address) in addresses.iter().enumerate() {
                    write!(f, "{}{}", if index == 0 { "" } else { "," }, Shown(*address))?;
                }
                Ok(())
            }
            TargetKind::Unix(path) => {
                write!(f, "unix:{}", utf8_percent_encode(&path.to_string_lossy(), NOT_IN_A_PATH))
            }
            TargetKind::Custom { scheme: Some(scheme), rest } => write!(f, "{scheme}:{rest}"),
            TargetKind::Custom { scheme: None, rest } => f.write_str(rest),
        }
    }
}

/// Formats an address for a URI: the zone follows `%25`.
struct Shown(SocketAddr);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            SocketAddr::V6(v6) if v6.scope_id() != 0 => {
                write!(f, "[{}%25{}]:{}", v6.ip(), v6.scope_id(), v6.port())
            }
            address => address.fmt(f),
        }
    }
}

fn first(addresses: &[SocketAddr]) -> SocketAddr {
    *addresses.first().expect("the parser refuses an empty list")
}

/// Formats the address without its port for a URI.
fn bracketed(address: SocketAddr) -> String {
    match address {
        SocketAddr::V4(v4) => v4.ip().to_string(),
        SocketAddr::V6(v6) => format!("[{}]", v6.ip()),
    }
}

/// The characters that would be read as something else.
const NOT_IN_A_PATH: &AsciiSet = &CONTROLS.add(b' ').add(b'#').add(b'%').add(b'?');
const HTTP_PORT: u16 = 80;
const HTTPS_PORT: u16 = 443;

#[cfg(test)]
mod tests;
