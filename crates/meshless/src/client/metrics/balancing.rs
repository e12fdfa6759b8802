//! What a channel as a whole does: ejections (gRFC A91), shares by weight (A78), calls that wait, and what becomes of
//! resolutions.

use std::time::SystemTime;

use meshless_core::{CountsByCause, EjectionCounts, WeightUpdate};
use opentelemetry::metrics::{Counter, Gauge, Histogram, Meter, UpDownCounter};

use super::calls::{ChannelMetrics, Instruments};
use crate::shared::metrics::instrument::{counter, label, up_down};

/// The instruments.
pub(super) struct Balancing {
    enforced: Counter<u64>,
    unenforced: Counter<u64>,
    rr_fallback: Counter<u64>,
    not_yet_usable: Counter<u64>,
    stale: Counter<u64>,
    endpoint_weights: Histogram<f64>,
    calls_waiting: UpDownCounter<i64>,
    resolution_failures: Counter<u64>,
    resolved_at: Gauge<f64>,
}

impl Balancing {
    pub(super) fn new(meter: &Meter) -> Self {
        let resolved_at = meter.f64_gauge("meshless.resolver.resolved_at").with_unit("s");
        Self {
            enforced: counter(
                meter,
                "grpc.lb.outlier_detection.ejections_enforced",
                "{ejection}",
                "Enforced outlier ejections by ejection reason.",
            ),
            unenforced: counter(
                meter,
                "grpc.lb.outlier_detection.ejections_unenforced",
                "{ejection}",
                "Unenforced outlier ejections due to too many endpoints being out of service.",
            ),
            rr_fallback: counter(
                meter,
                "grpc.lb.wrr.rr_fallback",
                "{update}",
                "Scheduler updates without enough endpoints with valid weight, which made WRR fall back to RR.",
            ),
            not_yet_usable: counter(
                meter,
                "grpc.lb.wrr.endpoint_weight_not_yet_usable",
                "{endpoint}",
                "Endpoints from each scheduler update that don't yet have usable weight information.",
            ),
            stale: counter(
                meter,
                "grpc.lb.wrr.endpoint_weight_stale",
                "{endpoint}",
                "Endpoints from each scheduler update whose latest weight is older than the expiration period.",
            ),
            endpoint_weights: meter
                .f64_histogram("grpc.lb.wrr.endpoint_weights")
                .with_unit("{endpoint}")
                .with_description("Weight of each endpoint, recorded on every scheduler update.")
                .build(),
            calls_waiting: up_down(
                meter,
                "meshless.channel.calls_waiting",
                "{call}",
                "Calls that wait for a backend.",
            ),
            resolution_failures: counter(
                meter,
                "meshless.resolver.failures",
                "{resolution}",
                "Resolutions that failed or found no endpoint.",
            ),
            resolved_at: resolved_at
                .with_description("When the resolver last named endpoints, in Unix time.")
                .build(),
        }
    }
}

impl ChannelMetrics {
    /// So many calls more wait, or fewer.
    #[inline]
    pub(crate) fn calls_waiting(&self, change: i64) {
        if let Some(instruments) = &self.0 {
            instruments.balancing.calls_waiting.add(change, &instruments.target);
        }
    }

    /// The resolver has named endpoints, or not.
    pub(crate) fn resolved(&self, endpoints: bool) {
        let Some(instruments) = &self.0 else { return };
        if !endpoints {
            return instruments.balancing.resolution_failures.add(1, &instruments.target);
        }
        // A time and not an age: nobody would be there to let it grow between two resolutions.
        if let Ok(now) = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH) {
            instruments.balancing.resolved_at.record(now.as_secs_f64(), &instruments.target);
        }
    }

    /// `weighted_round_robin` has made its shares anew.
    pub(crate) fn weights(&self, update: &WeightUpdate) {
        let Some(Instruments { balancing, target, .. }) = self.0.as_deref() else { return };
        if update.fell_back() {
            balancing.rr_fallback.add(1, target);
        }
        balancing.not_yet_usable.add(update.not_yet_usable as u64, target);
        balancing.stale.add(update.stale as u64, target);
        for weight in &update.weights {
            balancing.endpoint_weights.record((*weight).into(), target);
        }
    }

    /// Ejections were counted.
    pub(crate) fn ejections(&self, before: EjectionCounts, now: EjectionCounts) {
        let Some(instruments) = &self.0 else { return };
        let [target] = &instruments.target;
        for (method, count) in difference(before.enforced, now.enforced) {
            instruments.balancing.enforced.add(count, &[target.clone(), label(METHOD, method)]);
        }
        for (method, count) in difference(before.unenforced, now.unenforced) {
            let labels = [target.clone(), label(METHOD, method), label(REASON, MAX_EJECTION_OVERFLOW)];
            instruments.balancing.unenforced.add(count, &labels);
        }
    }
}

/// Where there is one, by A91's name of the cause.
fn difference(before: CountsByCause, now: CountsByCause) -> impl Iterator<Item = (&'static str, u64)> {
    let counts = [
        ("consecutive_failures", before.consecutive_failures, now.consecutive_failures),
        ("probe_failed", before.probe_failed, now.probe_failed),
        ("failure_percentage", before.failure_percentage, now.failure_percentage),
        ("success_rate", before.success_rate, now.success_rate),
    ];
    counts.into_iter().map(|(cause, before, now)| (cause, now - before)).filter(|(_, count)| *count > 0)
}

const METHOD: &str = "grpc.lb.outlier_detection.detection_method";
const REASON: &str = "grpc.lb.outlier_detection.unenforced_reason";

/// "Currently one of {"enforcement_percentage", "max_ejection_overflow"}" (A91); there is no enforcement percentage here.
const MAX_EJECTION_OVERFLOW: &str = "max_ejection_overflow";
