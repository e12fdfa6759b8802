//! From what the balancer knows to the picker that calls use.

use std::fmt::Write as _;
use std::sync::Arc;

use super::ejection::Health;
use super::{Balancer, ConnectivityState};
use crate::client::picker::{
    Candidate, Candidates, Decision, LeastRequest, PeakEwmaPolicy, PickFirst, Picker, Policy, Probing,
    RoundRobin, UnavailableError, WeightedRoundRobin,
};
use crate::client::subchannel::{Connection, Subchannel};

impl<C> Balancer<C> {
    pub(super) fn make_picker(&mut self) -> Picker<C> {
        // What a snapshot of the past has picked since is where the next one continues.
        if let Some(round_robin) = self.published.round_robin() {
            self.last_picked = Some(round_robin.last());
        }
        if let Some(candidates) = self.admitted() {
            let decision = self.decide(candidates);
            // Also in a panic, when all are picked from: one that another zone stands in for gets no other call to be judged by.
            let probes = self.candidates(Health::is_on_probation);
            return Picker::new(match probes {
                Some(probes) => Decision::Probing(Box::new(Probing::new(probes, decision))),
                None => decision,
            });
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
            Policy::RoundRobin | Policy::WeightedRoundRobin if !candidates.have_equal_weights() => {
                Decision::Weighted(WeightedRoundRobin::new(candidates, Arc::clone(&self.turn)))
            }
            Policy::RoundRobin | Policy::WeightedRoundRobin => {
                let turn = Arc::clone(&self.turn);
                Decision::RoundRobin(RoundRobin::new(candidates, turn, self.last_picked))
            }
            Policy::LeastRequest => {
                Decision::LeastRequest(LeastRequest::new(candidates, self.config.choice_count.get()))
            }
            Policy::PeakEwma => Decision::PeakEwma(PeakEwmaPolicy::new(candidates, self.decay)),
        }
    }

    /// What calls choose from: connections that serve, to endpoints that are not ejected. While there is none, an ejected endpoint is
    /// better than a connection that is suspected to be dead, and that better than nothing.
    fn admitted(&self) -> Option<Candidates<C>> {
        self.candidates(|health| self.is_admitted(health)).or_else(|| self.candidates(|_| true)).or_else(
            || Candidates::new(self.listed().filter_map(|sub| candidate(sub, sub.suspects())).collect()),
        )
    }

    /// Whether an endpoint is among those that [`admitted`](Self::admitted) finds.
    pub(super) fn picked_from(&self) -> impl Fn(&Subchannel<C>) -> bool + use<'_, C> {
        let is_admitted = |sub: &Subchannel<C>| sub.is_ready() && self.is_admitted(&sub.health);
        let any_admitted = self.listed().any(is_admitted);
        let any_ready = any_admitted || self.listed().any(Subchannel::is_ready);
        move |sub| match (any_admitted, any_ready) {
            (true, _) => is_admitted(sub),
            (false, true) => sub.is_ready(),
            (false, false) => sub.suspects().next().is_some(),
        }
    }

    fn candidates(&self, of: impl Fn(&Health) -> bool) -> Option<Candidates<C>> {
        let fit = self.listed().filter(|subchannel| of(&subchannel.health));
        Candidates::new(fit.filter_map(|sub| candidate(sub, sub.serving())).collect())
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
                if let Some(ejection) = subchannel.health.ejection() {
                    let _ = write!(text, " (ejected before: {})", ejection.cause);
                }
            }
        }
        UnavailableError(text.into())
    }
}

fn candidate<'a, C: 'a>(
    subchannel: &Subchannel<C>,
    connections: impl Iterator<Item = &'a Connection<C>>,
) -> Option<Candidate<C>> {
    let slots = connections.map(|connection| Arc::clone(&connection.slot));
    let candidate = Candidate::new(subchannel.id, subchannel.weight.effective(), slots)?;
    Some(candidate.in_zone(subchannel.weight.zone_number()))
}

/// A thousand dead endpoints must not make a status message of 100 kB: HTTP/2 peers refuse such trailers.
const ENDPOINTS_NAMED_MAX: usize = 8;
