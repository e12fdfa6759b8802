//! Why a server did not start.

use std::io;
use std::net::SocketAddr;

/// A server could not listen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// Another process, or another server of this one, listens there.
    #[error("cannot listen on {addr}: the port is in use; choose another, or stop what listens there")]
    PortInUse {
        /// Where.
        addr: SocketAddr,
    },
    /// The operating system refused for another reason.
    #[error("cannot listen on {addr}: {source}")]
    Listen {
        /// Where.
        addr: SocketAddr,
        /// What the operating system said.
        source: io::Error,
    },
}

impl ServeError {
    pub(super) fn listen(addr: SocketAddr, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::AddrInUse => Self::PortInUse { addr },
            _ => Self::Listen { addr, source },
        }
    }
}
