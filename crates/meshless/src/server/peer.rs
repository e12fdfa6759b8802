//! The client's address, as logs and events show it.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

/// The client of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Peer {
    /// A TCP client's address.
    Tcp(SocketAddr),
    /// A client of a Unix socket. It has no address; handlers find its user and process id in
    /// tonic's `UdsConnectInfo`.
    Unix,
    /// The text of a custom listener.
    Other(Arc<str>),
}

impl Peer {
    /// Returns the address, if the client is connected over TCP.
    pub fn socket_addr(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(addr) => Some(*addr),
            Self::Unix | Self::Other(_) => None,
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(addr) => addr.fmt(f),
            Self::Unix => f.write_str("unix"),
            Self::Other(name) => f.write_str(name),
        }
    }
}

impl From<SocketAddr> for Peer {
    fn from(addr: SocketAddr) -> Self {
        Self::Tcp(addr)
    }
}
