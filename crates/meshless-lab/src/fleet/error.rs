//! Why a load could not be made.

#[cfg(feature = "kubernetes")]
mod cluster;

use std::io;

use crate::network::{NetworkError, ProxyError};
use crate::process::ProcessError;

#[cfg(feature = "kubernetes")]
pub use cluster::ClusterError;
#[cfg(feature = "kubernetes")]
pub(crate) use cluster::one_line;

/// Servers or clients could not be set up, or broke.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// One of the processes.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// A pod of the network, or the virtual address.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// The DNS server, a relay, or the temporary folder.
    #[error("cannot listen, or use the temporary folder (see TMPDIR): {0}")]
    Io(#[from] io::Error),
    /// The proxy.
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    /// A strategy goes without what it needs.
    #[error("l7-proxy needs a proxy")]
    NoProxy,
    /// Something on a cluster.
    #[cfg(feature = "kubernetes")]
    #[error(transparent)]
    Cluster(#[from] ClusterError),
}
