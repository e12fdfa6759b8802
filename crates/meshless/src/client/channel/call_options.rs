//! What one call can ask for in place of the channel's settings.

use meshless_core::RetryPolicy;

/// For one call, in place of the channel's setting: whether it waits when no backend can be
/// reached, rather than fail with UNAVAILABLE at once (gRPC's "wait for ready"). Put it into the
/// extensions of a tonic `Request`.
///
/// ```
/// let mut request = tonic::Request::new(());
/// request.extensions_mut().insert(meshless::WaitForReady(true));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitForReady(pub bool);

/// For one call, in place of the channel's retry or hedging policy: another retry policy, or none.
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
    /// The call is sent again by this policy; with `None` only if no server has processed it.
    pub fn by(policy: impl Into<Option<RetryPolicy>>) -> Self {
        Self(policy.into().map(Box::new))
    }
}
