//! A server's metrics. The instruments are listed in [`metrics`](crate::metrics).

#[cfg(feature = "otel")]
mod calls;
#[cfg(feature = "otel")]
mod connections;
#[cfg(feature = "otel")]
mod methods;
#[cfg(not(feature = "otel"))]
mod off;

#[cfg(feature = "otel")]
pub(super) use self::calls::{ServedCalls, ServerCallSpan, ServerMetrics};
#[cfg(not(feature = "otel"))]
pub(super) use self::off::{ServedCalls, ServerCallSpan, ServerMetrics};
