//! What stands between a client and its backends on a real cluster, rebuilt on one machine.
//!
//! A [`Network`] says where the processes of a run live and how packets get from one to the other:
//! all on the loopback interface, or each in a network namespace of its own with the kernel's rules
//! between them. `compare` holds one for the whole run; its rigs ask it for a [`Pod`] per process
//! and for the [`Service`] that stands in for a ClusterIP. `meshless-testkit` has the cluster's
//! DNS, a headless service and the API server. [`Relay`] is a way to a backend that can become a
//! black hole, and [`Proxy`] a real L7 proxy as a mesh's data plane would be. Nothing here knows of
//! strategies or measures anything but what it counts for itself.

mod error;
mod kernel;
mod pod;
mod proxy;
mod relay;
mod service;
mod virtual_address;

use std::net::{Ipv4Addr, SocketAddr};

pub use error::NetworkError;
pub use kernel::{KernelNetwork, KernelPod, KernelService};
pub use pod::Pod;
pub use proxy::{Proxy, ProxyError, ProxyMissing, RunningProxy};
pub use relay::Relay;
pub use service::Service;
pub use virtual_address::VirtualAddress;

use crate::limits;

/// A kind of network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetworkKind {
    /// The loopback interface, a virtual address in user space: needs nothing, runs everywhere.
    Loopback,
    /// A network namespace per pod, a virtual address by nftables as kube-proxy writes it: Linux,
    /// as root.
    Kernel,
}

/// Where the processes of a run live, and how packets get from one to the other. Clones are the
/// same network.
#[derive(Clone, Debug)]
pub enum Network {
    /// All processes share this machine's loopback interface.
    Loopback,
    /// Each process has a namespace and an address of its own.
    Kernel(KernelNetwork),
}

impl Network {
    /// The network of this kind, ready for pods. For [`NetworkKind::Kernel`] the first call
    /// replaces this process by one in a namespace of its own, which then comes here again: make it
    /// before anything else of the run.
    ///
    /// # Errors
    /// If the system or the user's rights do not allow it. The error says what to do.
    pub async fn set_up(kind: NetworkKind) -> Result<Self, NetworkError> {
        Ok(match kind {
            NetworkKind::Loopback => Self::Loopback,
            NetworkKind::Kernel => Self::Kernel(KernelNetwork::set_up().await?),
        })
    }

    /// A place for one backend.
    ///
    /// # Errors
    /// If it cannot be made.
    pub async fn pod(&self, address: Ipv4Addr) -> Result<Pod, NetworkError> {
        Ok(match self {
            Self::Loopback => Pod::Loopback,
            Self::Kernel(network) => Pod::Kernel(Box::new(network.pod(address).await?)),
        })
    }

    /// A place for one client.
    ///
    /// # Errors
    /// If it cannot be made.
    pub async fn client_pod(&self) -> Result<Pod, NetworkError> {
        Ok(match self {
            Self::Loopback => Pod::Loopback,
            Self::Kernel(network) => Pod::Kernel(Box::new(network.pod(network.address()).await?)),
        })
    }

    /// One address in front of `backends` that hands each new connection to a random one. `seed`
    /// decides which, except where the kernel draws for itself.
    ///
    /// # Errors
    /// If it cannot be made.
    pub async fn service(&self, backends: Vec<SocketAddr>, seed: u64) -> Result<Service, NetworkError> {
        Ok(match self {
            Self::Loopback => {
                let listen = SocketAddr::from((self.node_address(), 0));
                Service::Forwarder(VirtualAddress::bind(listen, backends, seed).await?)
            }
            Self::Kernel(network) => Service::Rules(network.service(backends).await?),
        })
    }

    /// `loopback` or `kernel`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Loopback => "loopback",
            Self::Kernel(_) => "kernel",
        }
    }

    /// Where a single backend lives, who needs no address that others have not.
    pub fn one_address(&self) -> Ipv4Addr {
        match self {
            Self::Loopback => Ipv4Addr::LOCALHOST,
            Self::Kernel(network) => network.address(),
        }
    }

    /// Where `count` backends live, each at an address of its own. None if the system has not got
    /// so many. Whoever asks again may get the same ones, at which only other ports are free, or
    /// other ones.
    pub fn addresses(&self, count: u8) -> Option<Vec<Ipv4Addr>> {
        match self {
            Self::Loopback => limits::loopback_addresses(count),
            Self::Kernel(network) => Some((0..count).map(|_| network.address()).collect()),
        }
    }

    /// Where this process can listen so that every pod reaches it: DNS server and proxy live there.
    pub fn node_address(&self) -> Ipv4Addr {
        match self {
            Self::Loopback => Ipv4Addr::LOCALHOST,
            Self::Kernel(_) => KernelNetwork::NODE_ADDRESS,
        }
    }

    /// Whether a [`Pod`] can be cut off.
    pub fn can_cut_off(&self) -> bool {
        matches!(self, Self::Kernel(_))
    }

    /// Whether a [`Service`] costs its connections next to nothing. Packets that the kernel
    /// rewrites do not notice it; bytes copied through a forwarder do.
    pub fn service_is_free(&self) -> bool {
        matches!(self, Self::Kernel(_))
    }
}
