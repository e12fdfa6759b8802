//! Why a string is not a target. Every message says what to write instead.

/// A malformed target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TargetError {
    /// The string is empty.
    #[error("the target is empty; write for example dns:///echo.shop.svc.cluster.local:50051")]
    Empty,
    /// meshless does not know the scheme.
    #[error(
        "unknown scheme {scheme:?} in {target:?}; use dns:///, kubernetes:///, ipv4:, ipv6:, unix:, http:// or https://, or set a resolver for it"
    )]
    UnknownScheme {
        /// The scheme.
        scheme: String,
        /// The whole target.
        target: String,
    },
    /// There is no host.
    #[error("{target:?} names no host; write for example dns:///echo.shop.svc.cluster.local:50051")]
    EmptyHost {
        /// The whole target.
        target: String,
    },
    /// There is no port.
    #[error("{target:?} names no port; append the one the server listens on, such as {host}:50051")]
    MissingPort {
        /// The host that lacks a port.
        host: String,
        /// The whole target.
        target: String,
    },
    /// The port is not a number from 1 to 65535.
    #[error("{port:?} in {target:?} is not a port; use a number from 1 to 65535")]
    BadPort {
        /// The text in place of the port.
        port: String,
        /// The whole target.
        target: String,
    },
    /// The host cannot be a DNS name.
    #[error(
        "{host:?} in {target:?} is not a host name; use letters, digits, '-', '_' and '.', at most 63 a label and \
         253 in all, and brackets around an IPv6 address"
    )]
    BadHost {
        /// The host.
        host: String,
        /// The whole target.
        target: String,
    },
    /// The host ends in a number, as only IPv4 addresses do, but is not an IPv4 address.
    #[error(
        "{host:?} in {target:?} is not an IPv4 address; write four numbers from 0 to 255 without leading zeros"
    )]
    BadIpv4 {
        /// The host.
        host: String,
        /// The whole target.
        target: String,
    },
    /// The zone of an IPv6 address is not a number.
    #[error(
        "{zone:?} in {target:?} is not the number of an interface; write [fe80::1%253]:50051 for the one that `ip link` lists as 3"
    )]
    BadZone {
        /// The text after the percent sign.
        zone: String,
        /// The whole target.
        target: String,
    },
    /// An entry of an address list is not an address of the right family with a port.
    #[error("{address:?} in {target:?} is not an address with a port; write {example}")]
    BadAddress {
        /// The entry.
        address: String,
        /// The whole target.
        target: String,
        /// A correct example.
        example: &'static str,
    },
    /// The name server between `dns://` and the next slash is not an address.
    #[error(
        "{name_server:?} in {target:?} is not a name server's address; write an IP address such as \
         dns://10.96.0.10/host:port, or dns:///host:port to ask the system's"
    )]
    BadNameServer {
        /// The text in place of an address.
        name_server: String,
        /// The whole target.
        target: String,
    },
    /// There is a text between `kubernetes://` and the next slash, or that slash is missing.
    #[error(
        "{target:?} names no Service after three slashes; write for example kubernetes:///echo.shop:50051, without a cluster"
    )]
    BadCluster {
        /// The whole target.
        target: String,
    },
    /// The name of a Service, of its namespace or of its port is not valid.
    #[error(
        "{name:?} in {target:?} is not a Service as Kubernetes names them; write kubernetes:///service.namespace:port, each of \
         lower-case letters, digits and '-', at most 63"
    )]
    BadService {
        /// The text in place of `service.namespace`, or of the port.
        name: String,
        /// The whole target.
        target: String,
    },
    /// The socket's path is empty, too long for the system, not UTF-8, or followed by a query.
    #[error(
        "{target:?} is not a Unix socket; write unix:/path, at most {MAX_UNIX_PATH} bytes of path, with %3F and %23 for ? and #"
    )]
    BadPath {
        /// The whole target.
        target: String,
    },
    /// There is a text after the port.
    #[error("{rest:?} in {target:?} follows the port; a target has no path, remove it")]
    TrailingPath {
        /// The text after the port.
        rest: String,
        /// The whole target.
        target: String,
    },
}

/// The maximum bytes of a Unix socket's path on the strictest system (macOS: `sun_path` holds 104
/// with its final zero).
pub(super) const MAX_UNIX_PATH: usize = 103;
