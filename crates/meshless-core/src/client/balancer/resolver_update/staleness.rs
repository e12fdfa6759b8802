//! How old the set of endpoints is, and when endpoints are dropped that the resolver says are gone.
//!
//! A resolver that fails (no answer, SERVFAIL) says nothing about the backends: the last good set
//! stays without a time limit. The answers "no such name" and "no address" may be right, or the
//! resolver may be in trouble itself. A name has no addresses for a moment while all its pods
//! restart, and for hours after a bad change of DNS. So that answer is not believed at first
//! either.
//!
//! But addresses of deleted pods are given to others, and a client that keeps connecting to them
//! may reach an unrelated server. After [`stale_max`](crate::BalancerConfig::stale_max) of nothing
//! but "gone", endpoints without a connection are therefore dropped. Connected endpoints stay,
//! since an open connection is better evidence than DNS.

use std::time::{Duration, Instant};

/// The history of the resolver's answers.
#[derive(Debug, Default)]
pub(super) struct Staleness {
    /// The last answer with endpoints.
    pub(super) resolved_at: Option<Instant>,
    /// Answers without endpoints since then.
    pub(super) failures: u32,
    /// The first "gone" since then.
    gone_since: Option<Instant>,
}

impl Staleness {
    pub(super) fn resolved(&mut self, now: Instant) {
        *self = Self { resolved_at: Some(now), ..Self::default() };
    }

    pub(super) fn failed(&mut self) {
        self.failures = self.failures.saturating_add(1);
    }

    /// Returns for how long all answers have been "gone".
    pub(super) fn gone(&mut self, now: Instant) -> Duration {
        self.failed();
        now.saturating_duration_since(*self.gone_since.get_or_insert(now))
    }
}
