//! The hedges of one call (gRFC A6, "Hedging Policy"). They decide when to start another attempt
//! beside those under way, and which answer the call returns.
//!
//! The driver starts an attempt when [`poll_start`](Hedging::poll_start) returns true, asks again
//! at [`poll_timeout`](Hedging::poll_timeout), and hands in how each attempt ended. On
//! [`HedgeDecision::Finish`] it returns that answer and cancels the attempts still under way.
//! Transparent retries happen within an attempt and are not seen here.
//!
//! While an attempt waits for a backend, no other is started: it would wait in the same queue. Once
//! there is room again, all of them would run at once although none is slow. The delay counts from
//! when the last attempt was placed on a backend.

use std::time::Instant;

use super::policy::HedgingPolicy;
use super::pushback::Pushback;
use super::throttle::RetryThrottle;
use crate::code::Code;

/// The hedges of one call.
#[derive(Debug)]
pub struct Hedging<'a> {
    policy: &'a HedgingPolicy,
    throttle: Option<&'a RetryThrottle>,
    deadline: Option<Instant>,
    started: u32,
    ended: u32,
    /// Attempts under way without a backend (not yet, or no longer).
    waiting: u32,
    /// When the next attempt is due. `None`: there will be no more.
    next: Option<Instant>,
}

/// What happens to a call when one of its attempts ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum HedgeDecision {
    /// Drop this answer and wait for the others.
    Wait,
    /// Return this answer and cancel the others.
    Finish,
}

impl<'a> Hedging<'a> {
    /// Creates the state of a call that begins at `now`.
    pub fn new(
        policy: &'a HedgingPolicy,
        throttle: Option<&'a RetryThrottle>,
        now: Instant,
        deadline: Option<Instant>,
    ) -> Self {
        Self { policy, throttle, deadline, started: 0, ended: 0, waiting: 0, next: Some(now) }
    }

    /// Returns true if an attempt is to be started at `now`. It counts as waiting for a backend
    /// until [`handle_waiting`](Self::handle_waiting) is called.
    #[must_use]
    pub fn poll_start(&mut self, now: Instant) -> bool {
        if self.waiting > 0 || self.next.is_none_or(|next| now < next) {
            return false;
        }
        // The throttle never stops the first attempt. Once it stops the hedges, they stay stopped.
        if self.started > 0 && self.throttle.is_some_and(|throttle| !throttle.allows()) {
            self.next = None;
            return false;
        }
        self.started += 1;
        self.waiting = 1;
        self.next = (self.started < self.policy.max_attempts())
            .then(|| now.checked_add(self.policy.delay()))
            .flatten();
        true
    }

    /// Sets how many attempts under way wait for a backend. Call it before every
    /// [`poll_start`](Self::poll_start).
    pub fn handle_waiting(&mut self, now: Instant, waiting: u32) {
        let placed = waiting == 0 && self.waiting > 0;
        self.waiting = waiting;
        if placed && let Some(next) = self.next {
            self.next = now.checked_add(self.policy.delay()).map(|at| at.max(next));
        }
    }

    /// Returns how many attempts wait for a backend, as last set.
    pub fn waiting(&self) -> u32 {
        self.waiting
    }

    /// Returns when to ask again. `None` also while an attempt waits for a backend.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.next.filter(|_| self.waiting == 0)
    }

    /// Returns how many attempts were started: the next one's header `grpc-previous-rpc-attempts`.
    pub fn started(&self) -> u32 {
        self.started
    }

    /// Decides what happens after an attempt ended with `code`. An answer that has begun counts as
    /// OK: its end is not awaited.
    pub fn after(&mut self, now: Instant, code: Code, pushback: Option<Pushback>) -> HedgeDecision {
        self.ended += 1;
        let fatal = !self.policy.non_fatal().contains(code);
        let objected = pushback == Some(Pushback::Stop);
        let failed = code != Code::Ok && (!fatal || objected);
        let throttled = failed && self.throttle.is_some_and(|throttle| !throttle.record_failure());
        if fatal || code == Code::Ok {
            return HedgeDecision::Finish;
        }
        if self.next.is_some() {
            self.next = match pushback {
                _ if throttled => None,
                // "If the pushback says not to retry, no further hedged requests will be sent."
                Some(Pushback::Stop) => None,
                Some(Pushback::After(delay)) => now.checked_add(delay),
                // "Immediately send next scheduled hedged request, if any. Subsequent hedged
                // requests will resume at hedgingDelay."
                None => Some(now),
            };
        }
        let due = self.next.filter(|next| self.deadline.is_none_or(|deadline| *next < deadline));
        if self.ended == self.started && due.is_none() { HedgeDecision::Finish } else { HedgeDecision::Wait }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::retry::throttle::RetryThrottling;
    use crate::virtual_time::epoch;
    use std::time::Duration;

    fn at(ms: u64) -> Instant {
        epoch() + Duration::from_millis(ms)
    }

    fn policy(max_attempts: u32, delay_ms: u64) -> HedgingPolicy {
        let policy = HedgingPolicy::new(max_attempts, Duration::from_millis(delay_ms)).unwrap();
        policy.with_non_fatal([Code::Unavailable])
    }

    /// Returns how many attempts start if each gets a backend at once.
    fn starts(hedging: &mut Hedging<'_>, now: Instant) -> usize {
        std::iter::from_fn(|| hedging.poll_start(now).then(|| hedging.handle_waiting(now, 0))).count()
    }

    #[test]
    fn attempts_start_one_delay_apart_up_to_the_maximum() {
        let policy = policy(3, 10);
        let mut hedging = Hedging::new(&policy, None, at(0), None);
        assert_eq!(starts(&mut hedging, at(0)), 1);
        assert_eq!(hedging.poll_timeout(), Some(at(10)));
        assert_eq!(starts(&mut hedging, at(9)), 0);
        assert_eq!(starts(&mut hedging, at(10)), 1);
        assert_eq!(starts(&mut hedging, at(20)), 1);
        assert_eq!(hedging.poll_timeout(), None);
        assert_eq!(starts(&mut hedging, at(1000)), 0);
    }

    #[test]
    fn without_a_delay_all_start_at_once() {
        let policy = policy(4, 0);
        assert_eq!(starts(&mut Hedging::new(&policy, None, at(0), None), at(0)), 4);
    }

    #[test]
    fn none_is_started_beside_one_that_waits_for_a_backend() {
        let policy = policy(3, 10);
        let mut hedging = Hedging::new(&policy, None, at(0), None);
        assert!(hedging.poll_start(at(0)));
        assert!(!hedging.poll_start(at(500)));
        assert_eq!(hedging.poll_timeout(), None, "what it waits for is not time");
        hedging.handle_waiting(at(500), 0);
        assert_eq!(starts(&mut hedging, at(509)), 0, "one that has only just begun is not slow");
        assert_eq!(starts(&mut hedging, at(510)), 1);
        hedging.handle_waiting(at(512), 1);
        assert_eq!(starts(&mut hedging, at(600)), 0, "one of them has lost its backend");
        hedging.handle_waiting(at(700), 0);
        assert_eq!(hedging.poll_timeout(), Some(at(710)));
    }

    #[test]
    fn one_that_fails_while_it_waits_is_followed_at_once() {
        let policy = policy(2, 10);
        let mut hedging = Hedging::new(&policy, None, at(0), None);
        assert!(hedging.poll_start(at(0)));
        hedging.handle_waiting(at(5), 0);
        assert_eq!(hedging.after(at(5), Code::Unavailable, None), HedgeDecision::Wait);
        assert!(hedging.poll_start(at(5)));
    }

    #[test]
    fn an_answer_or_a_fatal_code_ends_the_call() {
        let policy = policy(3, 10);
        for code in [Code::Ok, Code::Internal] {
            let mut hedging = Hedging::new(&policy, None, at(0), None);
            assert_eq!(starts(&mut hedging, at(0)), 1);
            assert_eq!(hedging.after(at(1), code, None), HedgeDecision::Finish);
        }
    }

    #[test]
    fn a_code_that_is_not_fatal_starts_the_next_at_once_and_shifts_the_rest() {
        let policy = policy(3, 10);
        let mut hedging = Hedging::new(&policy, None, at(0), None);
        assert_eq!(starts(&mut hedging, at(0)), 1);
        assert_eq!(hedging.after(at(3), Code::Unavailable, None), HedgeDecision::Wait);
        assert_eq!(starts(&mut hedging, at(3)), 1);
        assert_eq!(hedging.poll_timeout(), Some(at(13)));
    }

    #[test]
    fn the_last_failure_is_the_call_s() {
        let policy = policy(2, 0);
        let mut hedging = Hedging::new(&policy, None, at(0), None);
        assert_eq!(starts(&mut hedging, at(0)), 2);
        assert_eq!(hedging.after(at(1), Code::Unavailable, None), HedgeDecision::Wait);
        assert_eq!(hedging.after(at(2), Code::Unavailable, None), HedgeDecision::Finish);
    }

    #[test]
    fn pushback_delays_the_next_attempt_or_forbids_it() {
        let policy = policy(5, 10);
        let mut hedging = Hedging::new(&policy, None, at(0), Some(at(1000)));
        assert_eq!(starts(&mut hedging, at(0)), 1);
        let later = Some(Pushback::After(Duration::from_millis(40)));
        assert_eq!(hedging.after(at(1), Code::Unavailable, later), HedgeDecision::Wait);
        assert_eq!(hedging.poll_timeout(), Some(at(41)));
        assert_eq!(starts(&mut hedging, at(41)), 1);
        assert_eq!(starts(&mut hedging, at(51)), 1);
        assert_eq!(hedging.after(at(52), Code::Unavailable, Some(Pushback::Stop)), HedgeDecision::Wait);
        assert_eq!(hedging.poll_timeout(), None, "the one under way goes on, none is added");
        assert_eq!(hedging.after(at(53), Code::Unavailable, None), HedgeDecision::Finish);

        let mut hedging = Hedging::new(&policy, None, at(0), Some(at(30)));
        assert_eq!(starts(&mut hedging, at(0)), 1);
        let decision = hedging.after(at(1), Code::Unavailable, later);
        assert_eq!(decision, HedgeDecision::Finish, "the deadline is before the delay's end");
    }

    #[test]
    fn the_throttle_stops_hedges_and_never_the_call() {
        let policy = policy(3, 10);
        let throttle = RetryThrottle::new(RetryThrottling::new(2, 0.1).unwrap());
        throttle.record_failure();
        let mut hedging = Hedging::new(&policy, Some(&throttle), at(0), None);
        assert_eq!(starts(&mut hedging, at(0)), 1);
        assert_eq!(starts(&mut hedging, at(10)), 0);
        assert_eq!(hedging.poll_timeout(), None);
        assert_eq!(hedging.after(at(11), Code::Unavailable, None), HedgeDecision::Finish);
        assert_eq!(throttle.tokens(), 0.0, "a failure that is not fatal counts");
    }
}
