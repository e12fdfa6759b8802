//! What a resolver is, whoever wrote it.

use std::sync::Arc;
use std::task::{Context, Poll};

use meshless_core::{Endpoint, ResolveHint};

use super::error::ResolveError;

/// The result of one resolution: all endpoints, or the reason why they are not known.
pub type Resolution = Result<Vec<Endpoint>, ResolveError>;

/// Finds the endpoints of a target, for as long as a channel lives.
///
/// It is polled rather than awaited, so that the driver can wait for it together with everything
/// else. In between, the driver can call [`resolve_now`](Self::resolve_now) without cancelling work
/// in progress. To write `async` code instead, spawn a task and give the channel the receiving end:
/// a [`tokio::sync::mpsc::Receiver`] of resolutions is a resolver too.
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
/// A resolution is valid until the next one. The channel remembers it, even an error: before the
/// first call, while it is idle, and after. A resolver need not repeat itself, and some do not:
///
/// | resolver | resolves again | after `resolve_now` |
/// |---|---|---|
/// | [`StaticResolver`](crate::resolver::StaticResolver) | never | ignores it |
/// | `DnsResolver` | after each lookup, changed or not: at the TTL, within 6 s of a failure | resolves again |
/// | `KubernetesResolver` | when the EndpointSlices change, when reading them fails and when it works again | resolves again: by a new list after `AllFailed`, else what is known; at most each 100 ms |
/// | `mpsc::Receiver` | when something is sent | ignores it; after the last sender is gone, the last resolution is final |
pub trait Resolver: Send + 'static {
    /// Returns the next resolution when there is one. The first should come as soon as possible:
    /// calls wait for it.
    ///
    /// A set is always complete: an endpoint that it does not list is removed. An error only
    /// changes the status that waiting calls get; the resolver must retry by itself.
    fn poll_resolution(&mut self, cx: &mut Context<'_>) -> Poll<Resolution>;

    /// Called when the channel suspects that the last set is wrong. A hint, not an order: the
    /// resolver limits how often it resolves again. It must not block. The default ignores it.
    fn resolve_now(&mut self, hint: ResolveHint) {
        let _ = hint;
    }

    /// Returns true if a resolution follows each [`ResolveHint::AllFailed`], changed or not.
    ///
    /// If every backend is lost, calls then wait for it, at most 5 s, before they fail. With false,
    /// the default, they fail at once.
    fn answers_resolve_now(&self) -> bool {
        false
    }

    /// Returns true if there will be no further resolution. If there was none at all, calls then
    /// fail with a status that says so. Default false.
    fn has_ended(&self) -> bool {
        false
    }

    /// Returns the source of the last set as a text for people, such as `DNS (orders.shop.svc)`. It
    /// is shown in [`ChannelState::resolved_by`](crate::ChannelState::resolved_by). Default `None`.
    fn source(&self) -> Option<Arc<str>> {
        None
    }
}

/// If all senders are dropped, the last set is final.
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
