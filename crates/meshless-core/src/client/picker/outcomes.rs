//! How the calls of an endpoint end, counted where they end.
//!
//! Written by every [`Lease::finish`](super::lease::Lease::finish), read by the balancer, which
//! ejects endpoints that fail. Relaxed counters only: a success costs one atomic addition, a load
//! and a branch (five instructions), whatever the policy. The balancer is not asked at every end;
//! it hears only of those that change something, which `record` points out.

use crate::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

use crate::client::outcome::Outcome;
use crate::endpoint::EndpointId;

/// The end of a call that the balancer has to hear of
/// ([`Balancer::handle_outcome`](crate::Balancer::handle_outcome)): it tripped its endpoint's
/// breaker, or was the probe of an endpoint on probation.
///
/// There are few of them: for each run of failures one, and one more each time it has doubled; and
/// one for each probation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "an endpoint is ejected, and comes back, when the balancer hears of it"]
pub struct OutcomeReport {
    pub(crate) endpoint: EndpointId,
    /// When the call was placed. One from before the probation says nothing about the endpoint now.
    pub(crate) started: Instant,
    pub(crate) outcome: Outcome,
}

impl OutcomeReport {
    /// The endpoint whose call it was.
    pub fn endpoint(&self) -> EndpointId {
        self.endpoint
    }
}

/// What has become of an endpoint's calls, over all its connections. Cancelled calls are not in it.
#[derive(Debug, Default)]
pub(crate) struct Outcomes {
    successes: AtomicU64,
    failures: AtomicU64,
    /// What both were when the window began that
    /// [`recent_failure_share`](Self::recent_failure_share) looks at.
    window: (AtomicU64, AtomicU64),
    /// Failures since the last success; and whether the next end is to be reported, [`WATCHED`].
    run: AtomicU32,
    /// Whether one call may be placed on the endpoint though it is ejected.
    probe_permit: AtomicBool,
}

impl Outcomes {
    /// Counts an end, and says whether the balancer has to hear of it.
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
        // A run that did not stand out when it tripped the breaker may when it is twice as long.
        run.is_multiple_of(breaker) && (run / breaker).is_power_of_two()
    }

    /// Keeps the window to the last [`WINDOW`] calls, roughly, by moving its beginning at a
    /// failure: what has not failed since the window grew too large for it need not look, so
    /// successes pay nothing. Two failures at once may move it twice; it is an estimate.
    fn move_window(&self, failures: u64) {
        let (ok, failed) = (self.successes(), self.failures_since_window(failures));
        let succeeded = ok.saturating_sub(self.window.0.load(Ordering::Relaxed));
        let calls = succeeded + failed;
        let (ok, failures) = match failed * RARE {
            // It has been well for a while: trouble, if it is any, begins here.
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

    /// Which share of its last calls failed: of some 32 to 64 calls if it fails more than now and
    /// then, else of those since its last failures.
    pub(crate) fn recent_failure_share(&self) -> f64 {
        let failures = self.failures_since_window(self.failures());
        let successes = self.successes().saturating_sub(self.window.0.load(Ordering::Relaxed));
        // The failure that a window begins with says when, and not how often.
        let failures = failures.saturating_sub(1) as f64;
        failures / (failures + successes as f64).max(1.0)
    }

    /// What was is past: the window begins here.
    pub(crate) fn begin_window(&self) {
        self.window.0.store(self.successes(), Ordering::Relaxed);
        self.window.1.store(self.failures(), Ordering::Relaxed);
    }

    /// From here on one call may be placed, and the next end is reported.
    pub(crate) fn begin_probe(&self) {
        self.watch();
        self.probe_permit.store(true, Ordering::Relaxed);
    }

    /// The next end is reported, since the last one that was did not count.
    pub(crate) fn watch(&self) {
        self.run.fetch_or(WATCHED, Ordering::Relaxed);
    }

    /// Neither is the case any more.
    pub(crate) fn end_probe(&self) {
        self.probe_permit.store(false, Ordering::Relaxed);
        self.run.fetch_and(!WATCHED, Ordering::Relaxed);
    }

    /// Whether the caller may place the one call.
    pub(crate) fn take_probe(&self) -> bool {
        self.probe_permit.load(Ordering::Relaxed) && self.probe_permit.swap(false, Ordering::Relaxed)
    }

    /// The one call could not be placed after all.
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

/// Calls enough to tell one failure in ten from five, and few enough to be of the last second in a
/// busy service.
const WINDOW: u64 = 64;

/// One failure in so many calls, or less, is no trouble.
const RARE: u64 = 32;

/// The top bit: failures in a row do not get that far.
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
