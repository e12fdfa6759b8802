//! Transparent retry: calls that the server provably did not process are sent again, unseen by the caller.
//!
//! gRFC A6: a call that "never leaves the client" is retried without limit until its deadline; one that reached the
//! "gRPC server library, but has never been seen by the server application logic" is retried once. RFC 9113 §8.7
//! names the proofs: REFUSED_STREAM, and a stream id above the last id of a GOAWAY. Neither counts as an attempt
//! of a retry policy nor draws on its budget, and both are safe for calls that are not idempotent.
//!
//! "Once" guards a server that refuses because it has too much to do. One that leaves a connection in good order has not
//! refused anything, and while connections age quickly a call can be left behind twice in a row: such a call is sent again
//! up to [`LEFT_BEHIND_MAX`] times, each of them on another connection. With A6's limit it would fail although every backend is well.
//!
//! One machine per call, asked by the channel's call after every attempt that failed. It does not pick, send or wait.

use std::time::Instant;

/// How far a failed attempt got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AttemptFate {
    /// No byte of it was written to a connection.
    NeverSent,
    /// Its stream id was above the last id of a GOAWAY with NO_ERROR: the server is leaving this connection, and did not
    /// process it.
    LeftBehind,
    /// The peer says otherwise that it was not processed: REFUSED_STREAM, or a GOAWAY with an error.
    Refused,
    /// The server may have executed it. Only a retry policy may send it again.
    MaybeProcessed,
}

/// What to do after a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
#[must_use]
pub enum RetryDecision {
    /// Pick again and send it again, now.
    Retry,
    /// Report the failure. (A retry policy, where there is one, is asked first.)
    GiveUp,
}

/// The transparent retries of one call.
#[derive(Clone, Debug, Default)]
pub struct TransparentRetry {
    refused_before: bool,
    left_behind: u32,
    retries: u32,
}

impl TransparentRetry {
    /// For a call that has not been attempted.
    pub fn new() -> Self {
        Self::default()
    }

    /// Decides on an attempt that failed at `now`; `deadline` is the call's.
    pub fn after(&mut self, now: Instant, deadline: Option<Instant>, fate: AttemptFate) -> RetryDecision {
        if deadline.is_some_and(|deadline| deadline <= now) {
            return RetryDecision::GiveUp;
        }
        let allowed = match fate {
            AttemptFate::NeverSent => true,
            AttemptFate::LeftBehind => {
                self.left_behind += 1;
                self.left_behind <= LEFT_BEHIND_MAX
            }
            AttemptFate::Refused => !std::mem::replace(&mut self.refused_before, true),
            AttemptFate::MaybeProcessed => false,
        };
        if !allowed {
            return RetryDecision::GiveUp;
        }
        self.retries = self.retries.saturating_add(1);
        RetryDecision::Retry
    }

    /// How often the call was sent again.
    pub fn retries(&self) -> u32 {
        self.retries
    }
}

/// A server whose every connection ends before it takes a call is broken, whatever it says.
const LEFT_BEHIND_MAX: u32 = 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::virtual_time::epoch;
    use std::time::Duration;

    #[test]
    fn what_was_never_sent_is_retried_until_the_deadline() {
        let start = epoch();
        let deadline = Some(start + Duration::from_secs(1));
        let mut retry = TransparentRetry::new();
        for _ in 0..1000 {
            assert_eq!(retry.after(start, deadline, AttemptFate::NeverSent), RetryDecision::Retry);
        }
        assert_eq!(retry.retries(), 1000);
        let late = start + Duration::from_secs(1);
        assert_eq!(retry.after(late, deadline, AttemptFate::NeverSent), RetryDecision::GiveUp);
    }

    #[test]
    fn a_refusal_is_retried_once() {
        let mut retry = TransparentRetry::new();
        assert_eq!(retry.after(epoch(), None, AttemptFate::Refused), RetryDecision::Retry);
        assert_eq!(retry.after(epoch(), None, AttemptFate::NeverSent), RetryDecision::Retry);
        assert_eq!(retry.after(epoch(), None, AttemptFate::Refused), RetryDecision::GiveUp);
    }

    #[test]
    fn a_call_left_behind_by_connections_that_age_is_sent_again_within_a_bound() {
        let mut retry = TransparentRetry::new();
        for _ in 0..LEFT_BEHIND_MAX {
            assert_eq!(retry.after(epoch(), None, AttemptFate::LeftBehind), RetryDecision::Retry);
        }
        assert_eq!(retry.after(epoch(), None, AttemptFate::LeftBehind), RetryDecision::GiveUp);
    }

    #[test]
    fn what_may_have_run_is_never_sent_again() {
        let mut retry = TransparentRetry::new();
        assert_eq!(retry.after(epoch(), None, AttemptFate::MaybeProcessed), RetryDecision::GiveUp);
    }
}
