//! Metrics of the channel as a whole: ejections (gRFC A91), shares by weight (A78), waiting calls,
//! and resolutions.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use meshless_core::{CountsByCause, EjectionCounts, WeightUpdate};
use opentelemetry::KeyValue;
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
    stale_since: Gauge<f64>,
    is_stale: AtomicBool,
}

impl Balancing {
    pub(super) fn new(meter: &Meter, target: &[KeyValue; 1]) -> Self {
        let balancing = Self::made_by(meter);
        balancing.begin_at_zero(target);
        balancing
    }

    /// Starts the counters at zero, so that a rate or an alert finds them before the first event.
    fn begin_at_zero(&self, target: &[KeyValue; 1]) {
        let counters = [&self.rr_fallback, &self.not_yet_usable, &self.stale, &self.resolution_failures];
        for counter in counters {
            counter.add(0, target);
        }
        for (method, _) in counts(CountsByCause::default()) {
            let [target] = target;
            self.enforced.add(0, &[target.clone(), label(METHOD, method)]);
            let labels = [target.clone(), label(METHOD, method), label(REASON, MAX_EJECTION_OVERFLOW)];
            self.unenforced.add(0, &labels);
        }
        self.calls_waiting.add(0, target);
        self.stale_since.record(0.0, target);
    }

    fn made_by(meter: &Meter) -> Self {
        let resolved_at = meter.f64_gauge("meshless.resolver.resolved_at").with_unit("s");
        let stale_since = meter.f64_gauge("meshless.resolver.stale_since").with_unit("s");
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
            stale_since: stale_since
                .with_description(
                    "Since when the resolver has not named endpoints, in Unix time; 0 if it does.",
                )
                .build(),
            is_stale: AtomicBool::new(false),
        }
    }
}

impl ChannelMetrics {
    /// Changes the number of waiting calls by `change`.
    #[inline]
    pub(crate) fn calls_waiting(&self, change: i64) {
        if let Some(instruments) = &self.0 {
            instruments.balancing.calls_waiting.add(change, &instruments.target);
        }
    }

    /// The resolver has answered, with endpoints or without.
    pub(crate) fn resolved(&self, endpoints: bool) {
        let Some(Instruments { balancing, target, .. }) = self.0.as_deref() else { return };
        // A time and not an age: between two resolutions nothing would let an age grow.
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let was_stale = balancing.is_stale.swap(!endpoints, Ordering::Relaxed);
        match (endpoints, was_stale) {
            (true, true) => balancing.stale_since.record(0.0, target),
            (false, false) => balancing.stale_since.record(now, target),
            _ => {}
        }
        match endpoints {
            true => balancing.resolved_at.record(now, target),
            false => balancing.resolution_failures.add(1, target),
        }
    }

    /// `weighted_round_robin` has updated its shares.
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

/// Returns the counts that differ, by A91's name of the cause.
fn difference(before: CountsByCause, now: CountsByCause) -> impl Iterator<Item = (&'static str, u64)> {
    let pairs = counts(before).into_iter().zip(counts(now));
    pairs.map(|((cause, before), (_, now))| (cause, now - before)).filter(|(_, count)| *count > 0)
}

fn counts(counts: CountsByCause) -> [(&'static str, u64); 4] {
    [
        ("consecutive_failures", counts.consecutive_failures),
        ("probe_failed", counts.probe_failed),
        ("failure_percentage", counts.failure_percentage),
        ("success_rate", counts.success_rate),
    ]
}

const METHOD: &str = "grpc.lb.outlier_detection.detection_method";
const REASON: &str = "grpc.lb.outlier_detection.unenforced_reason";

/// "Currently one of {"enforcement_percentage", "max_ejection_overflow"}" (A91); there is no
/// enforcement percentage here.
const MAX_EJECTION_OVERFLOW: &str = "max_ejection_overflow";
