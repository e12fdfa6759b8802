//! A network of the kernel: a namespace per pod, routes between them, and rules as kube-proxy
//! writes them.
//!
//! ```text
//!   node: this process, DNS server, proxy                    10.244.0.1
//!     │   nftables: 10.96.x.y:80 → a random backend per connection
//!     ├── pod1 ═ eth0   backend-1                            10.244.1.1
//!     ├── pod2 ═ eth0   backend-2                            10.244.1.2
//!     └── pod3 ═ eth0   the client                           10.244.1.3
//! ```
//!
//! Each pod has its own link and routes everything through the node, as with Calico. Answers then
//! return on the same path, so that connection tracking can undo the translation. On a bridge they
//! would take a shorter path.
//!
//! The host is not changed. The run first moves into a new namespace ([`enter`]). Pods are
//! namespaces without a name, which exist as long as a process is in them; each of those ends with
//! this process's pipes. So everything is removed when the run ends, even after SIGKILL.

mod cluster_ip;
mod enter;
mod pod;
mod program;

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use super::error::NetworkError;

pub use cluster_ip::KernelClusterIp;
pub use pod::KernelPod;

/// The node's side of a network. Clones are the same one.
#[derive(Clone, Debug)]
pub struct KernelNetwork(Arc<GivenOut>);

/// How many of each were given out. Every client and every cluster IP gets an address that none had
/// before, so that connections which the kernel still remembers never meet new ones.
#[derive(Debug, Default)]
struct GivenOut {
    links: AtomicU16,
    addresses: AtomicU16,
    cluster_ips: AtomicU16,
}

impl KernelNetwork {
    /// The address of this process as pods see it.
    pub const NODE_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 244, 0, 1);

    /// Moves into a new namespace and makes it the node. The process that continues is a new one
    /// with the same id and the same arguments.
    ///
    /// # Errors
    /// If a program, a right or a part of the kernel is missing.
    pub async fn set_up() -> Result<Self, NetworkError> {
        enter::namespace_of_its_own()?;
        Self::make_node().await
    }

    async fn make_node() -> Result<Self, NetworkError> {
        let links = format!("link set lo up\naddress add {}/32 dev lo\n", Self::NODE_ADDRESS);
        program::ip(&links).await?;
        fs::write("/proc/sys/net/ipv4/ip_forward", "1")?;
        program::nft(pod::CUT_OFF_RULES).await?;
        program::nft(cluster_ip::BASE_RULES).await?;
        // A kernel without NAT is found out here and not in the middle of the run.
        let network = Self(Arc::default());
        drop(network.cluster_ip(vec![SocketAddr::from((network.address(), cluster_ip::PORT))]).await?);
        Ok(network)
    }

    /// Returns a pod at this address, which must come from [`address`](Self::address) and must be
    /// free.
    ///
    /// # Errors
    /// If its namespace or its link cannot be created.
    pub async fn pod(&self, address: Ipv4Addr) -> Result<KernelPod, NetworkError> {
        KernelPod::start(self.0.links.fetch_add(1, Ordering::Relaxed), address).await
    }

    /// Returns an address in front of `backends`.
    ///
    /// # Errors
    /// If the rules are refused.
    pub async fn cluster_ip(&self, backends: Vec<SocketAddr>) -> Result<KernelClusterIp, NetworkError> {
        let n = self.0.cluster_ips.fetch_add(1, Ordering::Relaxed);
        KernelClusterIp::start(n, nth([10, 96, 0], n), &backends).await
    }

    /// Returns a new address for a pod.
    pub fn address(&self) -> Ipv4Addr {
        nth([10, 244, 1], self.0.addresses.fetch_add(1, Ordering::Relaxed))
    }
}

/// Returns the n-th address from `a.b.c.1` on, without those that end in 0 or 255, which look like
/// a network's. After 200 blocks, about 50 000 addresses, they repeat.
fn nth([a, b, c]: [u8; 3], n: u16) -> Ipv4Addr {
    let [third, fourth] = [n / 254 % 200, n % 254].map(|part| part.to_be_bytes()[1]);
    Ipv4Addr::new(a, b, c + third, fourth + 1)
}

#[cfg(all(test, target_os = "linux"))]
mod tests;
