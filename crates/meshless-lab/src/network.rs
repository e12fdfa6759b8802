//! The network between a client and its backends on a real cluster, rebuilt on one machine.
//!
//! A [`Network`] says where the processes of a run live and how packets get from one to the other:
//! all on the loopback interface, or each in a network namespace of its own with the kernel's rules
//! between them. `compare` holds one for the whole run; its rigs ask it for a [`Pod`] per process
//! and for the [`ClusterIp`] that stands in for a cluster's. `meshless-testkit` has the cluster's
//! DNS, a headless service and the API server. [`Relay`] is a way to a backend that can become a
//! black hole, and [`Proxy`] a real L7 proxy as a mesh's data plane would be. Nothing here knows of
//! strategies or measures anything but what it counts for itself.

mod cluster_ip;
mod error;
mod kernel;
mod pod;
mod proxy;
mod relay;
mod virtual_address;

use std::net::{Ipv4Addr, SocketAddr};

pub use cluster_ip::ClusterIp;
pub use error::NetworkError;
pub use kernel::{KernelClusterIp, KernelNetwork, KernelPod};
pub use pod::Pod;
pub use proxy::{Proxy, ProxyError, ProxyMissing, RunningProxy};
pub use relay::Relay;
pub use virtual_address::VirtualAddress;

use crate::limits;

/// A kind of network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetworkKind {
    /// The loopback interface and a virtual address in user space: no requirements, runs
    /// everywhere.
    Loopback,
    /// A network namespace per pod, and a virtual address by nftables as in kube-proxy: needs Linux
    /// and root.
    Kernel,
}

/// Where the processes of a run live, and how packets get from one to the other. Clones are the
/// same network.
#[derive(Clone, Debug)]
pub enum Network {
    /// All processes share this machine's loopback interface.
    Loopback,
    /// Each process has its own namespace and address.
    Kernel(KernelNetwork),
}

impl Network {
    /// Returns the network of this kind, ready for pods.
    ///
    /// For [`NetworkKind::Kernel`] the first call replaces this process by one in its own
    /// namespace, which then calls this again. So call it before anything else of the run.
    ///
    /// # Errors
    /// If the system or the user's rights do not allow it. The error says what to do.
    pub async fn set_up(kind: NetworkKind) -> Result<Self, NetworkError> {
        Ok(match kind {
            NetworkKind::Loopback => Self::Loopback,
            NetworkKind::Kernel => Self::Kernel(KernelNetwork::set_up().await?),
        })
    }

    /// Returns a place for one backend.
    ///
    /// # Errors
    /// If it cannot be created.
    pub async fn pod(&self, address: Ipv4Addr) -> Result<Pod, NetworkError> {
        Ok(match self {
            Self::Loopback => Pod::Loopback,
            Self::Kernel(network) => Pod::Kernel(Box::new(network.pod(address).await?)),
        })
    }

    /// Returns a place for one client.
    ///
    /// # Errors
    /// If it cannot be created.
    pub async fn client_pod(&self) -> Result<Pod, NetworkError> {
        Ok(match self {
            Self::Loopback => Pod::Loopback,
            Self::Kernel(network) => Pod::Kernel(Box::new(network.pod(network.address()).await?)),
        })
    }

    /// Returns one address in front of `backends`: each new connection goes to a random one.
    ///
    /// `seed` decides which, unless the kernel draws itself.
    ///
    /// # Errors
    /// If it cannot be made.
    pub async fn cluster_ip(&self, backends: Vec<SocketAddr>, seed: u64) -> Result<ClusterIp, NetworkError> {
        Ok(match self {
            Self::Loopback => {
                let listen = SocketAddr::from((self.node_address(), 0));
                ClusterIp::Forwarder(VirtualAddress::bind(listen, backends, seed).await?)
            }
            Self::Kernel(network) => ClusterIp::Rules(network.cluster_ip(backends).await?),
        })
    }

    /// Returns `loopback` or `kernel`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Loopback => "loopback",
            Self::Kernel(_) => "kernel",
        }
    }

    /// Returns the address of a single backend, which may share it with others.
    pub fn one_address(&self) -> Ipv4Addr {
        match self {
            Self::Loopback => Ipv4Addr::LOCALHOST,
            Self::Kernel(network) => network.address(),
        }
    }

    /// Returns `count` addresses for backends, all different. `None` if the system does not have so
    /// many. A later call may return the same ones, where only other ports are free, or other ones.
    pub fn addresses(&self, count: u8) -> Option<Vec<Ipv4Addr>> {
        match self {
            Self::Loopback => limits::loopback_addresses(count),
            Self::Kernel(network) => Some((0..count).map(|_| network.address()).collect()),
        }
    }

    /// How many servers can have an address of their own, at most [`ADDRESSES_MAX`].
    pub(crate) fn addresses_max(&self) -> usize {
        match self {
            Self::Loopback => limits::loopback_addresses_max(ADDRESSES_MAX),
            Self::Kernel(_) => ADDRESSES_MAX.into(),
        }
    }

    /// Where this process can listen so that every pod reaches it: DNS server and proxy live there.
    pub fn node_address(&self) -> Ipv4Addr {
        match self {
            Self::Loopback => Ipv4Addr::LOCALHOST,
            Self::Kernel(_) => KernelNetwork::NODE_ADDRESS,
        }
    }

    /// Returns true if a [`Pod`] can be cut off.
    pub fn can_cut_off(&self) -> bool {
        matches!(self, Self::Kernel(_))
    }

    /// Whether a [`ClusterIp`] costs its connections next to nothing. Packets that the kernel
    /// rewrites do not notice it; bytes copied through a forwarder do.
    pub fn cluster_ip_is_free(&self) -> bool {
        matches!(self, Self::Kernel(_))
    }
}

/// No experiment has more backends.
const ADDRESSES_MAX: u8 = 200;
