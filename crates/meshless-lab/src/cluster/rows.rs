//! From bins to the rows of the results.
//!
//! The definitions are those of `stats`, as far as bins of a tenth of a second and the callers'
//! knowledge carry them.

use std::collections::BTreeMap;
use std::time::Duration;

use meshless::Policy;

use super::event::{BEGINS, ClusterEvent, Happened, READY, SCALE_IN};
use super::score::{BIN, Bin, Measured};
use crate::results::{BeforeAfter, ChurnRow, ChurnSlice, Cpu, Mark, PerSecond, Second, SpreadRow};
use crate::stats::{max_over_mean, ratio};
use crate::strategy::Strategy;

/// The row of a spread over these pods.
pub(crate) fn spread_row(
    strategy: Strategy,
    pods: &[String],
    workers: u32,
    measured: &Measured,
) -> SpreadRow {
    let whole = sum(&measured.bins);
    let timeline: Vec<Second> =
        measured.bins.chunks(BINS_PER_SECOND).map(|bins| second(bins, pods)).collect();
    let share = share(&whole, pods);
    let mut outcome = whole.outcome();
    let calls = outcome.ok + outcome.failed;
    outcome.connections_opened = measured.totals.connections_opened;
    outcome.goaways_seen = measured.totals.goaways_seen;
    outcome.cpu_us_per_call =
        Cpu { client: ratio(measured.totals.cpu.as_secs_f64() * 1e6, calls as f64), server: 0.0 };
    let mut values: Vec<f64> =
        timeline.iter().map(|second| max_over_mean(&second.share)).filter(|value| *value > 0.0).collect();
    values.sort_unstable_by(f64::total_cmp);
    SpreadRow {
        strategy: strategy.name().into(),
        backends: pods.len(),
        calls,
        max_over_mean: max_over_mean(&share),
        share,
        max_over_mean_per_second: PerSecond {
            p50: values.get(values.len().saturating_sub(1) / 2).copied().unwrap_or(0.0),
            max: values.last().copied().unwrap_or(0.0),
        },
        rotations: rotations(strategy, pods.len(), workers, outcome.connections_opened),
        start_lag_ms_p99: start_lag(measured),
        timeline,
        rotations_at_ms: Vec::new(),
        around_rotation: Vec::new(),
        outcome,
    }
}

/// The row of an event.
pub(crate) fn churn_row(
    strategy: Strategy,
    event: ClusterEvent,
    workers: u32,
    happened: &Happened,
    measured: &Measured,
) -> ChurnRow {
    let begin = happened.mark(BEGINS).unwrap_or_default();
    let bins = &measured.bins;
    // A call is of the event if it was due in the bin of its begin or later.
    let first = index(begin).min(bins.len());
    let (before, during) = bins.split_at(first);
    let after = sum(during);
    let calls = bins.iter().map(|bin| bin.ok() + bin.failed()).sum::<u64>();
    let outcome = after.outcome();
    let since_begin = |at: Duration| at.as_secs_f64() * 1e3 - begin.as_secs_f64() * 1e3;
    ChurnRow {
        strategy: strategy.name().into(),
        event: event.name().into(),
        calls: outcome.ok + outcome.failed,
        failed: outcome.failed,
        error_rate: outcome.error_rate,
        failed_by_cause: outcome.causes,
        statuses: outcome.statuses,
        duplicated: 0,
        executed_though_failed: 0,
        attempts_per_call: (!strategy.hides_connections())
            .then_some(measured.totals.attempts as f64 / calls.max(1) as f64),
        connections_per_client: (!strategy.hides_connections())
            .then_some(measured.totals.connections_opened as f64 / f64::from(workers.max(1))),
        converges: true,
        converged_ms: converged(event, happened, bins).map(|took| took.as_secs_f64() * 1e3),
        start_lag_ms_p99: start_lag(measured),
        // The first calls of a client pay for its connections.
        latency_ms: BeforeAfter {
            before: sum(&before[before.len() / 5..]).latency(),
            after: outcome.latency_ms,
        },
        marks: happened
            .marks
            .iter()
            .map(|(name, at)| Mark { at_ms: since_begin(*at), name: (*name).into() })
            .collect(),
        timeline: (0u32..)
            .zip(bins)
            .map(|(index, bin)| {
                let latency = bin.latency();
                ChurnSlice {
                    at_ms: since_begin(BIN * index),
                    ok: bin.ok(),
                    failed: bin.failed(),
                    concerned: concerned(bin, happened),
                    p50_ms: latency.p50,
                    p99_ms: latency.p99,
                }
            })
            .collect(),
    }
}

/// What is said of a part that was ended early. A row would mislead: its shares and its failures
/// are those of another length.
pub(crate) fn part_note(
    what: &str,
    strategy: Strategy,
    took: Duration,
    length: Duration,
    measured: &Measured,
) -> String {
    let whole = sum(&measured.bins);
    let (latency, mut backends) = (whole.latency(), whole.backends.values().copied().collect::<Vec<_>>());
    backends.sort_unstable_by(|a, b| b.cmp(a));
    let backends: Vec<_> = backends.iter().map(u64::to_string).collect();
    format!(
        "{what}, ended after {:.1} of {:.0} s: {strategy} had {} calls answered ({} by backend) and {} failed; p50 {:.1} ms, p99 {:.1} ms.",
        took.as_secs_f64(),
        length.as_secs_f64(),
        whole.ok(),
        backends.join(", "),
        whole.failed(),
        latency.p50,
        latency.p99
    )
}

/// Time until clients had got over an event; none if they had not while it was watched.
fn converged(event: ClusterEvent, happened: &Happened, bins: &[Bin]) -> Option<Duration> {
    let begin = happened.mark(BEGINS)?;
    match event {
        ClusterEvent::Scale => {
            let (ready, end) = (happened.mark(READY)?, happened.mark(SCALE_IN));
            let end = end.map_or(bins.len(), index).min(bins.len());
            // There are twice as many as before.
            let wanted = SHARE_OF_NEW / 2.0;
            let found = (index(ready)..end.saturating_sub(WINDOW)).find(|from| {
                let window = &bins[*from..from + WINDOW];
                let (ok, new) = window
                    .iter()
                    .fold((0, 0), |(ok, new), bin| (ok + bin.ok(), new + concerned(bin, happened)));
                ok >= CALLS_MIN && ratio(new as f64, ok as f64) >= wanted
            })?;
            Some((BIN * found as u32).saturating_sub(ready))
        }
        ClusterEvent::Rolling | ClusterEvent::PodDeletion => {
            let first = index(begin).min(bins.len());
            let Some(last) = (first..bins.len()).rev().find(|at| bins[*at].failed() > 0) else {
                return Some(Duration::ZERO);
            };
            let late = bins.len() - (bins.len() - first) / END_PART;
            (last < late).then(|| (BIN * (last as u32 + 1)).saturating_sub(begin))
        }
    }
}

/// Nobody tells when connections reach their age; but each that does makes its client open another.
fn rotations(strategy: Strategy, pods: usize, workers: u32, opened: u64) -> u64 {
    let first = match strategy.policy() {
        None | Some(Policy::PickFirst) => 1,
        Some(_) => pods as u64,
    };
    if strategy.ages() { opened.saturating_sub(first * u64::from(workers)) } else { 0 }
}

fn second(bins: &[Bin], pods: &[String]) -> Second {
    let (mut counts, mut failed) = (Bin::default(), 0);
    for bin in bins {
        for (backend, calls) in &bin.backends {
            *counts.backends.entry(backend.clone()).or_default() += calls;
        }
        failed += bin.failed();
    }
    Second { share: share(&counts, pods), failed }
}

/// Calls by pod, also of those that got none.
fn share(bin: &Bin, pods: &[String]) -> BTreeMap<String, u64> {
    let mut share: BTreeMap<String, u64> = pods.iter().map(|pod| (pod.clone(), 0)).collect();
    share.extend(
        bin.backends.iter().filter(|(name, _)| !name.is_empty()).map(|(name, calls)| (name.clone(), *calls)),
    );
    share
}

fn sum(bins: &[Bin]) -> Bin {
    let mut sum = Bin::default();
    bins.iter().for_each(|bin| sum.merge(bin));
    sum
}

fn concerned(bin: &Bin, happened: &Happened) -> u64 {
    happened.concerned.iter().filter_map(|pod| bin.backends.get(pod)).sum()
}

fn start_lag(measured: &Measured) -> f64 {
    measured.totals.lag.unpack().unwrap_or_default().quantile(0.99)
}

fn index(at: Duration) -> usize {
    (at.as_nanos() / BIN.as_nanos()) as usize
}

const BINS_PER_SECOND: usize = 10;

/// Bins of half a second.
const WINDOW: usize = 5;

/// Of fewer calls there is no share to speak of.
const CALLS_MIN: u64 = 9;

const SHARE_OF_NEW: f64 = 0.9;

/// Clients that failed a call in the last eighth of the watch have not got over the event.
const END_PART: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::score::BinCalls;
    use crate::record::{CallEnd, CallRecord, Failure};

    /// Ten calls in each of 100 bins, to the pods that `of` gives for a bin, or failed.
    fn measured(of: impl Fn(usize, usize) -> Option<&'static str>) -> Measured {
        let bin = |at: usize| {
            let call = |n: usize| CallRecord {
                id: 0,
                scheduled_ns: 0,
                started_ns: 0,
                finished_ns: 20_000_000,
                end: of(at, n)
                    .map_or(CallEnd::Failed(Failure::DEADLINE), |pod| CallEnd::Answered(Some(pod.into()))),
            };
            let mut calls = BinCalls::default();
            (0..10).map(call).for_each(|call| calls.add(call));
            calls.pack()
        };
        Measured { bins: (0..100).map(bin).collect(), ..Measured::default() }
    }

    fn happened(marks: &[(&'static str, u64)]) -> Happened {
        let marks = marks.iter().map(|(name, ms)| (*name, Duration::from_millis(*ms))).collect();
        Happened { marks, concerned: vec!["new".into()] }
    }

    #[test]
    fn a_pod_without_a_call_counts_in_the_mean() {
        let pods = ["a", "b", "c"].map(str::to_owned);
        let row =
            spread_row(Strategy::RoundRobin, &pods, 2, &measured(|_, n| Some(if n < 5 { "a" } else { "b" })));
        assert_eq!((row.calls, row.max_over_mean, row.share["c"]), (1000, 1.5, 0));
        assert_eq!((row.timeline.len(), row.timeline[3].share["a"]), (10, 50));
        assert_eq!(row.outcome.latency_ms.p50, 20.0);
    }

    #[test]
    fn a_part_that_was_ended_early_is_told_in_numbers() {
        let measured = measured(|at, n| (at > 0).then_some(if n < 7 { "a" } else { "b" }));
        let length = Duration::from_secs(40);
        let note = part_note("rolling", Strategy::RoundRobin, Duration::from_secs(10), length, &measured);
        assert_eq!(
            note,
            "rolling, ended after 10.0 of 40 s: round_robin had 990 calls answered (693, 297 by backend) and 10 failed; \
             p50 20.0 ms, p99 20.0 ms."
        );
    }

    #[test]
    fn connections_beyond_the_first_ones_are_rotations() {
        assert_eq!(rotations(Strategy::MaxAgeDns, 3, 2, 12), 10);
        assert_eq!(rotations(Strategy::RoundRobin, 3, 2, 12), 6);
        assert_eq!(rotations(Strategy::RoundRobin, 3, 2, 5), 0);
        assert_eq!(rotations(Strategy::ConnectionPerCall, 3, 2, 100), 0);
    }

    #[test]
    fn a_scale_out_counts_from_the_moment_the_new_pods_are_ready() {
        let marks = [(BEGINS, 1000), (READY, 3000), (SCALE_IN, 8000)];
        let row_of = |from: usize| {
            let measured = measured(move |at, n| Some(if at >= from && n % 2 == 0 { "new" } else { "old" }));
            churn_row(Strategy::RoundRobin, ClusterEvent::Scale, 2, &happened(&marks), &measured).converged_ms
        };
        assert_eq!(row_of(20), Some(0.0));
        assert_eq!(row_of(50), Some(2000.0));
        assert_eq!(row_of(90), None);
    }

    #[test]
    fn a_restart_is_got_over_with_the_last_failed_call() {
        let row_of = |failing: std::ops::Range<usize>| {
            let measured = measured(move |at, n| (n > 0 || !failing.contains(&at)).then_some("old"));
            churn_row(Strategy::RoundRobin, ClusterEvent::Rolling, 2, &happened(&[(BEGINS, 1000)]), &measured)
        };
        let row = row_of(15..20);
        assert_eq!((row.calls, row.failed, row.converged_ms), (900, 5, Some(1000.0)));
        assert_eq!((row.failed_by_cause.deadline, row.statuses["DEADLINE_EXCEEDED"]), (5, 5));
        assert_eq!((row.timeline.len(), row.timeline[0].at_ms), (100, -1000.0));
        assert_eq!(row_of(0..0).converged_ms, Some(0.0));
        assert_eq!(row_of(95..96).converged_ms, None);
    }
}
