//! Where a channel's endpoints come from.
//!
//! A channel's driver owns one boxed [`Resolver`]. It polls the resolver for full sets of
//! endpoints, and calls `resolve_now` when the last set may be wrong. meshless has
//! [`StaticResolver`] and, with the features `dns` and `kubernetes`, [`DnsResolver`] and
//! `KubernetesResolver`; users implement this trait for their own. A resolver never connects. It
//! does not keep an old set alive either: the balancer keeps the last good set when a resolver
//! reports an error.

#[cfg(feature = "dns")]
mod dns;
mod error;
#[cfg(feature = "kubernetes")]
mod kubernetes;
mod resolve;
#[cfg(any(feature = "dns", feature = "kubernetes"))]
mod shared_task;
mod static_list;
pub(crate) mod target;

pub use meshless_core::{Address, Endpoint, KubernetesPort, ResolveHint};

pub use self::target::{Target, TargetError, TargetKind};
#[cfg(all(feature = "dns", any(test, feature = "fuzzing")))]
pub(crate) use dns::fuzz_dns_answers;
#[cfg(feature = "dns")]
pub use dns::{AddressFamilies, DnsConfig, DnsResolver};
pub use error::{OtherError, ResolveError};
#[cfg(all(feature = "kubernetes", any(test, feature = "fuzzing")))]
pub(crate) use kubernetes::fuzz_endpoint_slices;
#[cfg(feature = "kubernetes")]
pub use kubernetes::{KubernetesClient, KubernetesConfig, KubernetesError, KubernetesResolver};
#[cfg(feature = "kubernetes")]
pub use meshless_core::AddressPreference;
pub use resolve::{Resolution, Resolver};
pub use static_list::StaticResolver;
