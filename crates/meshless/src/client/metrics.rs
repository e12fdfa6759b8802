//! What a channel counts and measures. The instruments are listed in
//! [`metrics`](crate::metrics).

#[cfg(feature = "otel")]
mod balancing;
#[cfg(feature = "otel")]
mod calls;
#[cfg(feature = "otel")]
mod connections;
#[cfg(feature = "otel")]
mod endpoints;
#[cfg(not(feature = "otel"))]
mod off;

#[cfg(not(feature = "otel"))]
pub(crate) use self::off::{
    AttemptSpan, Attempts, CallSpan, ChannelMetrics, MeasuredEndpoints, OpenConnection,
};
#[cfg(feature = "otel")]
pub(crate) use self::{
    calls::{AttemptSpan, Attempts, CallSpan, ChannelMetrics},
    connections::OpenConnection,
    endpoints::MeasuredEndpoints,
};

/// Why an attempt was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum AttemptKind {
    #[default]
    First,
    /// A retry policy made it.
    Retry,
    /// Made without a policy: the server had not processed the previous attempt.
    TransparentRetry,
    /// A hedging policy made it, beside another attempt.
    Hedge,
}
