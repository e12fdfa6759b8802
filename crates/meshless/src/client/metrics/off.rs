//! The same names as with the feature `otel`, but empty: types without a size and methods without a
//! body. So the code that measures is the same in both cases. They are made by `default()` like the
//! real ones, so they are not unit structs.

use meshless_core::{EjectionCounts, EndpointCounts, WeightUpdate};
use tonic::Code;

use super::attempt_kind::AttemptKind;
use crate::client::connection::{CloseReason, GoingAway};
use crate::shared::metrics::MessageMeter;

#[derive(Clone, Debug, Default)]
pub(crate) struct ChannelMetrics(());

impl ChannelMetrics {
    #[inline]
    pub(crate) fn begin_call(&self, _: &http::Extensions) -> CallSpan {
        CallSpan(())
    }

    #[inline]
    pub(crate) fn calls_waiting(&self, _: i64) {}

    #[inline]
    pub(crate) fn resolved(&self, _: bool) {}

    #[inline]
    pub(crate) fn ejections(&self, _: EjectionCounts, _: EjectionCounts) {}

    #[inline]
    pub(crate) fn weights(&self, _: &WeightUpdate) {}

    #[inline]
    pub(crate) fn connected(&self) -> OpenConnection {
        OpenConnection(())
    }

    #[inline]
    pub(crate) fn connect_failed(&self) {}

    #[inline]
    pub(crate) fn endpoints(&self) -> MeasuredEndpoints {
        MeasuredEndpoints(())
    }
}

#[derive(Debug, Default)]
pub(crate) struct MeasuredEndpoints(());

impl MeasuredEndpoints {
    #[inline]
    pub(crate) fn set(&mut self, _: impl FnOnce() -> EndpointCounts) {}
}

#[derive(Debug, Default)]
pub(crate) struct CallSpan(());

impl CallSpan {
    #[inline]
    pub(crate) fn attempts(&self) -> Attempts {
        Attempts(())
    }

    #[inline]
    pub(crate) fn ended(self, _: Code) {}
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Attempts(());

impl Attempts {
    #[inline]
    pub(crate) fn begin(&self, _: AttemptKind) -> AttemptSpan {
        AttemptSpan(())
    }
}

#[derive(Debug, Default)]
pub(crate) struct AttemptSpan(());

impl AttemptSpan {
    #[inline]
    pub(crate) fn sender(&self) -> MessageMeter {
        MessageMeter::default()
    }

    #[inline]
    pub(crate) fn receive(&mut self, _: &[u8]) {}

    #[inline]
    pub(crate) fn ended(self, _: Code) {}
}

#[derive(Debug, Default)]
pub(crate) struct OpenConnection(());

impl OpenConnection {
    #[inline]
    pub(crate) fn going_away(&mut self, _: &GoingAway) {}

    #[inline]
    pub(crate) fn closed(&mut self, _: &CloseReason) {}
}
