//! The earlier attempts of a call: endpoints that the next one should avoid, and causes for the
//! final status.
//!
//! Empty, and without an allocation, if a call's first attempt succeeds.

use std::collections::VecDeque;

use meshless_core::{EndpointId, GiveUpReason};
use tonic::Status;

/// The failed attempts of one call. Boxed, since few calls have any and all would pay for the
/// space.
#[derive(Debug, Default)]
pub(super) struct AttemptLog(Option<Box<FailedAttempts>>);

#[derive(Debug, Default)]
struct FailedAttempts {
    avoid: Vec<EndpointId>,
    causes: VecDeque<String>,
    failed: u32,
}

impl AttemptLog {
    /// Returns the endpoints that failed the call, for a pick to avoid.
    pub(super) fn avoid(&self) -> &[EndpointId] {
        self.0.as_ref().map_or(&[], |attempts| &attempts.avoid)
    }

    /// Records a failed attempt. `cause` names its endpoint.
    pub(super) fn failed(&mut self, endpoint: Option<EndpointId>, cause: &str) {
        let attempts = self.0.get_or_insert_default();
        attempts.failed = attempts.failed.saturating_add(1);
        if attempts.causes.len() == CAUSES_MAX {
            attempts.causes.pop_front();
        }
        attempts.causes.push_back(shortened(cause));
        self.avoid_also(endpoint);
    }

    /// Adds endpoints to avoid if there is another way.
    pub(super) fn avoid_also(&mut self, endpoints: impl IntoIterator<Item = EndpointId>) {
        for endpoint in endpoints {
            let avoid = &mut self.0.get_or_insert_default().avoid;
            if avoid.len() < AVOIDED_MAX && !avoid.contains(&endpoint) {
                avoid.push(endpoint);
            }
        }
    }

    /// Replaces the endpoints to avoid by this one.
    pub(super) fn avoid_only(&mut self, endpoint: EndpointId) {
        if let Some(attempts) = &mut self.0 {
            attempts.avoid.clear();
        }
        self.avoid_also([endpoint]);
    }

    /// Returns the message of a call whose last attempt ended for `cause`.
    pub(super) fn explain(&self, cause: &str, reason: Option<GiveUpReason>) -> String {
        let causes = match self.before() {
            None => cause.to_owned(),
            Some(FailedAttempts { failed, causes, .. }) => {
                let before = list(*failed, causes);
                format!("after {} attempts: {before}; {}", failed.saturating_add(1), shortened(cause))
            }
        };
        match reason {
            // The other reasons are clear from the number of attempts, or from the missing policy.
            Some(
                reason @ (GiveUpReason::Throttled | GiveUpReason::NotReplayable | GiveUpReason::Deadline),
            ) => {
                format!("{causes} (not sent again: {reason})")
            }
            _ => causes,
        }
    }

    /// Adds the earlier failures to the status of a call that its deadline ended.
    pub(super) fn add_to(&self, status: Status) -> Status {
        let Some(FailedAttempts { failed, causes, .. }) = self.before() else { return status };
        let attempts = if *failed == 1 { "attempt" } else { "attempts" };
        let before = list(*failed, causes);
        let message = format!("{} (after {failed} failed {attempts}: {before})", status.message());
        Status::new(status.code(), message)
    }

    fn before(&self) -> Option<&FailedAttempts> {
        self.0.as_deref().filter(|attempts| attempts.failed > 0)
    }
}

/// Lists the causes of the last of `failed` failures.
fn list(failed: u32, causes: &VecDeque<String>) -> String {
    let left_out = (failed as usize > causes.len()).then_some("…");
    left_out.into_iter().chain(causes.iter().map(String::as_str)).collect::<Vec<_>>().join("; ")
}

fn shortened(cause: &str) -> String {
    match cause.char_indices().nth(CAUSE_CHARS_MAX) {
        None => cause.to_owned(),
        Some((at, _)) => format!("{}…", &cause[..at]),
    }
}

/// How many endpoints a call avoids. If more fail, they are usually the same few again.
const AVOIDED_MAX: usize = 16;

/// Causes that a status names. As many as a retry policy has attempts; causes of transparent
/// retries resemble each other.
const CAUSES_MAX: usize = 5;

/// Characters of a cause in a list of several. With [`CAUSES_MAX`] the list stays below 2 kB, and a
/// status below the 8 kB that peers allow for all headers.
const CAUSE_CHARS_MAX: usize = 300;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_attempt_is_told_in_its_own_words() {
        let long = "x".repeat(10_000);
        assert_eq!(AttemptLog::default().explain(&long, Some(GiveUpReason::NotRetryable)), long);
        let throttled = AttemptLog::default().explain("lost", Some(GiveUpReason::Throttled));
        assert!(throttled.starts_with("lost (not sent again: too many calls"), "{throttled}");
    }

    #[test]
    fn several_are_told_in_turn() {
        let mut tried = AttemptLog::default();
        tried.failed(None, "10.0.0.1:1: lost");
        tried.failed(None, "10.0.0.2:1: UNAVAILABLE: full");
        let message = tried.explain("10.0.0.3:1: lost", Some(GiveUpReason::Attempts));
        let expected = "after 3 attempts: 10.0.0.1:1: lost; 10.0.0.2:1: UNAVAILABLE: full; 10.0.0.3:1: lost";
        assert_eq!(message, expected);
        let status = tried.add_to(Status::deadline_exceeded("too late"));
        let expected = "too late (after 2 failed attempts: 10.0.0.1:1: lost; 10.0.0.2:1: UNAVAILABLE: full)";
        assert_eq!(status.message(), expected);
    }

    #[test]
    fn the_message_is_bounded() {
        let mut tried = AttemptLog::default();
        (0..100).for_each(|n| tried.failed(None, &format!("{n} {}", "ü".repeat(1000))));
        let message = tried.explain("end", None);
        assert!(
            message.starts_with("after 101 attempts: …; 95 üü") && message.ends_with("…; end"),
            "{message}"
        );
        assert!(message.len() < 4096);
    }
}
