//! How the calls of an endpoint end, counted where they end.
//!
//! Written by every [`Lease::finish`](super::lease::Lease::finish), read by the balancer, which ejects endpoints that fail.
//! Relaxed counters only: a success costs one atomic addition, a load and a branch (five instructions), whatever the policy. The balancer is not
//! asked at every end; it hears only of those that change something, which `record` points out.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Instant;

use super::lease::Outcome;
use crate::endpoint::EndpointId;

/// The end of a call that the balancer has to hear of
/// ([`Balancer::handle_outcome`](crate::Balancer::handle_outcome)): it tripped its endpoint's breaker, or was the probe of an
/// endpoint on probation.
///
/// There are few of them: one for each run of failures, and one for each probation.
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
            Outcome::Failure => self.record_failure(breaker),
        }
    }

    #[cold]
    fn record_failure(&self, breaker: u32) -> bool {
        self.failures.fetch_add(1, Ordering::Relaxed);
        let before = self.run.fetch_add(1, Ordering::Relaxed);
        if before & WATCHED != 0 {
            // Of several that end at once, one reports.
            return self.run.fetch_and(!WATCHED, Ordering::Relaxed) & WATCHED != 0;
        }
        before + 1 == breaker
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
        assert_eq!(fail(20), 0);
        assert!(!outcomes.record(Outcome::Success, 5));
        assert_eq!(outcomes.consecutive_failures(), 0);
        let fail = |n: u32| (0..n).filter(|_| outcomes.record(Outcome::Failure, 5)).count();
        assert_eq!(fail(5), 1, "a success begins a new run");
        assert_eq!((outcomes.successes(), outcomes.failures()), (1, 30));
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
