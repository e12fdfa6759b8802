//! After the last backend is lost, calls wait for the resolver's next answer before they fail.
//!
//! In a quick rollout every known address can be dead before the resolver is asked again. The set
//! is then stale, and calls would fail for nothing. So when the last backend is lost, the resolver
//! is asked at once, and the channel stays CONNECTING until it answers. Any answer ends the wait.
//! With new addresses the channel connects to them; with the old ones, or an error, calls fail.
//!
//! The wait happens once for each loss and takes at most [`LOOKUP_WAIT_MAX`]. It begins again only
//! after an endpoint was ready, or the channel idle, in between. It needs a resolver that answers
//! each request ([`Balancer::set_resolver_answers`](crate::Balancer::set_resolver_answers)).
//! Otherwise calls would fail all the same, only later.

use std::time::{Duration, Instant};

/// The state of the calls' wait for the resolver.
#[derive(Debug, Default)]
pub(super) struct LookupWait {
    resolver_answers: bool,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, Default)]
enum Phase {
    /// The next loss of the last backend begins a wait.
    #[default]
    Armed,
    /// Calls wait, at most until then.
    Waiting { until: Instant },
    /// The wait for this loss is over.
    Over,
}

impl LookupWait {
    pub(super) fn set_resolver_answers(&mut self, answers: bool) {
        self.resolver_answers = answers;
    }

    /// The resolver has answered.
    pub(super) fn handle_answer(&mut self) {
        if self.is_waiting() {
            self.phase = Phase::Over;
        }
    }

    /// Allows another wait.
    pub(super) fn rearm(&mut self) {
        self.phase = Phase::Armed;
    }

    /// Begins or ends the wait. Returns true if it begins: the resolver is then asked at once.
    /// `all_failed` is true if calls would fail otherwise.
    pub(super) fn advance(&mut self, now: Instant, any_ready: bool, all_failed: bool) -> bool {
        match self.phase {
            _ if any_ready => self.phase = Phase::Armed,
            Phase::Armed if self.resolver_answers && all_failed => {
                self.phase = Phase::Waiting { until: now + LOOKUP_WAIT_MAX };
                return true;
            }
            Phase::Waiting { until } if until <= now => self.phase = Phase::Over,
            Phase::Armed | Phase::Waiting { .. } | Phase::Over => {}
        }
        false
    }

    pub(super) fn is_waiting(&self) -> bool {
        self.until().is_some()
    }

    /// Returns when the wait ends at the latest, if there is one.
    pub(super) fn until(&self) -> Option<Instant> {
        match self.phase {
            Phase::Waiting { until } => Some(until),
            Phase::Armed | Phase::Over => None,
        }
    }
}

/// As long as a DNS lookup may take by default. A resolver that needs longer is in trouble itself.
const LOOKUP_WAIT_MAX: Duration = Duration::from_secs(5);
