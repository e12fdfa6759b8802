//! Turns the records of single calls into the rows of the results.
//!
//! Pure. The client's records hold how each call ended for its caller; the servers' ledgers hold
//! which calls were executed. Only both together show the cause of a failed call.

mod latencies;

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use crate::control::RunTotals;
use crate::record::{CallRecord, CallResult, Failure, Hint};
use crate::results::{Causes, Cpu, Outcome};

pub(crate) use latencies::Latencies;
#[cfg(feature = "kubernetes")]
pub(crate) use latencies::PackedLatencies;

/// The records of one run of the client, from client and servers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Round {
    /// Every call.
    pub(crate) calls: Vec<CallRecord>,
    /// The client's totals.
    pub(crate) totals: RunTotals,
    /// The ids that the servers executed, once per execution, all servers together.
    pub(crate) executed: Vec<u64>,
    /// When connections got their GOAWAY for their age, in nanoseconds of the common clock.
    pub(crate) rotations_ns: Vec<u64>,
    /// The processor time of all servers.
    pub(crate) server_cpu: Duration,
    /// The working time of all handlers together.
    pub(crate) server_busy: Duration,
    /// The servers' samples during the run, if they were asked.
    pub(crate) samples: Vec<Sample>,
}

/// How many connections each backend, by its index, served at a moment.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// Nanoseconds of the common clock.
    pub(crate) at_ns: u64,
    pub(crate) connections: Vec<u64>,
}

/// Returns the outcome of the calls of some rounds. Their ids must differ from each other.
pub(crate) fn outcome(rounds: &[Round]) -> Outcome {
    let mut executed: Vec<u64> = rounds.iter().flat_map(|round| &round.executed).copied().collect();
    executed.sort_unstable();
    let duplicated = executed.chunk_by(|a, b| a == b).filter(|same| same.len() > 1).count() as u64;
    let executed: HashSet<u64> = executed.into_iter().collect();

    let mut outcome = Outcome { duplicated, ..Outcome::default() };
    let mut latencies = Latencies::new();
    for call in rounds.iter().flat_map(|round| &round.calls) {
        match call.end {
            CallResult::Answered(_) => {
                outcome.ok += 1;
                latencies.record(call.finished_ns.saturating_sub(call.scheduled_ns));
            }
            CallResult::Failed(failure) => {
                let was_executed = executed.contains(&call.id);
                outcome.failed += 1;
                outcome.executed_though_failed += u64::from(was_executed);
                *outcome.statuses.entry(failure.status_name().into()).or_default() += 1;
                *cause(failure, was_executed, &mut outcome.causes) += 1;
            }
        }
    }
    let calls = (outcome.ok + outcome.failed) as f64;
    let microseconds = |cpu: Duration| ratio(cpu.as_secs_f64() * 1e6, calls);
    outcome.error_rate = ratio(outcome.failed as f64, calls);
    outcome.latency_ms = latencies.summary();
    outcome.cpu_us_per_call = Cpu {
        client: microseconds(rounds.iter().map(|round| round.totals.cpu).sum()),
        server: microseconds(rounds.iter().map(|round| round.server_cpu).sum()),
    };
    outcome.connections_opened = rounds.iter().map(|round| round.totals.connections_opened).sum();
    outcome.goaways_seen = rounds.iter().map(|round| round.totals.goaways_seen).sum();
    outcome
}

/// A deadline counts as such wherever the call was at that moment. Otherwise the ledger decides
/// over the error: an executed call was sent, whatever the client believes.
fn cause(failure: Failure, was_executed: bool, causes: &mut Causes) -> &mut u64 {
    match failure.hint {
        Hint::Deadline => &mut causes.deadline,
        _ if was_executed => &mut causes.processed,
        Hint::NeverSent => &mut causes.never_sent,
        Hint::Unknown => &mut causes.sent_not_processed,
    }
}

/// Returns how late the generator itself was, 99th percentile.
pub(crate) fn start_lag(calls: &[CallRecord]) -> f64 {
    let mut lags: Vec<u64> =
        calls.iter().map(|call| call.started_ns.saturating_sub(call.scheduled_ns)).collect();
    lags.sort_unstable();
    // Nearest rank: the smallest lag that 99 % of the calls do not exceed.
    let rank = (lags.len() as f64 * 0.99).ceil() as usize;
    milliseconds(rank.checked_sub(1).map_or(0, |rank| lags[rank]))
}

pub(crate) fn milliseconds(ns: u64) -> f64 {
    ns as f64 / 1e6
}

/// Returns 0 if `whole` is 0: JSON has no NaN.
pub(crate) fn ratio(part: f64, whole: f64) -> f64 {
    if whole == 0.0 { 0.0 } else { part / whole }
}

/// Returns the calls of the busiest backend over the mean of all, 0 if there is no call.
pub(crate) fn max_over_mean(share: &BTreeMap<String, u64>) -> f64 {
    let total: u64 = share.values().sum();
    let max = share.values().copied().max().unwrap_or(0);
    ratio(max as f64 * share.len() as f64, total as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::Latency;

    const MS: u64 = 1_000_000;

    fn call(id: u64, scheduled: u64, started: u64, finished: u64, end: CallResult) -> CallRecord {
        let [scheduled_ns, started_ns, finished_ns] = [scheduled, started, finished].map(|ms| ms * MS);
        CallRecord { id, scheduled_ns, started_ns, finished_ns, end }
    }

    fn answered(id: u64, started: u64, finished: u64) -> CallRecord {
        call(id, 0, started, finished, CallResult::Answered(Some("backend-1".into())))
    }

    fn failed(id: u64, code: tonic::Code, hint: Hint) -> CallRecord {
        call(id, 0, 1, 2, CallResult::Failed(Failure { code: code as i32, hint }))
    }

    #[test]
    fn the_ledger_decides_what_became_of_a_failed_call() {
        let round = Round {
            calls: vec![
                answered(1, 0, 100),
                failed(2, tonic::Code::DeadlineExceeded, Hint::Deadline),
                failed(3, tonic::Code::Cancelled, Hint::NeverSent),
                failed(4, tonic::Code::Internal, Hint::Unknown),
                failed(5, tonic::Code::Unknown, Hint::Unknown),
                failed(6, tonic::Code::DeadlineExceeded, Hint::Deadline),
                failed(7, tonic::Code::Cancelled, Hint::NeverSent),
            ],
            executed: vec![1, 5, 6, 7],
            ..Round::default()
        };
        let outcome = outcome(&[round]);
        let Causes { deadline, never_sent, sent_not_processed, processed } = outcome.causes;
        assert_eq!((deadline, never_sent, sent_not_processed, processed), (2, 1, 1, 2));
        assert_eq!((outcome.ok, outcome.failed, outcome.executed_though_failed), (1, 6, 3));
        assert_eq!(outcome.error_rate, 6.0 / 7.0);
        assert_eq!(outcome.statuses["CANCELLED"], 2);
        assert_eq!(outcome.statuses.values().sum::<u64>(), 6);
    }

    #[test]
    fn a_call_that_two_servers_executed_is_a_duplicate() {
        let round = Round {
            calls: vec![answered(1, 0, 1), answered(2, 0, 1)],
            executed: vec![2, 1, 2, 2],
            ..Round::default()
        };
        assert_eq!(outcome(&[round]).duplicated, 1);
    }

    #[test]
    fn latency_counts_from_the_schedule_and_only_for_answered_calls() {
        let round = Round {
            calls: vec![
                call(1, 10, 60, 110, CallResult::Answered(None)),
                failed(2, tonic::Code::DeadlineExceeded, Hint::Deadline),
            ],
            ..Round::default()
        };
        let latency = outcome(&[round]).latency_ms;
        assert_eq!((latency.mean, latency.p50, latency.max), (100.0, 100.0, 100.0));
    }

    #[test]
    fn quantiles_are_those_of_the_calls() {
        let calls = (1..=1000).map(|id| answered(id, 0, id)).collect();
        let latency = outcome(&[Round { calls, ..Round::default() }]).latency_ms;
        for (measured, expected) in [(latency.p50, 500.0), (latency.p99, 990.0), (latency.p999, 999.0)] {
            assert!((measured - expected).abs() <= expected * 0.001, "{measured} instead of {expected}");
        }
        assert_eq!((latency.max, latency.mean), (1000.0, 500.5));
    }

    #[test]
    fn nothing_measured_is_zero_and_not_nan() {
        assert_eq!(outcome(&[]).error_rate, 0.0);
        assert_eq!(outcome(&[Round::default()]).latency_ms, Latency::default());
    }
}
