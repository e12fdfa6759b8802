//! Why a server did not start.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

/// A server could not listen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// Another process, or another server of this one, already listens there.
    #[error("cannot listen on {addr}: the port is in use; choose another, or stop what listens there")]
    PortInUse {
        /// The address.
        addr: SocketAddr,
    },
    /// The address belongs to no interface of this machine.
    #[error(
        "cannot listen on {addr}: this machine does not have that address; use one of its own, or 0.0.0.0 for all"
    )]
    NotOurs {
        /// The address.
        addr: SocketAddr,
    },
    /// The operating system refused for another reason.
    #[error("cannot listen on {addr}: {source}")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// What the operating system said.
        source: io::Error,
    },
    /// Another process, or another server of this one, listens on the Unix socket; or the file at
    /// that path is not a socket.
    #[error("cannot listen on unix:{}: it is in use; choose another path, or stop what listens there", path.display())]
    SocketInUse {
        /// The path of the socket.
        path: PathBuf,
    },
    /// The operating system refused a Unix socket.
    #[error("cannot listen on unix:{}: {source}", path.display())]
    ListenUnix {
        /// The path of the socket.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

impl ServeError {
    pub(super) fn listen(addr: SocketAddr, error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::AddrInUse => Self::PortInUse { addr },
            io::ErrorKind::AddrNotAvailable => Self::NotOurs { addr },
            _ => Self::Listen { addr, source: error },
        }
    }

    #[cfg(unix)]
    pub(super) fn listen_unix(path: PathBuf, error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::AddrInUse => Self::SocketInUse { path },
            _ => Self::ListenUnix { path, source: error },
        }
    }
}
