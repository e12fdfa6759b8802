//! Load balancing for gRPC on Kubernetes without a service mesh.

mod resolver;
mod target;

pub use meshless_core::{Address, Endpoint};
#[cfg(feature = "dns")]
pub use resolver::{AddressFamilies, DnsConfig, DnsResolver};
pub use resolver::{Resolution, ResolveError, ResolveHint, Resolver, StaticResolver};
pub use target::{Target, TargetError, TargetKind};
