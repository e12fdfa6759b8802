//! How many endpoints a channel has in each state.
//!
//! An up-down counter and not a gauge, so that several channels to one target add up.

use std::sync::Arc;

use meshless_core::EndpointCounts;
use opentelemetry::metrics::{Meter, UpDownCounter};

use super::calls::{ChannelMetrics, Instruments};
use crate::shared::metrics::instrument::{label, up_down};

/// The instrument.
pub(super) struct Endpoints(UpDownCounter<i64>);

impl Endpoints {
    pub(super) fn new(meter: &Meter) -> Self {
        Self(up_down(meter, "meshless.channel.endpoints", "{endpoint}", "Endpoints by state."))
    }
}

impl ChannelMetrics {
    /// Returns the guard for this channel's endpoints, at first with none.
    pub(crate) fn endpoints(&self) -> MeasuredEndpoints {
        let measured = MeasuredEndpoints { instruments: self.0.clone(), counts: EndpointCounts::default() };
        measured.add(EndpointCounts::default());
        measured
    }
}

/// The measured numbers of a channel's endpoints. Dropping it sets them to zero.
pub(crate) struct MeasuredEndpoints {
    instruments: Option<Arc<Instruments>>,
    counts: EndpointCounts,
}

impl MeasuredEndpoints {
    /// Updates the numbers. `counts` is only called if metrics are on.
    pub(crate) fn set(&mut self, counts: impl FnOnce() -> EndpointCounts) {
        if self.instruments.is_none() {
            return;
        }
        let counts = counts();
        if counts != self.counts {
            self.add(counts);
            self.counts = counts;
        }
    }

    fn add(&self, now: EndpointCounts) {
        let Some(Instruments { endpoints, target: [target], .. }) = self.instruments.as_deref() else {
            return;
        };
        for ((state, before), (_, now)) in states(self.counts).into_iter().zip(states(now)) {
            let change = now as i64 - before as i64;
            endpoints.0.add(change, &[target.clone(), label("meshless.endpoint_state", state)]);
        }
    }
}

impl Drop for MeasuredEndpoints {
    fn drop(&mut self) {
        self.add(EndpointCounts::default());
    }
}

fn states(counts: EndpointCounts) -> [(&'static str, usize); 4] {
    let EndpointCounts { listed, connecting, ready, ejected, .. } = counts;
    [("listed", listed), ("connecting", connecting), ("ready", ready), ("ejected", ejected)]
}
