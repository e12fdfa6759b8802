//! After the last backend is lost, calls wait for the resolver's next answer before they fail.
//!
//! In a quick rollout every known address can be dead before the resolver is asked again. The set is then known to be
//! stale, and a call that fails on it fails for nothing. So the loss of the last backend asks the resolver at once, and
//! until it answers the channel stays CONNECTING. Any answer ends the wait: with new addresses the channel connects to
//! them; with the old ones, or an error, calls fail.
//!
//! The wait happens once for each loss and takes at most [`LOOKUP_WAIT_MAX`]. It begins again only after an endpoint has
//! been ready, or the channel idle, in between. It needs a resolver that answers each request
//! ([`Balancer::set_resolver_answers`]): with any other, calls would only fail later.

use std::time::{Duration, Instant};

use super::Balancer;
use crate::client::subchannel::Subchannel;

/// Whether calls wait for the resolver.
#[derive(Debug, Default)]
pub(super) struct LookupWait {
    resolver_answers: bool,
    state: State,
}

#[derive(Debug, Default)]
enum State {
    /// The next loss of the last backend begins a wait.
    #[default]
    Armed,
    /// Calls wait, at most until then.
    Waiting { until: Instant },
    /// This loss has had its wait.
    Over,
}

impl LookupWait {
    pub(super) fn is_waiting(&self) -> bool {
        matches!(self.state, State::Waiting { .. })
    }

    /// The resolver has answered.
    pub(super) fn answered(&mut self) {
        if self.is_waiting() {
            self.state = State::Over;
        }
    }

    /// Forgets that a wait took place.
    pub(super) fn rearm(&mut self) {
        self.state = State::Armed;
    }
}

impl<C> Balancer<C> {
    /// Whether the resolver follows each [`Action::RequestResolution`](crate::Action::RequestResolution) that is `at_once`
    /// with an answer. Default false. If true, calls that come after the last backend is lost wait for that answer, at
    /// most 5 s.
    pub fn set_resolver_answers(&mut self, answers: bool) {
        self.lookup_wait.resolver_answers = answers;
    }

    /// Returns true if there are endpoints and none of them is of use.
    pub(super) fn have_all_failed(&self) -> bool {
        !self.endpoints.is_empty() && self.listed().all(|subchannel| subchannel.failed)
    }

    /// Begins or ends the wait. Called after every plan.
    pub(super) fn wait_for_lookup(&mut self, now: Instant) {
        match self.lookup_wait.state {
            _ if self.listed().any(Subchannel::is_ready) => self.lookup_wait.rearm(),
            State::Armed if self.lookup_wait.resolver_answers && !self.idle && self.have_all_failed() => {
                self.request_resolution(true);
                let until = now + LOOKUP_WAIT_MAX;
                self.lookup_wait.state = State::Waiting { until };
                self.wake_at(until);
            }
            State::Waiting { until } if until <= now => self.lookup_wait.state = State::Over,
            State::Waiting { until } => self.wake_at(until),
            State::Armed | State::Over => {}
        }
    }
}

/// As long as a DNS lookup may take by default. A resolver that needs longer is in trouble itself.
const LOOKUP_WAIT_MAX: Duration = Duration::from_secs(5);
