//! The retries of one call (gRFC A6). Called after every failed attempt; it decides if and when
//! there is another.
//!
//! ```text
//!               never sent, left behind, refused or bounced once
//!  attempt ────────────────────────────────────────────► Retry        (not counted, not throttled)
//!     │ fails otherwise
//!     ├─ its code is in the policy, the throttle allows it,
//!     │  attempts are left, the server does not object ──► RetryAt(…)  (counted)
//!     └─ else ──────────────────────────────────────────► GiveUp(why)
//! ```

use std::fmt;
use std::time::Instant;

use super::policy::RetryPolicy;
use super::pushback::Pushback;
use super::throttle::RetryThrottle;
use super::transparent::{AttemptFate, TransparentRetry};
use crate::code::Code;
use crate::rng::Rng;

/// The retries of one call. Without a policy, only the transparent ones.
#[derive(Debug)]
pub struct CallRetry<'a> {
    policy: Option<&'a RetryPolicy>,
    throttle: Option<&'a RetryThrottle>,
    transparent: TransparentRetry,
    /// Failed attempts that count.
    failed: u32,
    /// Counted retries since the server last set a delay.
    since_pushback: u32,
}

/// How an attempt failed.
#[derive(Clone, Copy, Debug)]
pub struct AttemptEnd {
    /// How far it got.
    pub fate: AttemptFate,
    /// Its status code.
    pub code: Code,
    /// The server's instruction about another attempt.
    pub pushback: Option<Pushback>,
    /// True if the policy's timeout per attempt ended it.
    pub timed_out: bool,
    /// True if the same request can be sent once more.
    pub replayable: bool,
}

/// What to do after a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum RetryDecision {
    /// Pick again and send it again now: a transparent retry.
    Retry,
    /// Pick again and send it again at this time.
    RetryAt(Instant),
    /// Report the failure.
    GiveUp(GiveUpReason),
}

/// Why there is no further attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum GiveUpReason {
    /// There is no policy, or it does not cover this failure.
    NotRetryable,
    /// The policy's attempts are used up.
    Attempts,
    /// The channel's throttle is at half or below.
    Throttled,
    /// The server asked not to be tried again.
    Pushback,
    /// The request is too long for the buffer, or its body failed.
    NotReplayable,
    /// The deadline has passed, or would pass before the next attempt.
    Deadline,
}

impl<'a> CallRetry<'a> {
    /// Creates the state of a call without attempts yet.
    pub fn new(policy: Option<&'a RetryPolicy>, throttle: Option<&'a RetryThrottle>) -> Self {
        Self { policy, throttle, transparent: TransparentRetry::default(), failed: 0, since_pushback: 0 }
    }

    /// Decides what follows an attempt that failed at `now`. `deadline` is the call's.
    pub fn after(
        &mut self,
        now: Instant,
        deadline: Option<Instant>,
        end: AttemptEnd,
        rng: &mut Rng,
    ) -> RetryDecision {
        if deadline.is_some_and(|deadline| deadline <= now) {
            return RetryDecision::GiveUp(GiveUpReason::Deadline);
        }
        if self.transparent.allows(end.fate) {
            return if end.replayable {
                RetryDecision::Retry
            } else {
                RetryDecision::GiveUp(GiveUpReason::NotReplayable)
            };
        }
        match self.policy {
            Some(policy) => self.counted(policy, now, deadline, end, rng),
            None => RetryDecision::GiveUp(GiveUpReason::NotRetryable),
        }
    }

    /// Returns how many counted attempts came before the next one. It is the header
    /// `grpc-previous-rpc-attempts`, which the first attempt does not send.
    pub fn previous_attempts(&self) -> u32 {
        self.failed
    }

    fn counted(
        &mut self,
        policy: &RetryPolicy,
        now: Instant,
        deadline: Option<Instant>,
        end: AttemptEnd,
        rng: &mut Rng,
    ) -> RetryDecision {
        self.failed += 1;
        let retryable = end.timed_out || policy.retryable().contains(end.code);
        let objected = end.pushback == Some(Pushback::Stop);
        // Failures that count: "RPCs that fail with a status code that qualifies as a retryable or
        // non-fatal status code, or that receive a pushback response indicating not to retry". They
        // count even if no attempts are left. Attempts that reached no server do not count: an
        // outage of all servers would empty the bucket for those that come back.
        let throttled = (retryable || objected)
            && end.fate != AttemptFate::Unplaced
            && self.throttle.is_some_and(|throttle| !throttle.record_failure());
        let reason = match () {
            () if !retryable => GiveUpReason::NotRetryable,
            () if objected => GiveUpReason::Pushback,
            () if self.failed >= policy.max_attempts() => GiveUpReason::Attempts,
            () if throttled => GiveUpReason::Throttled,
            () if !end.replayable => GiveUpReason::NotReplayable,
            () => match self.next_attempt(policy, now, end.pushback, rng) {
                Some(at) if deadline.is_none_or(|deadline| at < deadline) => {
                    return RetryDecision::RetryAt(at);
                }
                // The present failure says more than a later DEADLINE_EXCEEDED.
                _ => GiveUpReason::Deadline,
            },
        };
        RetryDecision::GiveUp(reason)
    }

    /// Returns `None` if the time is too far ahead to be represented.
    fn next_attempt(
        &mut self,
        policy: &RetryPolicy,
        now: Instant,
        pushback: Option<Pushback>,
        rng: &mut Rng,
    ) -> Option<Instant> {
        let delay = match pushback {
            Some(Pushback::After(delay)) => {
                // "If this attempt also fails, retry delay will reset to initial backoff for the
                // following retry."
                self.since_pushback = 0;
                delay
            }
            _ => {
                self.since_pushback += 1;
                policy.backoff(self.since_pushback, rng)
            }
        };
        now.checked_add(delay)
    }
}

impl fmt::Display for GiveUpReason {
    /// The end of the sentence "not sent again: …".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotRetryable => "no retry policy covers it",
            Self::Attempts => "every attempt of the retry policy is used up",
            Self::Throttled => "too many calls of this channel have failed, and retries are throttled",
            Self::Pushback => "the server asked not to be tried again",
            Self::NotReplayable => "the request cannot be sent a second time",
            Self::Deadline => "the deadline leaves no time for another attempt",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::retry::throttle::RetryThrottling;
    use crate::virtual_time::epoch;
    use std::time::Duration;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn policy() -> RetryPolicy {
        RetryPolicy::new(4, [Code::Unavailable]).unwrap().with_backoff(ms(100), ms(1000), 2.0).unwrap()
    }

    fn failed(code: Code) -> AttemptEnd {
        AttemptEnd {
            fate: AttemptFate::MaybeProcessed,
            code,
            pushback: None,
            timed_out: false,
            replayable: true,
        }
    }

    fn pushed_back(pushback: Pushback) -> AttemptEnd {
        AttemptEnd { pushback: Some(pushback), ..failed(Code::Unavailable) }
    }

    fn never_sent() -> AttemptEnd {
        AttemptEnd { fate: AttemptFate::NeverSent, ..failed(Code::Unavailable) }
    }

    fn after(retry: &mut CallRetry<'_>, end: AttemptEnd) -> RetryDecision {
        retry.after(epoch(), None, end, &mut Rng::new(1, 1))
    }

    /// The pause until the next attempt.
    #[track_caller]
    fn pause(retry: &mut CallRetry<'_>, end: AttemptEnd) -> Duration {
        match after(retry, end) {
            RetryDecision::RetryAt(at) => at - epoch(),
            decision => panic!("{decision:?}"),
        }
    }

    #[track_caller]
    fn assert_about(pause: Duration, nominal_ms: f64) {
        let ms = pause.as_secs_f64() * 1000.0;
        assert!((nominal_ms * 0.8..=nominal_ms * 1.2).contains(&ms), "{ms} ms, nominally {nominal_ms} ms");
    }

    #[test]
    fn attempts_are_bounded_and_their_pauses_grow() {
        let policy = policy();
        let mut retry = CallRetry::new(Some(&policy), None);
        for (previous, nominal_ms) in [(1, 100.0), (2, 200.0), (3, 400.0)] {
            assert_about(pause(&mut retry, failed(Code::Unavailable)), nominal_ms);
            assert_eq!(retry.previous_attempts(), previous);
        }
        assert_eq!(
            after(&mut retry, failed(Code::Unavailable)),
            RetryDecision::GiveUp(GiveUpReason::Attempts)
        );
    }

    #[test]
    fn a_code_that_is_not_listed_is_final() {
        let policy = policy();
        let mut retry = CallRetry::new(Some(&policy), None);
        let decision = after(&mut retry, failed(Code::Internal));
        assert_eq!(decision, RetryDecision::GiveUp(GiveUpReason::NotRetryable));
        let decision = after(&mut CallRetry::new(None, None), failed(Code::Unavailable));
        assert_eq!(decision, RetryDecision::GiveUp(GiveUpReason::NotRetryable));
    }

    #[test]
    fn an_attempt_that_took_too_long_is_sent_again_whatever_the_codes() {
        let policy = policy();
        let end = AttemptEnd { timed_out: true, ..failed(Code::DeadlineExceeded) };
        assert_about(pause(&mut CallRetry::new(Some(&policy), None), end), 100.0);
    }

    #[test]
    fn the_server_s_delay_is_kept_exactly_and_the_backoff_begins_anew() {
        let policy = policy();
        let mut retry = CallRetry::new(Some(&policy), None);
        assert_about(pause(&mut retry, failed(Code::Unavailable)), 100.0);
        assert_eq!(pause(&mut retry, pushed_back(Pushback::After(ms(7)))), ms(7));
        assert_about(pause(&mut retry, failed(Code::Unavailable)), 100.0);
        let decision = after(&mut retry, pushed_back(Pushback::After(ms(7))));
        assert_eq!(decision, RetryDecision::GiveUp(GiveUpReason::Attempts), "pushback buys no attempt");
    }

    #[test]
    fn a_server_that_objects_is_not_tried_again() {
        let policy = policy();
        let decision = after(&mut CallRetry::new(Some(&policy), None), pushed_back(Pushback::Stop));
        assert_eq!(decision, RetryDecision::GiveUp(GiveUpReason::Pushback));
        let end = AttemptEnd { code: Code::Internal, ..pushed_back(Pushback::After(ms(1))) };
        let decision = after(&mut CallRetry::new(Some(&policy), None), end);
        assert_eq!(
            decision,
            RetryDecision::GiveUp(GiveUpReason::NotRetryable),
            "a delay makes no code retryable"
        );
    }

    #[test]
    fn transparent_retries_neither_count_nor_draw_on_the_throttle() {
        let policy = policy();
        let throttle = RetryThrottle::new(RetryThrottling::new(2, 0.1).unwrap());
        let mut retry = CallRetry::new(Some(&policy), Some(&throttle));
        for _ in 0..100 {
            assert_eq!(after(&mut retry, never_sent()), RetryDecision::Retry);
        }
        assert_eq!((retry.previous_attempts(), throttle.tokens()), (0, 2.0));
        throttle.record_failure();
        assert!(!throttle.allows());
        assert_eq!(after(&mut retry, never_sent()), RetryDecision::Retry, "nor does it stop them");
    }

    #[test]
    fn what_was_refused_twice_is_for_the_policy() {
        let policy = policy();
        let mut retry = CallRetry::new(Some(&policy), None);
        let refused = AttemptEnd { fate: AttemptFate::Refused, ..failed(Code::Unavailable) };
        assert_eq!(after(&mut retry, refused), RetryDecision::Retry);
        assert_about(pause(&mut retry, refused), 100.0);
    }

    #[test]
    fn failures_draw_on_the_throttle_whether_or_not_they_are_sent_again() {
        let policy = policy();
        let throttle = RetryThrottle::new(RetryThrottling::new(10, 0.1).unwrap());
        let once = |end| after(&mut CallRetry::new(Some(&policy), Some(&throttle)), end);
        let _ = once(failed(Code::Internal));
        assert_eq!(throttle.tokens(), 10.0, "a code that is not listed is the application's");
        let _ = once(AttemptEnd { code: Code::Internal, ..pushed_back(Pushback::Stop) });
        let _ = once(AttemptEnd { replayable: false, ..failed(Code::Unavailable) });
        assert_eq!(throttle.tokens(), 8.0);
        assert!(matches!(once(failed(Code::Unavailable)), RetryDecision::RetryAt(_)));
        assert!(matches!(once(failed(Code::Unavailable)), RetryDecision::RetryAt(_)));
        assert_eq!(once(failed(Code::Unavailable)), RetryDecision::GiveUp(GiveUpReason::Throttled));
    }

    #[test]
    fn what_reached_no_server_counts_as_an_attempt_and_not_against_the_throttle() {
        let policy = policy();
        let throttle = RetryThrottle::new(RetryThrottling::new(2, 0.1).unwrap());
        let mut retry = CallRetry::new(Some(&policy), Some(&throttle));
        let unplaced = AttemptEnd { fate: AttemptFate::Unplaced, ..failed(Code::Unavailable) };
        for _ in 0..3 {
            assert!(matches!(after(&mut retry, unplaced), RetryDecision::RetryAt(_)));
        }
        assert_eq!(after(&mut retry, unplaced), RetryDecision::GiveUp(GiveUpReason::Attempts));
        assert_eq!(throttle.tokens(), 2.0);
    }

    #[test]
    fn the_deadline_bounds_attempts_and_pauses() {
        let policy = policy();
        let mut rng = Rng::new(1, 1);
        let mut retry = CallRetry::new(Some(&policy), None);
        let soon = Some(epoch() + ms(50));
        let decision = retry.after(epoch(), soon, failed(Code::Unavailable), &mut rng);
        assert_eq!(decision, RetryDecision::GiveUp(GiveUpReason::Deadline), "the pause ends after it");
        for end in [never_sent(), failed(Code::Unavailable)] {
            let decision = retry.after(epoch(), Some(epoch()), end, &mut rng);
            assert_eq!(decision, RetryDecision::GiveUp(GiveUpReason::Deadline));
        }
    }

    #[test]
    fn what_is_no_longer_at_hand_is_not_sent_again() {
        let policy = policy();
        for end in [never_sent(), failed(Code::Unavailable)] {
            let end = AttemptEnd { replayable: false, ..end };
            let decision = after(&mut CallRetry::new(Some(&policy), None), end);
            assert_eq!(decision, RetryDecision::GiveUp(GiveUpReason::NotReplayable));
        }
    }
}
