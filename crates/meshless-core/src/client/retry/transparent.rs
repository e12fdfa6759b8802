//! Transparent retry: calls that the server provably did not process are sent again without the
//! caller's notice.
//!
//! gRFC A6: a call that "never leaves the client" is retried without limit until its deadline; one
//! that reached the "gRPC server library, but has never been seen by the server application logic"
//! is retried once. RFC 9113 §8.7 names the proofs: REFUSED_STREAM, and a stream id above the last
//! id of a GOAWAY. These retries do not count as attempts of a retry policy and take no tokens from
//! its throttle. They are safe for calls that are not idempotent.
//!
//! "Once" protects a server that refuses because of overload. A server that ends a connection by
//! GOAWAY has not refused the call. While connections age quickly, a call can be left behind twice
//! in a row: it is sent again up to [`LEFT_BEHIND_MAX`] times, each time on another connection.
//! With A6's limit it would fail although every backend is well.
//!
//! An overloaded server of this project can bounce a call: it answers that another backend should
//! take it. It does so only for clients that have shown that they understand it. A bounced call is
//! sent again once more.
//!
//! Part of [`CallRetry`](super::CallRetry), which asks it first after every failed attempt.

/// How far a failed attempt got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AttemptFate {
    /// No backend could be reached. A retry policy counts it as an attempt, but the throttle does
    /// not.
    Unplaced,
    /// No byte of it was written to a connection.
    NeverSent,
    /// Its stream id was above the last id of a GOAWAY with NO_ERROR. The server is ending this
    /// connection and did not process the call.
    LeftBehind,
    /// The server refused it unprocessed: by REFUSED_STREAM, or by a GOAWAY with an error.
    Refused,
    /// A busy server answered that another should take it, and no handler has seen it.
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
    /// Returns true if an attempt that got this far is sent again.
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

/// A server is broken if every connection ends before it takes a call.
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
