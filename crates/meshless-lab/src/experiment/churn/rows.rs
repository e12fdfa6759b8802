//! The row of one strategy in one event: what failed, how long it took to get over it, and how that
//! went in time.

use std::collections::HashSet;
use std::time::Duration;

use crate::event::{BACKENDS, Convergence, Happened, SCALE_IN};
use crate::fleet::Happening;
use crate::record::{CallRecord, CallResult};
use crate::results::{BeforeAfter, ChurnRow, ChurnSlice, Latency, Mark, Outcome};
use crate::stats::{Latencies, Round, outcome, ratio, start_lag};
use crate::strategy::Strategy;

/// What a row has beside its names and the event's moments, whoever counted.
pub(super) struct Counted {
    /// Calls of the whole load, those before the event among them.
    pub(super) calls: u64,
    pub(super) attempts: u64,
    pub(super) connections_opened: u64,
    pub(super) clients: u32,
    /// Of the event.
    pub(super) outcome: Outcome,
    pub(super) latency_before: Latency,
    /// Since the event began.
    pub(super) converged: Option<Duration>,
    pub(super) start_lag_ms_p99: f64,
    pub(super) timeline: Vec<ChurnSlice>,
}

/// The row of what was counted.
pub(super) fn row(
    happening: &Happening,
    strategy: Strategy,
    happened: &Happened,
    counted: Counted,
) -> ChurnRow {
    let Counted { outcome, .. } = counted;
    let begin = happened.marks.first().map_or(happening.before, |(_, at)| *at);
    let mark = |(name, at): &(&str, Duration)| Mark {
        at_ms: at.saturating_sub(begin).as_secs_f64() * 1e3,
        name: (*name).into(),
    };
    // Of a client that makes connections of its own, the lab sees none.
    let per = |part: u64, whole: f64| (!strategy.hides_connections()).then_some(ratio(part as f64, whole));
    ChurnRow {
        strategy: strategy.name().into(),
        event: happening.event.name().into(),
        calls: outcome.ok + outcome.failed,
        failed: outcome.failed,
        error_rate: outcome.error_rate,
        failed_by_cause: outcome.causes,
        statuses: outcome.statuses,
        duplicated: outcome.duplicated,
        executed_though_failed: outcome.executed_though_failed,
        attempts_per_call: per(counted.attempts, counted.calls as f64),
        connections_per_client: per(counted.connections_opened, counted.clients.into()),
        converges: happened.convergence != Convergence::None,
        converged_ms: counted.converged.map(|after| after.as_secs_f64() * 1e3),
        start_lag_ms_p99: counted.start_lag_ms_p99,
        latency_ms: BeforeAfter { before: counted.latency_before, after: outcome.latency_ms },
        marks: happened.marks.iter().map(mark).collect(),
        timeline: counted.timeline,
    }
}

/// The row of one strategy in one event, from single calls.
pub(super) fn row_of_calls(
    happening: &Happening,
    strategy: Strategy,
    mut round: Round,
    happened: &Happened,
) -> ChurnRow {
    let mut calls = std::mem::take(&mut round.calls);
    calls.sort_unstable_by_key(|call| call.scheduled_ns);
    let begin = nanoseconds(happened.marks.first().map_or(happening.before, |(_, at)| *at));
    let axis = Axis { begin, end: begin + nanoseconds(happening.watched), happened };
    let timeline = axis.timeline(happening.before, &calls);
    let (all, start_lag_ms_p99) = (calls.len() as u64, start_lag(&calls));
    let converged = axis.converged(&calls).map(Duration::from_nanos);
    // The first calls of a client pay for its connections.
    let settled = begin / 5;
    let (ended, during): (Vec<_>, Vec<_>) = calls.into_iter().partition(|call| call.finished_ns < begin);
    let latency_before = latency(ended.iter().filter(|call| call.scheduled_ns >= settled));
    let ids: HashSet<u64> = during.iter().map(|call| call.id).collect();
    let executed = round.executed.iter().copied().filter(|id| ids.contains(id)).collect();
    let counted = Counted {
        calls: all,
        attempts: round.totals.attempts,
        connections_opened: round.totals.connections_opened,
        clients: 1,
        outcome: outcome(&[Round { calls: during, executed, ..round }]),
        latency_before,
        converged,
        start_lag_ms_p99,
        timeline,
    };
    row(happening, strategy, happened, counted)
}

/// The event on the time axis of the calls, in nanoseconds since the load began.
struct Axis<'a> {
    begin: u64,
    end: u64,
    happened: &'a Happened,
}

impl Axis<'_> {
    /// Nanoseconds until a client had got over the event; none if it had not when the watch ended.
    fn converged(&self, calls: &[CallRecord]) -> Option<u64> {
        match self.happened.convergence {
            Convergence::None => None,
            Convergence::NoFailure { since } => {
                let since = nanoseconds(self.happened.mark(since)?);
                let failed = calls.iter().filter(|call| is_failed(call) && call.finished_ns >= since);
                let late = self.late();
                let (mut last, mut still) = (since, false);
                for call in failed {
                    last = last.max(call.finished_ns);
                    still |= call.scheduled_ns >= late;
                }
                (!still).then_some(last - since)
            }
            Convergence::FewFail => self.few_fail(calls),
            Convergence::NewHaveShare { .. } => {
                let new = self.happened.concerned.len() as f64;
                let wanted = new / (BACKENDS as f64 + new) * SHARE_OF_NEW;
                let end = self.happened.mark(SCALE_IN).map_or(self.end, nanoseconds);
                self.first_window(end, calls, |share| share >= wanted)
            }
            Convergence::HurtShunned => {
                self.first_window(self.end, calls, |share| share < SHARE_OF_HURT / BACKENDS as f64)
            }
        }
    }

    /// From the event's begin to the last failed call of the last window in which more failed than
    /// rotations cost.
    fn few_fail(&self, calls: &[CallRecord]) -> Option<u64> {
        let starts = (self.begin..).step_by(SLICE_NS as usize).take_while(|at| at + WINDOW_NS <= self.end);
        let windows = starts.map(|from| within(calls, from, from + WINDOW_NS));
        let bad = |window: &&[CallRecord]| {
            let failed = window.iter().filter(|call| is_failed(call)).count();
            failed as f64 > window.len() as f64 * FEW
        };
        let Some(last) = windows.filter(bad).last() else { return Some(0) };
        let failed = || last.iter().filter(|call| is_failed(call));
        if failed().any(|call| call.scheduled_ns >= self.late()) {
            return None;
        }
        failed().map(|call| call.finished_ns - self.begin).max()
    }

    /// A client that still fails calls from here on has not got over the event.
    fn late(&self) -> u64 {
        self.end.saturating_sub((self.end - self.begin) / END_PART)
    }

    /// From the event's begin to the first window in which the share of the concerned backends is
    /// as wanted.
    fn first_window(&self, end: u64, calls: &[CallRecord], wanted: impl Fn(f64) -> bool) -> Option<u64> {
        let starts = (self.begin..).step_by(SLICE_NS as usize).take_while(|at| at + WINDOW_NS <= end);
        let mut windows = starts.filter(|from| {
            let (mut answered, mut concerned) = (0u64, 0u64);
            for call in within(calls, *from, from + WINDOW_NS) {
                if let CallResult::Answered(backend) = &call.end {
                    answered += 1;
                    concerned += u64::from(self.concerns(backend.as_deref()));
                }
            }
            // Of a handful of calls there is no share to speak of.
            answered >= BACKENDS as u64 * 3 && wanted(ratio(concerned as f64, answered as f64))
        });
        windows.next().map(|from| from - self.begin)
    }

    fn concerns(&self, backend: Option<&str>) -> bool {
        backend.is_some_and(|backend| self.happened.concerns(backend))
    }

    fn timeline(&self, before: Duration, calls: &[CallRecord]) -> Vec<ChurnSlice> {
        let slices_before = (before.as_nanos() as u64).min(self.begin) / SLICE_NS;
        let first = self.begin - slices_before * SLICE_NS;
        let starts = (first..self.end).step_by(SLICE_NS as usize).take(SLICES_MAX);
        let slice = |from: u64| {
            let mut slice =
                ChurnSlice { at_ms: (from as f64 - self.begin as f64) / 1e6, ..ChurnSlice::default() };
            let calls = within(calls, from, from + SLICE_NS);
            for call in calls {
                match &call.end {
                    CallResult::Answered(backend) => {
                        slice.ok += 1;
                        slice.concerned += u64::from(self.concerns(backend.as_deref()));
                    }
                    CallResult::Failed(_) => slice.failed += 1,
                }
            }
            let latency = latency(calls.iter());
            ChurnSlice { p50_ms: latency.p50, p99_ms: latency.p99, ..slice }
        };
        starts.map(slice).collect()
    }
}

/// Calls that were due in a span; `calls` are in the order in which they were due.
fn within(calls: &[CallRecord], from: u64, to: u64) -> &[CallRecord] {
    let at = |limit: u64| calls.partition_point(|call| call.scheduled_ns < limit);
    &calls[at(from)..at(to)]
}

fn latency<'a>(calls: impl Iterator<Item = &'a CallRecord>) -> Latency {
    let mut latencies = Latencies::new();
    for call in calls.filter(|call| !is_failed(call)) {
        latencies.record(call.finished_ns.saturating_sub(call.scheduled_ns));
    }
    latencies.summary()
}

fn is_failed(call: &CallRecord) -> bool {
    matches!(call.end, CallResult::Failed(_))
}

fn nanoseconds(at: Duration) -> u64 {
    at.as_nanos() as u64
}

/// Length of a slice of the timeline.
const SLICE_NS: u64 = 100_000_000;

/// An hour and a half: more than any watch.
const SLICES_MAX: usize = 54_000;

/// Calls of so long are enough to speak of a share: a hundred, at the usual rate.
const WINDOW_NS: u64 = 500_000_000;

/// A client that failed a call in the last eighth of the watch has not got over the event.
pub(super) const END_PART: u64 = 8;

/// A rotation costs a client that loses calls to it one or two of the hundred in a window.
const FEW: f64 = 0.05;

pub(super) const SHARE_OF_NEW: f64 = 0.9;
const SHARE_OF_HURT: f64 = 0.5;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::RunTotals;
    use crate::event::{BEGINS, Event, FLEET};
    use crate::record::Failure;

    const MS: u64 = 1_000_000;

    /// One call each 10 ms of six seconds, answered after 20 ms by the backend that `end` gives, or
    /// failed.
    fn run(marks: &[(&'static str, u64)], end: impl Fn(u64) -> Option<usize>) -> Watched {
        let call = |at: u64| CallRecord {
            id: at,
            scheduled_ns: at * MS,
            started_ns: at * MS,
            finished_ns: (at + 20) * MS,
            end: match end(at) {
                Some(backend) => CallResult::Answered(Some(name(backend))),
                None => CallResult::Failed(Failure::NOT_CONNECTED),
            },
        };
        let calls: Vec<_> = (0..6000).step_by(10).map(call).collect();
        let executed: Vec<u64> = calls.iter().map(|call| call.id).collect();
        let totals = RunTotals { attempts: 660, connections_opened: 4, ..RunTotals::default() };
        let marks = marks.iter().map(|(name, at)| (*name, Duration::from_millis(*at))).collect();
        (Round { calls, totals, executed, ..Round::default() }, marks)
    }

    /// Calls, and the moments of the event.
    type Watched = (Round, Vec<(&'static str, Duration)>);

    fn name(backend: usize) -> String {
        format!("backend-{}", backend + 1)
    }

    /// A scale is about the three new backends, any other event about the second one.
    fn row(event: Event, (round, marks): Watched) -> ChurnRow {
        let concerned = if event == Event::Scale { BACKENDS..FLEET } else { 1..2 };
        let happened =
            Happened { marks, concerned: concerned.map(name).collect(), convergence: event.convergence() };
        let (before, watched) = (Duration::from_secs(1), Duration::from_secs(5));
        let happening = Happening { event, before, watch: watched, watched };
        row_of_calls(&happening, Strategy::RoundRobin, round, &happened)
    }

    #[test]
    fn calls_of_an_event_are_those_that_ended_after_its_begin() {
        let row = row(Event::Sigkill, run(&[(BEGINS, 1000)], |at| (at >= 990).then_some(0)));
        // Due at 990, the first that was answered, ended at 1010; the one before it failed at
        // exactly 1000.
        assert_eq!((row.calls, row.failed), (502, 1));
        assert_eq!(row.converged_ms, Some(0.0));
        // Over all 600, not over the 502.
        assert_eq!(row.attempts_per_call, Some(1.1));
        assert_eq!(row.connections_per_client, Some(4.0));
    }

    #[test]
    fn a_kill_is_got_over_with_the_last_failed_call() {
        let row =
            row(Event::Sigkill, run(&[(BEGINS, 1000)], |at| (!(1000..=1400).contains(&at)).then_some(0)));
        assert_eq!((row.failed, row.converged_ms), (41, Some(420.0)));
    }

    #[test]
    fn nothing_failed_is_got_over_at_once() {
        assert_eq!(row(Event::Hung, run(&[(BEGINS, 1000)], |_| Some(0))).converged_ms, Some(0.0));
    }

    #[test]
    fn who_fails_to_the_end_has_not_got_over_it() {
        let row = row(Event::FailFast, run(&[(BEGINS, 1000)], |at| (at < 1000 || at % 30 > 0).then_some(0)));
        assert!(row.failed > 100 && row.converges);
        assert_eq!(row.converged_ms, None);
    }

    #[test]
    fn an_outage_counts_from_its_end() {
        let marks = [(BEGINS, 1000), ("back", 2000)];
        let late = row(Event::Outage, run(&marks, |at| (!(1000..2500).contains(&at)).then_some(0)));
        assert_eq!(late.converged_ms, Some(510.0));
        let at_once = row(Event::Outage, run(&marks, |at| (!(1000..1950).contains(&at)).then_some(0)));
        assert_eq!((at_once.failed, at_once.converged_ms), (95, Some(0.0)));
    }

    #[test]
    fn a_scale_out_is_got_over_when_the_new_have_their_share() {
        let marks = [(BEGINS, 1000), (SCALE_IN, 4000)];
        let row_of = |from: u64| {
            row(Event::Scale, run(&marks, |at| Some((at / 10) as usize % if at < from { 3 } else { 6 })))
        };
        // A window of half a second that begins 30 ms early has the new ones at 46 % of the calls.
        assert_eq!(row_of(2030).converged_ms, Some(1000.0));
        assert_eq!(row_of(5000).converged_ms, None);
    }

    #[test]
    fn a_slow_backend_is_shunned_below_half_of_its_share() {
        let row_of = |period: usize| {
            row(
                Event::Slow,
                run(&[(BEGINS, 1000)], |at| {
                    let turn = (at / 10) as usize;
                    Some(if at < 2000 { turn % 3 } else { usize::from(turn.is_multiple_of(period)) })
                }),
            )
        };
        // One of ten calls is less than a sixth; one of five is not.
        assert!((700.0..=1000.0).contains(&row_of(10).converged_ms.unwrap()));
        assert_eq!(row_of(5).converged_ms, None);
    }

    #[test]
    fn what_rotations_cost_does_not_keep_a_client_from_getting_over_dns_trouble() {
        let row_of = |fails: fn(u64) -> bool| {
            row(Event::DnsServfail, run(&[(BEGINS, 1000)], |at| (!fails(at)).then_some(0))).converged_ms
        };
        // One call a second fails at a rotation.
        assert_eq!(row_of(|at| at % 1000 == 900), Some(0.0));
        assert_eq!(row_of(|at| at % 1000 == 900 || (1800..=2400).contains(&at)), Some(1420.0));
        assert_eq!(row_of(|at| at > 1800), None);
    }

    #[test]
    fn ageing_never_ends_so_nobody_gets_over_it() {
        let row = row(Event::Ageing, run(&[(BEGINS, 1000)], |_| Some(0)));
        assert_eq!((row.converges, row.converged_ms), (false, None));
    }

    #[test]
    fn slices_are_tenths_of_a_second_around_the_begin() {
        let row = row(Event::Hung, run(&[(BEGINS, 1000)], |at| (at != 1150).then_some(1)));
        assert_eq!(row.timeline.len(), 60);
        assert_eq!((row.timeline[0].at_ms, row.timeline[59].at_ms), (-1000.0, 4900.0));
        let slice = &row.timeline[11];
        assert_eq!(
            (slice.at_ms, slice.ok, slice.failed, slice.concerned, slice.p50_ms),
            (100.0, 9, 1, 9, 20.0)
        );
        assert_eq!((row.latency_ms.before.p50, row.latency_ms.after.p99), (20.0, 20.0));
    }

    #[test]
    fn only_calls_of_the_event_count_as_executed_twice() {
        let mut run = run(&[(BEGINS, 1000)], |_| Some(0));
        run.0.executed.extend([10, 3000]);
        assert_eq!(row(Event::Sigkill, run).duplicated, 1);
    }
}
