//! Counts how the calls of an endpoint end, where they end.
//!
//! Every [`Lease::finish`](super::lease::Lease::finish) writes the counters; the balancer reads
//! them to eject failing endpoints. All are relaxed: a success costs one atomic addition, a load
//! and a branch (five instructions) under any policy. The balancer is told only of ends that change
//! something; `record` then returns true.

use crate::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

use crate::client::outcome::Outcome;
use crate::endpoint::EndpointId;

/// The end of a call that the balancer must be told of, by
/// [`Balancer::handle_outcome`](crate::Balancer::handle_outcome). The call tripped its endpoint's
/// breaker, or was the test call of an endpoint on probation.
///
/// There are few of them: one for each run of failures, one more each time the run has doubled, and
/// one for each probation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "an endpoint is ejected, and comes back, when the balancer hears of it"]
pub struct OutcomeReport {
    pub(crate) endpoint: EndpointId,
    /// When the call was placed. A call from before the probation says nothing about the endpoint
    /// now.
    pub(crate) started: Instant,
    pub(crate) outcome: Outcome,
}

impl OutcomeReport {
    /// Returns the endpoint of the call.
    pub fn endpoint(&self) -> EndpointId {
        self.endpoint
    }
}

/// How an endpoint's calls have ended, over all its connections. Cancelled calls do not count.
#[derive(Debug, Default)]
pub(crate) struct Outcomes {
    successes: AtomicU64,
    failures: AtomicU64,
    /// Both counters at the beginning of the window of
    /// [`recent_failure_share`](Self::recent_failure_share).
    window: (AtomicU64, AtomicU64),
    /// Failures since the last success. Its top bit, [`WATCHED`], says if the next end is to be
    /// reported.
    run: AtomicU32,
    /// True if one call may be placed on the endpoint although it is ejected.
    probe_permit: AtomicBool,
}

impl Outcomes {
    /// Counts an end. Returns true if the balancer must be told of it.
    #[inline]
    pub(crate) fn record(&self, outcome: Outcome, breaker: u32) -> bool {
        match outcome {
            Outcome::Success => {
                self.successes.fetch_add(1, Ordering::Relaxed);
                self.run.load(Ordering::Relaxed) != 0 && self.run.swap(0, Ordering::Relaxed) & WATCHED != 0
            }
            Outcome::Failure | Outcome::Late => self.record_failure(breaker),
        }
    }

    #[cold]
    fn record_failure(&self, breaker: u32) -> bool {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed) + 1;
        self.move_window(failures);
        let before = self.run.fetch_add(1, Ordering::Relaxed);
        if before & WATCHED != 0 {
            // Of several that end at once, one reports.
            return self.run.fetch_and(!WATCHED, Ordering::Relaxed) & WATCHED != 0;
        }
        let run = before + 1;
        // A run may not stand out when it trips the breaker, but may when it is twice as long.
        run.is_multiple_of(breaker) && (run / breaker).is_power_of_two()
    }

    /// Limits the window to roughly the last [`WINDOW`] calls, by moving its beginning at a
    /// failure. Successes never move it and pay nothing. Two failures at once may move it twice; it
    /// is an estimate.
    fn move_window(&self, failures: u64) {
        let (ok, failed) = (self.successes(), self.failures_since_window(failures));
        let succeeded = ok.saturating_sub(self.window.0.load(Ordering::Relaxed));
        let calls = succeeded + failed;
        let (ok, failures) = match failed * RARE {
            // It has done well for a while: if there is trouble, it begins here.
            rarely if rarely <= calls => (ok, failures.saturating_sub(1)),
            _ if calls <= WINDOW => return,
            // The older half is forgotten.
            _ => (ok.saturating_sub(succeeded / 2), failures.saturating_sub(failed / 2)),
        };
        self.window.0.store(ok, Ordering::Relaxed);
        self.window.1.store(failures, Ordering::Relaxed);
    }

    fn failures_since_window(&self, failures: u64) -> u64 {
        failures.saturating_sub(self.window.1.load(Ordering::Relaxed))
    }

    /// Returns the share of its last calls that failed. It covers some 32 to 64 calls if failures
    /// are frequent, otherwise those since its last failures.
    pub(crate) fn recent_failure_share(&self) -> f64 {
        let failures = self.failures_since_window(self.failures());
        let successes = self.successes().saturating_sub(self.window.0.load(Ordering::Relaxed));
        // The failure at the beginning of a window says when failures began, and not how often they
        // come.
        let failures = failures.saturating_sub(1) as f64;
        failures / (failures + successes as f64).max(1.0)
    }

    /// Forgets the past: the window begins here.
    pub(crate) fn begin_window(&self) {
        self.window.0.store(self.successes(), Ordering::Relaxed);
        self.window.1.store(self.failures(), Ordering::Relaxed);
    }

    /// From now on one test call may be placed, and the next end is reported.
    pub(crate) fn begin_probe(&self) {
        self.watch();
        self.probe_permit.store(true, Ordering::Relaxed);
    }

    /// Reports the next end, since the last reported one did not count.
    pub(crate) fn watch(&self) {
        self.run.fetch_or(WATCHED, Ordering::Relaxed);
    }

    /// Undoes [`begin_probe`](Self::begin_probe).
    pub(crate) fn end_probe(&self) {
        self.probe_permit.store(false, Ordering::Relaxed);
        self.run.fetch_and(!WATCHED, Ordering::Relaxed);
    }

    /// Returns true if the caller may place the test call.
    pub(crate) fn take_probe(&self) -> bool {
        self.probe_permit.load(Ordering::Relaxed) && self.probe_permit.swap(false, Ordering::Relaxed)
    }

    /// The test call could not be placed after all.
    pub(crate) fn return_probe(&self) {
        self.probe_permit.store(true, Ordering::Relaxed);
    }

    pub(crate) fn consecutive_failures(&self) -> u32 {
        self.run.load(Ordering::Relaxed) & !WATCHED
    }

    pub(crate) fn successes(&self) -> u64 {
        self.successes.load(Ordering::Relaxed)
    }

    pub(crate) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }
}

/// Enough calls to tell one failure in ten from five. A busy service has as many within a second.
const WINDOW: u64 = 64;

/// At most one failure in this many calls is no trouble.
const RARE: u64 = 32;

/// The top bit: there are never that many consecutive failures.
const WATCHED: u32 = 1 << 31;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_of_failures_is_reported_once() {
        let outcomes = Outcomes::default();
        let fail = |n: u32| (0..n).filter(|_| outcomes.record(Outcome::Failure, 5)).count();
        assert_eq!(fail(4), 0);
        assert_eq!(fail(1), 1, "the fifth trips the breaker");
        assert_eq!(fail(4), 0);
        assert_eq!((fail(1), fail(9), fail(1)), (1, 0, 1), "again when it has doubled");
        assert!(!outcomes.record(Outcome::Success, 5));
        assert_eq!(outcomes.consecutive_failures(), 0);
        let fail = |n: u32| (0..n).filter(|_| outcomes.record(Outcome::Failure, 5)).count();
        assert_eq!(fail(5), 1, "a success begins a new run");
        assert_eq!((outcomes.successes(), outcomes.failures()), (1, 25));
    }

    #[test]
    fn the_share_of_failures_is_that_of_late() {
        let outcomes = Outcomes::default();
        let end = |n: u32, failing: u32| {
            for call in 0..n {
                let outcome = if call % 10 < failing { Outcome::Failure } else { Outcome::Success };
                let _ = outcomes.record(outcome, 5);
            }
            outcomes.recent_failure_share()
        };
        assert_eq!(end(10_000, 0), 0.0);
        assert_eq!(end(1, 10), 0.0, "one says nothing");
        assert_eq!(end(4, 10), 1.0, "whatever was before");
        for (failing, expected) in [(5, 0.5), (1, 0.1), (10, 1.0), (3, 0.3)] {
            let share = end(300, failing);
            assert!((share - expected).abs() < 0.08, "{failing} of 10: {share}");
        }
        assert!(end(1000, 0) < 0.05);
    }

    #[test]
    fn the_first_end_of_a_probation_is_reported_whatever_it_is() {
        for outcome in [Outcome::Success, Outcome::Failure] {
            let outcomes = Outcomes::default();
            outcomes.begin_probe();
            assert!(outcomes.take_probe() && !outcomes.take_probe(), "one call");
            assert!(outcomes.record(outcome, 5));
            assert!(!outcomes.record(outcome, 5));
        }
    }
}
