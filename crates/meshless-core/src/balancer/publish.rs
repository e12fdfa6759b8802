//! From what the balancer knows to the picker that calls use.

use std::fmt::Write as _;
use std::sync::Arc;

use super::{Balancer, ConnectivityState};
use crate::picker::{
    Candidate, Candidates, Decision, LeastRequest, PeakEwmaPolicy, PickFirst, Picker, Policy, RoundRobin,
    UnavailableError,
};
use crate::subchannel::Connection;

impl<C> Balancer<C> {
    pub(super) fn make_picker(&mut self) -> Picker<C> {
        // What a snapshot of the past has picked since is where the next one continues.
        if let Some(round_robin) = self.published.round_robin() {
            self.last_picked = Some(round_robin.last());
        }
        if let Some(candidates) = self.candidates() {
            return Picker::new(self.decide(candidates));
        }
        match self.connectivity() {
            ConnectivityState::Idle => Picker::idle(),
            ConnectivityState::TransientFailure => {
                Picker::fail(self.unavailable(), self.probe.demand.clone())
            }
            ConnectivityState::Connecting | ConnectivityState::Ready => {
                Picker::connecting(self.probe.demand.clone())
            }
        }
    }

    fn decide(&self, candidates: Candidates<C>) -> Decision<C> {
        match self.config.policy {
            Policy::PickFirst => Decision::PickFirst(PickFirst::new(candidates)),
            Policy::RoundRobin => {
                let turn = Arc::clone(&self.turn);
                Decision::RoundRobin(RoundRobin::new(candidates, turn, self.last_picked))
            }
            Policy::LeastRequest => {
                Decision::LeastRequest(LeastRequest::new(candidates, self.config.choice_count.get()))
            }
            Policy::PeakEwma => Decision::PeakEwma(PeakEwmaPolicy::new(candidates, self.decay)),
        }
    }

    /// What calls choose from: connections that serve, or while there is none, those that are only suspected not to.
    fn candidates(&self) -> Option<Candidates<C>> {
        let slot = |connection: &Connection<C>| Arc::clone(&connection.slot);
        let serving = self.listed().filter_map(|sub| Candidate::new(sub.id, sub.serving().map(slot)));
        Candidates::new(serving.collect()).or_else(|| {
            let suspects = self.listed().filter_map(|sub| Candidate::new(sub.id, sub.suspects().map(slot)));
            Candidates::new(suspects.collect())
        })
    }

    fn unavailable(&self) -> UnavailableError {
        let mut text = String::new();
        if self.endpoints.is_empty() {
            let error = self.resolution_error.as_deref().unwrap_or("no answer yet");
            let _ = write!(text, "no endpoint is known: {error}");
        } else {
            text.push_str("no endpoint can be reached");
            for (index, subchannel) in self.listed().enumerate() {
                if index == ENDPOINTS_NAMED_MAX {
                    let _ = write!(text, "; and {} more", self.endpoints.len() - index);
                    break;
                }
                let error = subchannel.last_error.as_deref().unwrap_or("not tried yet");
                let separator = if index == 0 { ": " } else { "; " };
                let _ = write!(text, "{separator}{}: {error}", subchannel.address);
            }
        }
        UnavailableError(text.into())
    }
}

/// A thousand dead endpoints must not make a status message of 100 kB: HTTP/2 peers refuse such trailers.
const ENDPOINTS_NAMED_MAX: usize = 8;
