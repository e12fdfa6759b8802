//! The row of a spread on a cluster, from bins of a tenth of a second and what callers know.

use std::time::Duration;

use meshless::Policy;

use super::rows::{no_calls, row};
use crate::fleet::Measurement;
use crate::results::{Cpu, Second, SpreadRow};
use crate::stats::ratio;
use crate::strategy::Strategy;
use crate::worker::score::{BINS_PER_SECOND, Bin, Measured};

/// The row of one strategy.
pub(super) fn spread_row(length: Duration, measurement: &Measurement, measured: &Measured) -> SpreadRow {
    let Measurement { strategy, backends, clients, .. } = measurement;
    let timeline = measured.bins.chunks(BINS_PER_SECOND).map(|bins| second(bins, backends)).collect();
    let totals = &measured.totals;
    let mut outcome = Bin::sum(&measured.bins).outcome();
    let calls = outcome.ok + outcome.failed;
    outcome.connections_opened = totals.connections_opened;
    outcome.goaways_seen = totals.goaways_seen;
    outcome.cpu_us_per_call =
        Cpu { client: ratio(totals.cpu.as_secs_f64() * 1e6, calls as f64), server: 0.0 };
    SpreadRow {
        rotations: rotations(*strategy, backends.len(), *clients, totals.connections_opened),
        start_lag_ms_p99: totals.start_lag_ms_p99(),
        ..row(*strategy, backends, length, timeline, outcome)
    }
}

/// Nobody tells when connections reach their age; but each that does makes its client open another.
fn rotations(strategy: Strategy, backends: usize, clients: u32, opened: u64) -> u64 {
    let first = match strategy.policy() {
        None | Some(Policy::PickFirst) => 1,
        Some(_) => backends as u64,
    };
    if strategy.ages() { opened.saturating_sub(first * u64::from(clients)) } else { 0 }
}

fn second(bins: &[Bin], backends: &[String]) -> Second {
    let sum = Bin::sum(bins);
    let mut share = no_calls(backends);
    share
        .extend(sum.backends.iter().filter(|(name, _)| !name.is_empty()).map(|(name, n)| (name.clone(), *n)));
    Second { share, failed: sum.failed() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::Calls;
    use crate::worker::score::tests::measured;

    #[test]
    fn a_pod_without_a_call_counts_in_the_mean() {
        let measured = measured(|_, n| Some(if n < 5 { "a" } else { "b" }));
        let measurement = Measurement {
            strategy: Strategy::RoundRobin,
            backends: ["a", "b", "c"].map(str::to_owned).to_vec(),
            clients: 2,
            calls: Calls::Binned(measured.clone()),
        };
        let row = spread_row(Duration::from_secs(10), &measurement, &measured);
        assert_eq!((row.calls, row.max_over_mean, row.share["c"]), (1000, 1.5, 0));
        assert_eq!((row.timeline.len(), row.timeline[3].share["a"]), (10, 50));
        assert_eq!(row.max_over_mean_per_second.p50, 1.5);
        assert_eq!(row.outcome.latency_ms.p50, 20.0);
    }

    #[test]
    fn connections_beyond_the_first_ones_are_rotations() {
        assert_eq!(rotations(Strategy::MaxAgeDns, 3, 2, 12), 10);
        assert_eq!(rotations(Strategy::RoundRobin, 3, 2, 12), 6);
        assert_eq!(rotations(Strategy::RoundRobin, 3, 2, 5), 0);
        assert_eq!(rotations(Strategy::ConnectionPerCall, 3, 2, 100), 0);
    }
}
