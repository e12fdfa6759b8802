//! What a channel counts and measures. The instruments are listed in
//! [`metrics`](crate::metrics).

mod attempt_kind;
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

pub(crate) use self::attempt_kind::AttemptKind;
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
