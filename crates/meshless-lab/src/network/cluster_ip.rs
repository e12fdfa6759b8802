//! The replacement of a ClusterIP: one address, and a random backend for each new connection.
//!
//! Rigs hold one per row and change its backends as pods come and go. Dropping it removes it.

use std::net::SocketAddr;

use super::error::NetworkError;
use super::kernel::KernelClusterIp;
use super::virtual_address::VirtualAddress;

/// One address in front of several backends.
#[derive(Debug)]
pub enum ClusterIp {
    /// A forwarder in this process.
    Forwarder(VirtualAddress),
    /// Rules of the kernel.
    Rules(KernelClusterIp),
}

impl ClusterIp {
    /// Sends new connections to `backends` from now on. Those that exist stay where they are, as
    /// kube-proxy leaves them.
    ///
    /// # Errors
    /// If the rules cannot be changed; they are then as before.
    pub async fn set_backends(&self, backends: Vec<SocketAddr>) -> Result<(), NetworkError> {
        match self {
            Self::Forwarder(forwarder) => {
                forwarder.set_backends(backends);
                Ok(())
            }
            Self::Rules(rules) => rules.set_backends(&backends).await,
        }
    }

    /// Returns the address that clients connect to.
    pub fn local_addr(&self) -> SocketAddr {
        match self {
            Self::Forwarder(forwarder) => forwarder.local_addr(),
            Self::Rules(rules) => rules.local_addr(),
        }
    }
}
