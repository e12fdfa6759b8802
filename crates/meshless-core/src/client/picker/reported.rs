//! The weight of an endpoint from its server's load report (gRFC A58): its calls at full
//! utilization.
//!
//! Calls whose responses carry a report write it, or a stream of reports does. The balancer reads
//! it when it weighs endpoints. It is one word, like the average of `ewma.rs`, and needs no lock.

use crate::atomic::{AtomicU64, Ordering};
use std::ops::RangeInclusive;

/// A server's load as in ORCA (`xds.data.orca.v3.OrcaLoadReport`): the part that weights are made
/// of. A missing field is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct LoadReport {
    /// How busy the application is. 1 is its target load; more is possible. Used in place of the
    /// processor's if set.
    pub application_utilization: f64,
    /// How busy its processors are, relative to what it may use.
    pub cpu_utilization: f64,
    /// Calls that it serves per second.
    pub calls_per_second: f64,
    /// Calls that it fails per second.
    pub errors_per_second: f64,
}

impl LoadReport {
    /// "weight = qps / (utilization + eps / qps × error_utilization_penalty)" (A58). `None` if the
    /// report lacks data or is impossible.
    pub(crate) fn weight(&self, error_penalty: f32) -> Option<f32> {
        let utilization = if self.application_utilization > 0.0 {
            self.application_utilization
        } else {
            self.cpu_utilization
        };
        if !(self.calls_per_second > 0.0 && utilization > 0.0) {
            return None;
        }
        let errors = self.errors_per_second.max(0.0) / self.calls_per_second;
        let weight = (self.calls_per_second / (utilization + errors * f64::from(error_penalty))) as f32;
        PLAUSIBLE.contains(&weight).then_some(weight)
    }
}

/// The last weight of one endpoint.
#[derive(Debug, Default)]
pub(crate) struct ReportedWeight {
    /// High half: the weight as an `f32`, 0 for "none". Low half: its stamp in ticks.
    state: AtomicU64,
}

impl ReportedWeight {
    pub(crate) fn set(&self, weight: f32, ticks: u32) {
        self.state.store(u64::from(weight.to_bits()) << 32 | u64::from(ticks), Ordering::Relaxed);
    }

    /// Returns the weight, and when it was set.
    pub(crate) fn get(&self) -> Option<(f32, u32)> {
        let state = self.state.load(Ordering::Relaxed);
        let weight = f32::from_bits((state >> 32) as u32);
        (weight > 0.0).then_some((weight, state as u32))
    }

    /// Clears an expired weight. Otherwise its stamp would look fresh again when ticks wrap.
    pub(crate) fn clear(&self) {
        self.state.store(0, Ordering::Relaxed);
    }
}

/// Weights that a server can have. Beyond that, sums of weights overflow or vanish, and with them
/// the shares of all others.
const PLAUSIBLE: RangeInclusive<f32> = 1e-6..=1e12;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weight_is_the_calls_at_full_utilization() {
        let load = LoadReport { cpu_utilization: 0.5, calls_per_second: 100.0, ..LoadReport::default() };
        assert_eq!(load.weight(1.0), Some(200.0));
        assert_eq!(LoadReport { application_utilization: 0.25, ..load }.weight(1.0), Some(400.0));
        assert_eq!(LoadReport { errors_per_second: 50.0, ..load }.weight(1.0), Some(100.0));
        assert_eq!(LoadReport { errors_per_second: 50.0, ..load }.weight(0.0), Some(200.0));
    }

    #[test]
    fn a_report_that_says_too_little_has_no_weight() {
        let busy = LoadReport { cpu_utilization: 0.5, ..LoadReport::default() };
        let called = LoadReport { calls_per_second: 9.0, ..LoadReport::default() };
        let nonsense =
            LoadReport { calls_per_second: f64::NAN, cpu_utilization: -1.0, ..LoadReport::default() };
        assert_eq!([busy, called, nonsense].map(|load| load.weight(1.0)), [None; 3]);
    }

    #[test]
    fn a_weight_that_no_server_has_is_none() {
        for (calls, utilization) in
            [(1e30, 1.0), (1.0, 1e-30), (1e-30, 1.0), (1.0, 1e30), (f64::INFINITY, 1.0)]
        {
            let load =
                LoadReport { cpu_utilization: utilization, calls_per_second: calls, ..LoadReport::default() };
            assert_eq!(load.weight(1.0), None, "{load:?}");
        }
    }
}
