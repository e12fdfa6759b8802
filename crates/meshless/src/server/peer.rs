//! Who is at the other end of a connection, as logs and events name it.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

/// The client of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Peer {
    /// A TCP client's address.
    Tcp(SocketAddr),
    /// A client of a Unix socket. Such clients have no address; handlers find the user and process
    /// id in tonic's `UdsConnectInfo`.
    Unix,
    /// In the words of a listener of one's own.
    Other(Arc<str>),
}

impl Peer {
    /// The address, if the client came over TCP.
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
