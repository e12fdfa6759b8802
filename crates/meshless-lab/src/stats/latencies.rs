//! Latencies of answered calls, as quantiles that stay precise from microseconds to minutes.

#[cfg(feature = "kubernetes")]
mod wire;

use hdrhistogram::Histogram;

use super::{milliseconds, ratio};
use crate::results::Latency;

#[cfg(feature = "kubernetes")]
pub(crate) use wire::PackedLatencies;

/// Latencies of answered calls. Failed calls have none.
#[derive(Clone, Debug)]
pub(crate) struct Latencies {
    histogram: Histogram<u64>,
    sum_ns: u128,
    max_ns: u64,
}

impl Latencies {
    pub(crate) fn new() -> Self {
        // Three digits: an error of at most 0.1 %.
        let histogram =
            Histogram::new_with_max(LATENCY_MAX_NS, 3).expect("the range and the number of digits are valid");
        Self { histogram, sum_ns: 0, max_ns: 0 }
    }

    /// Adds one latency, in nanoseconds.
    pub(crate) fn record(&mut self, latency_ns: u64) {
        self.histogram.saturating_record(latency_ns);
        self.sum_ns += u128::from(latency_ns);
        self.max_ns = self.max_ns.max(latency_ns);
    }

    /// Adds all of `other`.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.histogram.add(&other.histogram).expect("both have the same range");
        self.sum_ns += other.sum_ns;
        self.max_ns = self.max_ns.max(other.max_ns);
    }

    pub(crate) fn summary(&self) -> Latency {
        Latency {
            mean: ratio(self.sum_ns as f64 / 1e6, self.histogram.len() as f64),
            p50: self.quantile(0.5),
            p90: self.quantile(0.9),
            p99: self.quantile(0.99),
            p999: self.quantile(0.999),
            max: milliseconds(self.max_ns),
        }
    }

    pub(crate) fn quantile(&self, quantile: f64) -> f64 {
        // A bucket returns its upper end, which may be above the longest latency in it.
        milliseconds(self.histogram.value_at_quantile(quantile).min(self.max_ns))
    }
}

impl Default for Latencies {
    fn default() -> Self {
        Self::new()
    }
}

/// An hour. Longer latencies count as an hour, except in the mean and the maximum.
const LATENCY_MAX_NS: u64 = 3_600_000_000_000;
