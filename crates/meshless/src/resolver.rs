//! The seam between a channel and whatever knows its backends.
//!
//! A channel's driver owns one boxed [`Resolver`], polls it for full sets of endpoints and tells it
//! when it has reason to doubt the last one. meshless brings [`StaticResolver`] and, with the
//! features `dns` and `kubernetes`, [`DnsResolver`] and `KubernetesResolver`; this trait is how
//! users bring their own. A resolver never connects, and it keeps no old set alive: that is for the
//! balancer, which goes on with the last good set when a resolver reports an error.

#[cfg(feature = "dns")]
mod dns;
mod error;
#[cfg(feature = "kubernetes")]
mod kubernetes;
#[cfg(any(feature = "dns", feature = "kubernetes"))]
mod shared_task;
mod static_list;
pub(crate) mod target;

use std::sync::Arc;
use std::task::{Context, Poll};

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
pub use static_list::StaticResolver;

/// What one look at the backends gave: all of them, or why they are not known.
pub type Resolution = Result<Vec<Endpoint>, ResolveError>;

/// Finds the endpoints of a target, for as long as a channel lives.
///
/// It is polled rather than awaited, so that the driver can wait for it and for everything else at
/// once, and can call [`resolve_now`](Self::resolve_now) in between, without cancelling work that
/// is under way. Who would rather write `async` code spawns a task and hands the channel the
/// receiving end: a [`tokio::sync::mpsc::Receiver`] of resolutions is a resolver too.
///
/// ```
/// use meshless::{Endpoint, Resolver};
/// use meshless::resolver::Resolution;
///
/// let (updates, receiver) = tokio::sync::mpsc::channel::<Resolution>(1);
/// updates.try_send(Ok(vec![Endpoint::new("10.0.0.1:50051".parse::<std::net::SocketAddr>()?)]))?;
/// let resolver: Box<dyn Resolver> = Box::new(receiver);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Contract
///
/// A resolution holds until the next one. The channel remembers it, an error too: before the first
/// call, while it is idle, and after. So a resolver need not repeat itself, and these do not all do
/// so:
///
/// | resolver | resolves again | after `resolve_now` |
/// |---|---|---|
/// | [`StaticResolver`] | never | ignores it |
/// | `DnsResolver` | after each lookup, changed or not: at the TTL, within 6 s of a failure | resolves again |
/// | `KubernetesResolver` | when the EndpointSlices change, when reading them fails and when it works again | resolves again: by a new list after `AllFailed`, else what is known; at most each 100 ms |
/// | `mpsc::Receiver` | when something is sent | ignores it; after the last sender is gone, the last resolution is final |
pub trait Resolver: Send + 'static {
    /// The next resolution, when there is one. The first should come as soon as possible: calls
    /// wait for it.
    ///
    /// A set is always complete: what it does not list is gone. An error changes nothing downstream
    /// but what waiting calls are told; the resolver goes on trying by itself.
    fn poll_resolution(&mut self, cx: &mut Context<'_>) -> Poll<Resolution>;

    /// The channel has reason to doubt the last set. A hint, not an order: the resolver bounds how
    /// often it looks. It must not block. By default it is ignored.
    fn resolve_now(&mut self, hint: ResolveHint) {
        let _ = hint;
    }

    /// Returns true if a resolution follows each [`ResolveHint::AllFailed`], changed or not. Calls
    /// that find every backend lost then wait for it, at most 5 s, before they fail. Default false:
    /// they fail at once.
    fn answers_resolve_now(&self) -> bool {
        false
    }

    /// Returns true if no resolution will come any more. If none has come at all, calls then fail
    /// and say so. Default false.
    fn has_ended(&self) -> bool {
        false
    }

    /// Where the last set came from, in words for people, such as `DNS (orders.shop.svc)`. The
    /// channel shows it in [`ChannelState::resolved_by`](crate::ChannelState::resolved_by). By
    /// default nothing is said.
    fn source(&self) -> Option<Arc<str>> {
        None
    }
}

/// A closed channel means that the last set is final.
impl Resolver for tokio::sync::mpsc::Receiver<Resolution> {
    fn poll_resolution(&mut self, cx: &mut Context<'_>) -> Poll<Resolution> {
        match self.poll_recv(cx) {
            Poll::Ready(Some(resolution)) => Poll::Ready(resolution),
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }

    fn has_ended(&self) -> bool {
        self.is_closed() && self.is_empty()
    }
}
