//! The row of a run near the capacity of its backends.

use std::time::Duration;

use crate::results::BounceRow;
use crate::stats::{Round, outcome, ratio, start_lag};
use crate::strategy::Strategy;

/// What a row must know beside what was measured.
#[derive(Clone, Debug)]
pub(crate) struct BounceSettings {
    /// Whether servers refuse what they cannot work on at once.
    pub(crate) bounces: bool,
    pub(crate) backends: usize,
    /// Calls that each works on at a time.
    pub(crate) workers: usize,
    pub(crate) clients: usize,
    /// What was asked for; what was had is measured.
    pub(crate) service_time: Duration,
    pub(crate) length: Duration,
    /// Calls that were due before this are not counted: queues begin empty.
    pub(crate) warm_up: Duration,
}

/// The row of one run.
pub(crate) fn bounce_row(strategy: Strategy, settings: &BounceSettings, mut round: Round) -> BounceRow {
    let service_time = ratio(round.server_busy.as_secs_f64(), round.executed.len() as f64);
    let attempts = ratio(round.totals.resent as f64, round.calls.len() as f64) + 1.0;
    let warm_up_ns = settings.warm_up.as_nanos() as u64;
    round.calls.retain(|call| call.scheduled_ns >= warm_up_ns);
    let start_lag_ms_p99 = start_lag(&round.calls);
    let seconds = settings.length.saturating_sub(settings.warm_up).as_secs_f64();
    let (calls, capacity) = (round.calls.len() as f64, (settings.backends * settings.workers) as f64);
    let outcome = outcome(&[round]);
    BounceRow {
        strategy: strategy.name().into(),
        bounces: settings.bounces,
        backends: settings.backends,
        workers: settings.workers,
        clients: settings.clients,
        service_time_ms: settings.service_time.as_secs_f64() * 1e3,
        service_time_ms_measured: service_time * 1e3,
        load: ratio(calls * service_time, capacity * seconds),
        calls: calls as u64,
        goodput: ratio(outcome.ok as f64, seconds),
        attempts_per_call: attempts,
        start_lag_ms_p99,
        outcome,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::RunTotals;
    use crate::record::{CallRecord, CallResult};

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn load_is_what_was_worked_over_what_can_be_and_the_warm_up_does_not_count() {
        let call = |id: u64| {
            let at = id * 100_000_000;
            let (started_ns, finished_ns) = (at, at + 30_000_000 * id);
            CallRecord { id, scheduled_ns: at, started_ns, finished_ns, end: CallResult::Answered(None) }
        };
        let round = Round {
            calls: (0..20).map(call).collect(),
            executed: (0..20).collect(),
            server_busy: 2 * SECOND,
            totals: RunTotals { resent: 5, ..RunTotals::default() },
            ..Round::default()
        };
        let settings = BounceSettings {
            bounces: true,
            backends: 2,
            workers: 2,
            clients: 1,
            service_time: SECOND / 10,
            length: 2 * SECOND,
            warm_up: SECOND,
        };
        let row = bounce_row(Strategy::RoundRobin, &settings, round);
        assert_eq!((row.calls, row.outcome.ok, row.goodput), (10, 10, 10.0));
        assert!((row.service_time_ms_measured - 100.0).abs() < 1e-9);
        // Ten calls of a tenth of a second, on four workers for one second.
        assert!((row.load - 0.25).abs() < 1e-9, "{}", row.load);
        assert_eq!(row.attempts_per_call, 1.25);
        assert!((row.outcome.latency_ms.max - 570.0).abs() < 1.0);
    }

    #[test]
    fn nothing_measured_is_zero_and_not_nan() {
        let settings = BounceSettings {
            bounces: false,
            backends: 0,
            workers: 0,
            clients: 0,
            service_time: SECOND,
            length: Duration::ZERO,
            warm_up: SECOND,
        };
        let row = bounce_row(Strategy::RoundRobin, &settings, Round::default());
        assert_eq!((row.load, row.goodput, row.service_time_ms_measured), (0.0, 0.0, 0.0));
    }
}
