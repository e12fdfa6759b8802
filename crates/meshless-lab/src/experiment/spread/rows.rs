//! The row of a spread run: who answered how much, when, and what a rotation did to the calls
//! around it.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::record::{CallRecord, CallResult};
use crate::results::{AroundRotation, Outcome, PerSecond, Second, SpreadRow};
use crate::stats::{Latencies, Round, max_over_mean, milliseconds, outcome, start_lag};
use crate::strategy::Strategy;

/// The row of one strategy, from single calls.
pub(super) fn row_of_calls(
    strategy: Strategy,
    backends: &[String],
    length: Duration,
    around: Duration,
    mut round: Round,
) -> SpreadRow {
    round.calls.sort_unstable_by_key(|call| call.scheduled_ns);
    let rotations = rotations(&round);
    SpreadRow {
        rotations: rotations.len() as u64,
        start_lag_ms_p99: start_lag(&round.calls),
        around_rotation: around_rotation(around, &rotations, &round.calls),
        rotations_at_ms: rotations.into_iter().map(milliseconds).collect(),
        ..row(strategy, backends, length, timeline(backends, length, &round.calls), outcome(&[round]))
    }
}

/// A row without what is known of rotations and of the generator.
pub(super) fn row(
    strategy: Strategy,
    backends: &[String],
    length: Duration,
    timeline: Vec<Second>,
    outcome: Outcome,
) -> SpreadRow {
    let mut share = no_calls(backends);
    for (backend, calls) in timeline.iter().flat_map(|second| &second.share) {
        *share.entry(backend.clone()).or_default() += calls;
    }
    SpreadRow {
        strategy: strategy.name().into(),
        backends: backends.len(),
        calls: outcome.ok + outcome.failed,
        max_over_mean: max_over_mean(&share),
        share,
        max_over_mean_per_second: per_second(length, &timeline),
        rotations: 0,
        start_lag_ms_p99: 0.0,
        timeline,
        rotations_at_ms: Vec::new(),
        around_rotation: Vec::new(),
        outcome,
    }
}

/// Rotations during the run, as offsets from its start. Those of the warm-up and of the time after
/// the last call are not the run's.
fn rotations(round: &Round) -> Vec<u64> {
    let end = round.calls.iter().map(|call| call.finished_ns).max().unwrap_or(0);
    let offsets = round.rotations_ns.iter().filter_map(|at| at.checked_sub(round.totals.start_ns));
    let mut offsets: Vec<u64> = offsets.filter(|offset| *offset <= end).collect();
    offsets.sort_unstable();
    offsets
}

fn timeline(backends: &[String], length: Duration, calls: &[CallRecord]) -> Vec<Second> {
    let empty = Second { share: no_calls(backends), failed: 0 };
    let mut timeline = vec![empty; length.as_secs_f64().ceil() as usize];
    for call in calls {
        let Some(second) = timeline.get_mut((call.scheduled_ns / SECOND_NS) as usize) else { continue };
        match &call.end {
            CallResult::Answered(Some(backend)) => *second.share.entry(backend.clone()).or_default() += 1,
            CallResult::Answered(None) => {}
            CallResult::Failed(_) => second.failed += 1,
        }
    }
    timeline
}

/// Only full seconds, and only those in which anything was answered: an imbalance of nothing is
/// none.
fn per_second(length: Duration, timeline: &[Second]) -> PerSecond {
    let full = timeline.iter().take(length.as_secs() as usize);
    let mut values: Vec<f64> =
        full.map(|second| max_over_mean(&second.share)).filter(|value| *value > 0.0).collect();
    values.sort_unstable_by(f64::total_cmp);
    let p50 = values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or(0.0);
    PerSecond { p50, max: values.last().copied().unwrap_or(0.0) }
}

/// A call near two rotations counts for both: each rotation is looked at with all that happened
/// around it.
fn around_rotation(around: Duration, rotations: &[u64], calls: &[CallRecord]) -> Vec<AroundRotation> {
    if rotations.is_empty() {
        return Vec::new();
    }
    let slice_ns = (around.as_nanos() as i64 / SLICES).max(1);
    (-SLICES..SLICES)
        .map(|slice| {
            let mut latencies = Latencies::new();
            let mut around =
                AroundRotation { offset_ms: (slice * slice_ns) as f64 / 1e6, ..AroundRotation::default() };
            for rotation in rotations {
                let begin = *rotation as i64 + slice * slice_ns;
                let first = calls.partition_point(|call| (call.scheduled_ns as i64) < begin);
                let end = calls.partition_point(|call| (call.scheduled_ns as i64) < begin + slice_ns);
                for call in &calls[first..end] {
                    match call.end {
                        CallResult::Answered(_) => {
                            around.ok += 1;
                            latencies.record(call.finished_ns.saturating_sub(call.scheduled_ns));
                        }
                        CallResult::Failed(_) => around.failed += 1,
                    }
                }
            }
            let latency = latencies.summary();
            around.p50_ms = latency.p50;
            around.p99_ms = latency.p99;
            around
        })
        .collect()
}

pub(super) fn no_calls(backends: &[String]) -> BTreeMap<String, u64> {
    backends.iter().map(|backend| (backend.clone(), 0)).collect()
}

const SECOND_NS: u64 = 1_000_000_000;

/// Slices before a rotation, and as many after it.
const SLICES: i64 = 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::RunTotals;
    use crate::record::Failure;

    const MS: u64 = 1_000_000;

    fn call(at_ms: u64, backend: Option<&str>) -> CallRecord {
        let end = match backend {
            Some(backend) => CallResult::Answered(Some(backend.into())),
            None => CallResult::Failed(Failure::NOT_CONNECTED),
        };
        let at = at_ms * MS;
        CallRecord { id: at_ms, scheduled_ns: at, started_ns: at + MS, finished_ns: at + 100 * MS, end }
    }

    fn row(calls: Vec<CallRecord>, rotations_ns: Vec<u64>) -> SpreadRow {
        let backends = ["a", "b", "c"].map(str::to_owned);
        let (length, around) = (Duration::from_secs(2), Duration::from_millis(500));
        let totals = RunTotals { start_ns: 5000 * MS, ..RunTotals::default() };
        let round = Round { calls, totals, rotations_ns, ..Round::default() };
        row_of_calls(Strategy::MaxAgeL4, &backends, length, around, round)
    }

    #[test]
    fn backends_without_a_call_count_in_the_mean() {
        let row = row(vec![call(100, Some("a")), call(200, Some("a")), call(1500, Some("b"))], vec![]);
        assert_eq!(
            row.share.into_iter().collect::<Vec<_>>(),
            [("a".to_owned(), 2), ("b".to_owned(), 1), ("c".to_owned(), 0)]
        );
        assert_eq!(row.max_over_mean, 2.0);
        assert_eq!((row.max_over_mean_per_second.p50, row.max_over_mean_per_second.max), (3.0, 3.0));
        assert_eq!(row.start_lag_ms_p99, 1.0);
    }

    #[test]
    fn calls_fall_into_the_second_they_were_scheduled_in() {
        let row = row(vec![call(999, Some("a")), call(1000, Some("b")), call(1001, None)], vec![]);
        assert_eq!(row.timeline.len(), 2);
        assert_eq!((row.timeline[0].share["a"], row.timeline[0].failed), (1, 0));
        assert_eq!((row.timeline[1].share["b"], row.timeline[1].failed), (1, 1));
    }

    #[test]
    fn rotations_count_from_the_start_and_within_the_run() {
        let row = row(vec![call(1500, Some("a"))], vec![5400 * MS, 4900 * MS, 9000 * MS, 5100 * MS]);
        assert_eq!(row.rotations, 2);
        assert_eq!(row.rotations_at_ms, [100.0, 400.0]);
    }

    #[test]
    fn calls_around_all_rotations_are_laid_over_each_other() {
        let calls = vec![call(480, Some("a")), call(500, None), call(1510, Some("a")), call(1990, Some("b"))];
        let row = row(calls, vec![5500 * MS, 6500 * MS]);
        assert_eq!(row.around_rotation.len(), 20);
        let at = |offset: f64| row.around_rotation.iter().find(|slice| slice.offset_ms == offset).unwrap();
        assert_eq!((at(-50.0).ok, at(-50.0).failed), (1, 0));
        assert_eq!((at(0.0).ok, at(0.0).failed, at(0.0).p50_ms), (1, 1, 100.0));
        assert_eq!(at(450.0).ok, 1);
        assert_eq!(row.around_rotation.iter().map(|slice| slice.ok + slice.failed).sum::<u64>(), 4);
    }

    #[test]
    fn without_a_rotation_there_is_nothing_around_it() {
        assert!(row(vec![call(0, Some("a"))], vec![]).around_rotation.is_empty());
    }
}
