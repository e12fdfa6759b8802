//! Options of one call that replace the channel's settings.

use meshless_core::RetryPolicy;

/// Sets gRPC's "wait for ready" for one call, in place of the channel's setting. If true, the call
/// waits when no backend can be reached; if false, it fails with UNAVAILABLE at once. Put it into
/// the extensions of a tonic `Request`.
///
/// ```
/// let mut request = tonic::Request::new(());
/// request.extensions_mut().insert(meshless::WaitForReady(true));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitForReady(pub bool);

/// Sets the retry policy of one call, or none, in place of the channel's retry or hedging policy.
/// Put it into the extensions of a tonic `Request`. Transparent retries cannot be switched off:
/// they are invisible to servers.
///
/// ```
/// let mut request = tonic::Request::new(());
/// request.extensions_mut().insert(meshless::Retry::by(None));
/// ```
#[derive(Clone, Debug)]
pub struct Retry(pub(super) Option<Box<RetryPolicy>>);

impl Retry {
    /// Sends the call again by this policy; with `None` only if no server has processed it.
    pub fn by(policy: impl Into<Option<RetryPolicy>>) -> Self {
        Self(policy.into().map(Box::new))
    }
}
