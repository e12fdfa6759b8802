//! The row of an event on a cluster, from bins of a tenth of a second and what callers know.

use std::time::Duration;

use super::rows::{Counted, END_PART, SHARE_OF_NEW, row};
use crate::event::{Convergence, Happened, SCALE_IN};
use crate::fleet::{Happening, Measurement};
use crate::results::{ChurnRow, ChurnSlice};
use crate::stats::ratio;
use crate::worker::score::{BIN, Bin, Measured};

/// The row of one strategy.
pub(super) fn churn_row(
    happening: &Happening,
    measurement: &Measurement,
    measured: &Measured,
    happened: &Happened,
) -> ChurnRow {
    let bins = &measured.bins;
    let begin = happened.marks.first().map_or(happening.before, |(_, at)| *at);
    // A call is of the event if it was due in the bin of its begin or later.
    let (before, during) = bins.split_at(index(begin).min(bins.len()));
    let slice = |(at, bin): (u32, &Bin)| {
        let latency = bin.latency();
        ChurnSlice {
            at_ms: (BIN * at).as_secs_f64() * 1e3 - begin.as_secs_f64() * 1e3,
            ok: bin.ok(),
            failed: bin.failed(),
            concerned: concerned(bin, happened),
            p50_ms: latency.p50,
            p99_ms: latency.p99,
        }
    };
    let counted = Counted {
        calls: bins.iter().map(|bin| bin.ok() + bin.failed()).sum(),
        attempts: measured.totals.attempts,
        connections_opened: measured.totals.connections_opened,
        clients: measurement.clients,
        outcome: Bin::sum(during).outcome(),
        // The first calls of a client pay for its connections.
        latency_before: Bin::sum(&before[before.len() / 5..]).latency(),
        converged: converged(begin, happened, bins),
        start_lag_ms_p99: measured.totals.start_lag_ms_p99(),
        timeline: (0u32..).zip(bins).map(slice).collect(),
    };
    row(happening, measurement.strategy, happened, counted)
}

/// Time until clients had got over an event; none if they had not while it was watched.
fn converged(begin: Duration, happened: &Happened, bins: &[Bin]) -> Option<Duration> {
    match happened.convergence {
        Convergence::NewHaveShare { since } => {
            let (since, end) = (happened.mark(since)?, happened.mark(SCALE_IN));
            let end = end.map_or(bins.len(), index).min(bins.len());
            // There are twice as many as before.
            let wanted = SHARE_OF_NEW / 2.0;
            let found = (index(since)..end.saturating_sub(WINDOW)).find(|from| {
                let window = &bins[*from..from + WINDOW];
                let ok: u64 = window.iter().map(Bin::ok).sum();
                let new: u64 = window.iter().map(|bin| concerned(bin, happened)).sum();
                ok >= CALLS_MIN && ratio(new as f64, ok as f64) >= wanted
            })?;
            Some((BIN * found as u32).saturating_sub(since))
        }
        Convergence::NoFailure { since } => {
            let since = happened.mark(since).unwrap_or(begin);
            let first = index(since).min(bins.len());
            let Some(last) = (first..bins.len()).rev().find(|at| bins[*at].failed() > 0) else {
                return Some(Duration::ZERO);
            };
            let late = bins.len() - (bins.len() - first) / END_PART as usize;
            (last < late).then(|| (BIN * (last as u32 + 1)).saturating_sub(since))
        }
        // Of no event of a cluster.
        Convergence::None | Convergence::FewFail | Convergence::HurtShunned => None,
    }
}

fn concerned(bin: &Bin, happened: &Happened) -> u64 {
    happened.concerned.iter().filter_map(|pod| bin.backends.get(pod)).sum()
}

fn index(at: Duration) -> usize {
    (at.as_nanos() / BIN.as_nanos()) as usize
}

/// Bins of half a second.
const WINDOW: usize = 5;

/// Of fewer calls there is no share to speak of.
const CALLS_MIN: u64 = 9;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{BEGINS, Event, READY};
    use crate::fleet::Calls;
    use crate::strategy::Strategy;
    use crate::worker::score::tests::measured;

    fn row_of(
        event: Event,
        convergence: Convergence,
        marks: &[(&'static str, u64)],
        of: impl Fn(usize, usize) -> Option<&'static str>,
    ) -> ChurnRow {
        let marks = marks.iter().map(|(name, ms)| (*name, Duration::from_millis(*ms))).collect();
        let happened = Happened { marks, concerned: vec!["new".into()], convergence };
        let (before, watch) = (Duration::from_secs(1), Duration::from_secs(9));
        let happening = Happening { event, before, watch, watched: watch };
        let measured = measured(of);
        let calls = Calls::Binned(measured.clone());
        let measurement =
            Measurement { strategy: Strategy::RoundRobin, backends: Vec::new(), clients: 2, calls };
        churn_row(&happening, &measurement, &measured, &happened)
    }

    #[test]
    fn a_scale_out_counts_from_the_moment_the_new_pods_are_ready() {
        let marks = [(BEGINS, 1000), (READY, 3000), (SCALE_IN, 8000)];
        let converged = |from: usize| {
            let of = move |at, n| Some(if at >= from && n % 2 == 0 { "new" } else { "old" });
            row_of(Event::Scale, Convergence::NewHaveShare { since: READY }, &marks, of).converged_ms
        };
        assert_eq!(converged(20), Some(0.0));
        assert_eq!(converged(50), Some(2000.0));
        assert_eq!(converged(90), None);
    }

    #[test]
    fn a_restart_is_got_over_with_the_last_failed_call() {
        let row_of = |failing: std::ops::Range<usize>| {
            let of = move |at, n: usize| (n > 0 || !failing.contains(&at)).then_some("old");
            row_of(Event::Rolling, Convergence::NoFailure { since: BEGINS }, &[(BEGINS, 1000)], of)
        };
        let row = row_of(15..20);
        assert_eq!((row.calls, row.failed, row.converged_ms), (900, 5, Some(1000.0)));
        assert_eq!((row.failed_by_cause.deadline, row.statuses["DEADLINE_EXCEEDED"]), (5, 5));
        assert_eq!((row.timeline.len(), row.timeline[0].at_ms), (100, -1000.0));
        assert_eq!(row_of(0..0).converged_ms, Some(0.0));
        assert_eq!(row_of(95..96).converged_ms, None);
    }
}
