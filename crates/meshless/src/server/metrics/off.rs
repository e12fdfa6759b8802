//! Stands in for the metrics without the feature `otel`: types without a size and methods without a
//! body, so that the measuring code is the same. Like the real ones they are made by `default()`,
//! hence no unit structs.

use tokio::time::Instant;
use tonic::Code;

use crate::server::ConnectionSummary;
use crate::shared::metrics::MessageMeter;

#[derive(Clone, Debug, Default)]
pub(crate) struct ServerMetrics(());

impl ServerMetrics {
    #[inline]
    pub(crate) fn calls(&self, _: &[&'static str]) -> ServedCalls {
        ServedCalls(())
    }

    #[inline]
    pub(crate) fn accepted(&self) -> AcceptedConnection {
        AcceptedConnection(())
    }
}

#[derive(Debug, Default)]
pub(crate) struct AcceptedConnection(());

impl AcceptedConnection {
    #[inline]
    pub(crate) fn closed(self, _: &ConnectionSummary) {}
}

#[derive(Clone, Debug, Default)]
pub(crate) struct ServedCalls(());

impl ServedCalls {
    #[inline]
    pub(crate) fn begin(&self, _: &str, _: Option<Instant>) -> ServerCallSpan {
        ServerCallSpan(())
    }
}

#[derive(Debug, Default)]
pub(crate) struct ServerCallSpan(());

impl ServerCallSpan {
    #[inline]
    pub(crate) fn receiver(&self) -> MessageMeter {
        MessageMeter::default()
    }

    #[inline]
    pub(crate) fn send(&mut self, _: &[u8]) {}

    #[inline]
    pub(crate) fn end(&mut self, _: Code) {}
}
