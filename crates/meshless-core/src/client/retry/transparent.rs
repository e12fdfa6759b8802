//! Transparent retry: calls that the server provably did not process are sent again, unseen by the
//! caller.
//!
//! gRFC A6: a call that "never leaves the client" is retried without limit until its deadline; one
//! that reached the "gRPC server library, but has never been seen by the server application logic"
//! is retried once. RFC 9113 §8.7 names the proofs: REFUSED_STREAM, and a stream id above the last
//! id of a GOAWAY. Neither counts as an attempt of a retry policy nor draws on its budget, and both
//! are safe for calls that are not idempotent.
//!
//! "Once" guards a server that refuses because it has too much to do. One that leaves a connection
//! in good order has not refused anything, and while connections age quickly a call can be left
//! behind twice in a row: such a call is sent again up to [`LEFT_BEHIND_MAX`] times, each of them
//! on another connection. With A6's limit it would fail although every backend is well.
//!
//! A server of this project that bounces calls can say so in its answer, once a client has shown
//! that it understands that: such an answer is not just any refusal, and allows one more.
//!
//! Part of [`CallRetry`](super::CallRetry), which asks it first after every attempt that failed.

/// How far a failed attempt got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AttemptFate {
    /// There was none: no backend could be reached. For a retry policy an attempt like another, but
    /// nothing to protect backends from.
    Unplaced,
    /// No byte of it was written to a connection.
    NeverSent,
    /// Its stream id was above the last id of a GOAWAY with NO_ERROR: the server is leaving this
    /// connection, and did not process it.
    LeftBehind,
    /// The peer says otherwise that it was not processed: REFUSED_STREAM, or a GOAWAY with an
    /// error.
    Refused,
    /// A busy server answered that another should take it, and that no handler has seen it.
    Bounced,
    /// The server may have executed it. Only a retry policy may send it again.
    MaybeProcessed,
}

/// The transparent retries of one call.
#[derive(Clone, Debug, Default)]
pub(super) struct TransparentRetry {
    refused_before: bool,
    bounced_before: bool,
    left_behind: u32,
}

impl TransparentRetry {
    /// Whether an attempt that got this far is sent again.
    pub(super) fn allows(&mut self, fate: AttemptFate) -> bool {
        match fate {
            AttemptFate::NeverSent => true,
            AttemptFate::LeftBehind => {
                self.left_behind += 1;
                self.left_behind <= LEFT_BEHIND_MAX
            }
            AttemptFate::Refused => !std::mem::replace(&mut self.refused_before, true),
            AttemptFate::Bounced => !std::mem::replace(&mut self.bounced_before, true),
            AttemptFate::Unplaced | AttemptFate::MaybeProcessed => false,
        }
    }
}

/// A server whose every connection ends before it takes a call is broken, whatever it says.
const LEFT_BEHIND_MAX: u32 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_never_sent_is_retried_without_limit() {
        let mut retry = TransparentRetry::default();
        assert!((0..1000).all(|_| retry.allows(AttemptFate::NeverSent)));
    }

    #[test]
    fn a_refusal_is_retried_once() {
        let mut retry = TransparentRetry::default();
        assert!(retry.allows(AttemptFate::Refused));
        assert!(retry.allows(AttemptFate::NeverSent));
        assert!(!retry.allows(AttemptFate::Refused));
    }

    #[test]
    fn a_call_that_is_bounced_after_a_refusal_is_retried_once_more() {
        let mut retry = TransparentRetry::default();
        assert!(retry.allows(AttemptFate::Refused) && retry.allows(AttemptFate::Bounced));
        assert!(!retry.allows(AttemptFate::Bounced) && !retry.allows(AttemptFate::Refused));
    }

    #[test]
    fn a_call_left_behind_by_connections_that_age_is_sent_again_within_a_bound() {
        let mut retry = TransparentRetry::default();
        assert!((0..LEFT_BEHIND_MAX).all(|_| retry.allows(AttemptFate::LeftBehind)));
        assert!(!retry.allows(AttemptFate::LeftBehind));
    }

    #[test]
    fn what_may_have_run_is_never_sent_again() {
        assert!(!TransparentRetry::default().allows(AttemptFate::MaybeProcessed));
    }
}
