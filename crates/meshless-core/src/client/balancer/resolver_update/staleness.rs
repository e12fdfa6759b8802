//! How old the set of endpoints is, and what becomes of one that the resolver has long declared
//! gone.
//!
//! A resolver that fails (no answer, SERVFAIL) says nothing about the backends: the last good set
//! stays, however long that lasts. One that says "no such name" or "no address" may be right or may
//! be in trouble itself: a name is briefly without addresses while all its pods restart, and for
//! hours after a bad change of DNS. So that answer is not believed at first either. But pods that
//! are gone leave addresses that others are given, and a client that dials them for ever may one
//! day reach a stranger. After [`stale_max`](crate::BalancerConfig::stale_max) of nothing but
//! "gone", endpoints without a connection are therefore forgotten; those that are connected serve
//! on, since a connection that lives is a better witness than DNS.

use std::time::{Duration, Instant};

/// What is known of the resolver's answers.
#[derive(Debug, Default)]
pub(super) struct Staleness {
    /// The last answer with endpoints.
    pub(super) resolved_at: Option<Instant>,
    /// Answers without, since then.
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

    /// For how long there has been nothing but "gone".
    pub(super) fn gone(&mut self, now: Instant) -> Duration {
        self.failed();
        now.saturating_duration_since(*self.gone_since.get_or_insert(now))
    }
}
