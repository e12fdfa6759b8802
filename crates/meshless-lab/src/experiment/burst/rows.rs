//! The row of some rounds of a burst.

use crate::record::CallResult;
use crate::results::BurstRow;
use crate::stats::{Round, milliseconds, outcome, ratio};
use crate::strategy::Strategy;

/// The row of some rounds of a burst.
pub(crate) fn burst_row(strategy: Strategy, calls: u64, rounds: &[Round]) -> BurstRow {
    let error_rate = |round: &Round| {
        let failed = round.calls.iter().filter(|call| matches!(call.end, CallResult::Failed(_))).count();
        ratio(failed as f64, round.calls.len() as f64)
    };
    let start_spread = |round: &Round| {
        let started = || round.calls.iter().map(|call| call.started_ns);
        milliseconds(started().max().unwrap_or(0) - started().min().unwrap_or(0))
    };
    BurstRow {
        strategy: strategy.name().into(),
        calls,
        rounds: rounds.len() as u32,
        outcome: outcome(rounds),
        error_rate_by_round: rounds.iter().map(error_rate).collect(),
        start_spread_ms: ratio(rounds.iter().map(start_spread).sum(), rounds.len() as f64),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::control::RunTotals;
    use crate::record::{CallRecord, Failure};

    const MS: u64 = 1_000_000;

    fn call(id: u64, started: u64, finished: u64, end: CallResult) -> CallRecord {
        let [started_ns, finished_ns] = [started, finished].map(|ms| ms * MS);
        CallRecord { id, scheduled_ns: 0, started_ns, finished_ns, end }
    }

    fn answered(id: u64, started: u64, finished: u64) -> CallRecord {
        call(id, started, finished, CallResult::Answered(None))
    }

    #[test]
    fn a_burst_row_keeps_its_rounds_apart() {
        let totals =
            RunTotals { cpu: Duration::from_micros(90), connections_opened: 1, ..Default::default() };
        let clean = Round {
            calls: vec![answered(1, 0, 100), answered(2, 4, 100)],
            totals,
            server_cpu: Duration::from_micros(30),
            ..Round::default()
        };
        let failing = Round {
            calls: vec![answered(3, 2, 100), call(4, 1, 2, CallResult::Failed(Failure::NOT_CONNECTED))],
            totals,
            ..Round::default()
        };
        let row = burst_row(Strategy::SingleConnection, 2, &[clean, failing]);
        assert_eq!((row.rounds, row.outcome.ok, row.outcome.failed), (2, 3, 1));
        assert_eq!(row.error_rate_by_round, [0.0, 0.5]);
        assert_eq!(row.start_spread_ms, 2.5);
        assert!((row.outcome.cpu_us_per_call.client - 45.0).abs() < 1e-9);
        assert!((row.outcome.cpu_us_per_call.server - 7.5).abs() < 1e-9);
        assert_eq!(row.outcome.connections_opened, 2);
    }
}
