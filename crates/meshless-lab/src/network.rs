//! What stands between a client and its backends on a real cluster, rebuilt on one machine.
//!
//! [`VirtualAddress`] stands in for a ClusterIP, [`DnsServer`] for the cluster's DNS and a headless service,
//! [`Relay`] for a node that can lose its network, and [`Proxy`] runs a real L7 proxy as a mesh's data plane would. The scenarios start them; nothing here knows of
//! strategies or measures anything but what it counts for itself.

mod dns;
mod proxy;
mod relay;
mod virtual_address;

pub use dns::{DnsServer, DnsTrouble};
pub use proxy::{Proxy, ProxyError, ProxyMissing, RunningProxy};
pub use relay::Relay;
pub use virtual_address::VirtualAddress;
