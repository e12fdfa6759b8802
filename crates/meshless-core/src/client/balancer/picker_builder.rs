//! Makes the picker that calls use from what the balancer knows.

use std::fmt::Write as _;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Duration;

use super::outlier_detection::OutlierDetector;
use super::resolver_update::ResolverUpdate;
use super::subchannels::Subchannels;
use super::weights::Weights;
use super::{BalancerConfig, ChoiceCount, ConnectivityState};
use crate::client::picker::demand::Demand;
use crate::client::picker::lease::{LoadTracking, Measure};
use crate::client::picker::{
    Candidate, Candidates, Decision, LeastRequest, PeakEwmaPolicy, PickFirst, Picker, Policy, Probing,
    RoundRobin, UnavailableError, WeightedRoundRobin,
};
use crate::client::subchannel::Subchannel;
use crate::endpoint::EndpointId;
use crate::ewma::EwmaDecay;

#[derive(Debug)]
pub(super) struct PickerBuilder<C> {
    policy: Policy,
    choice_count: ChoiceCount,
    clock: EwmaDecay,
    failure_penalty: Duration,
    breaker: Option<NonZeroU32>,
    /// The mark that is left when a picker without endpoints is asked.
    demand: Demand,
    turn: Arc<AtomicU32>,
    last_picked: Option<EndpointId>,
    published: Arc<Picker<C>>,
    published_state: ConnectivityState,
}

impl<C> PickerBuilder<C> {
    /// `turn` is where `round_robin` begins.
    pub(super) fn new(config: &BalancerConfig, clock: EwmaDecay, demand: Demand, turn: u32) -> Self {
        Self {
            policy: config.policy,
            choice_count: config.choice_count,
            clock,
            failure_penalty: config.failure_penalty,
            breaker: config.ejection.consecutive_failures,
            demand,
            turn: Arc::new(AtomicU32::new(turn)),
            last_picked: None,
            published: Arc::new(Picker::idle()),
            published_state: ConnectivityState::Idle,
        }
    }

    pub(super) fn policy(&self) -> Policy {
        self.policy
    }

    /// Returns true if the published picker fits a channel in `state`. In TRANSIENT_FAILURE it
    /// carries the errors, which any event may have changed.
    pub(super) fn is_current(&self, state: ConnectivityState) -> bool {
        state == self.published_state && state != ConnectivityState::TransientFailure
    }

    /// Returns what the policy needs to measure of calls on a new connection.
    pub(super) fn tracking(&self, weights: &Weights) -> LoadTracking {
        let measure = Measure { decay: self.clock, failure_penalty: self.failure_penalty };
        let all = LoadTracking { breaker: self.breaker, ..LoadTracking::default() };
        match self.policy {
            Policy::PickFirst => LoadTracking::default(),
            Policy::RoundRobin => all,
            Policy::LeastRequest => LoadTracking { counts_load: true, ..all },
            Policy::PeakEwma => LoadTracking { counts_load: true, measure: Some(measure), ..all },
            Policy::WeightedRoundRobin => LoadTracking { reports: weights.rule_for_calls(), ..all },
        }
    }

    /// Builds the picker of a channel in `state`.
    pub(super) fn build(
        &mut self,
        state: ConnectivityState,
        subchannels: &Subchannels<C>,
        resolver: &ResolverUpdate,
        outliers: &OutlierDetector,
        weights: &Weights,
    ) -> Arc<Picker<C>> {
        // Continues after the last pick of the published picker.
        if let Some(round_robin) = self.published.round_robin() {
            self.last_picked = Some(round_robin.last());
        }
        let unavailable = || unavailable(subchannels, resolver, outliers);
        let picker = match (self.picking(subchannels, outliers, weights), state) {
            (Some(picker), _) => picker,
            (None, ConnectivityState::Idle) => Picker::idle(),
            (None, ConnectivityState::TransientFailure) => Picker::fail(unavailable(), self.demand.clone()),
            (None, _) => Picker::connecting(self.demand.clone()),
        };
        self.published = Arc::new(picker);
        self.published_state = state;
        Arc::clone(&self.published)
    }

    /// Builds a picker that chooses. Returns `None` if there is no endpoint to choose.
    fn picking(
        &self,
        subchannels: &Subchannels<C>,
        outliers: &OutlierDetector,
        weights: &Weights,
    ) -> Option<Picker<C>> {
        let is_eligible = outliers.eligible(subchannels);
        let eligible = subchannels.listed().filter(|subchannel| is_eligible(subchannel));
        let decision = self.decide(candidates(eligible, weights)?);
        // Also in a panic, when all endpoints are picked: if another zone takes its calls, an
        // endpoint on probation gets no other call to be tested by.
        let on_probation =
            subchannels.listed().filter(|sub| sub.is_ready() && outliers.is_on_probation(sub.id));
        Some(Picker::new(match candidates(on_probation, weights) {
            Some(probes) => Decision::Probing(Box::new(Probing::new(probes, decision))),
            None => decision,
        }))
    }

    fn decide(&self, candidates: Candidates<C>) -> Decision<C> {
        match self.policy {
            Policy::PickFirst => Decision::PickFirst(PickFirst::new(candidates)),
            Policy::RoundRobin | Policy::WeightedRoundRobin if !candidates.have_equal_weights() => {
                Decision::Weighted(WeightedRoundRobin::new(candidates, Arc::clone(&self.turn)))
            }
            Policy::RoundRobin | Policy::WeightedRoundRobin => {
                let turn = Arc::clone(&self.turn);
                Decision::RoundRobin(RoundRobin::new(candidates, turn, self.last_picked))
            }
            Policy::LeastRequest => {
                Decision::LeastRequest(LeastRequest::new(candidates, self.choice_count.get()))
            }
            Policy::PeakEwma => Decision::PeakEwma(PeakEwmaPolicy::new(candidates, self.clock)),
        }
    }
}

fn candidates<'a, C: 'a>(
    of: impl Iterator<Item = &'a Subchannel<C>>,
    weights: &Weights,
) -> Option<Candidates<C>> {
    Candidates::new(of.filter_map(|subchannel| candidate(subchannel, weights)).collect())
}

/// Returns an endpoint with its serving connections. If there are none, with its suspect
/// connections.
fn candidate<C>(subchannel: &Subchannel<C>, weights: &Weights) -> Option<Candidate<C>> {
    let is_ready = subchannel.is_ready();
    let serving = subchannel.serving().filter(|_| is_ready);
    let suspects = subchannel.suspects().filter(|_| !is_ready);
    let slots = serving.chain(suspects).map(|connection| Arc::clone(&connection.slot));
    let (weight, zone) = weights.of(subchannel.id);
    Some(Candidate::new(subchannel.id, weight, slots)?.in_zone(zone))
}

/// Says why no endpoint can be reached, with the last error of each.
fn unavailable<C>(
    subchannels: &Subchannels<C>,
    resolver: &ResolverUpdate,
    outliers: &OutlierDetector,
) -> UnavailableError {
    if resolver.endpoints().is_empty() {
        let error = resolver.error().map_or("no answer yet", |error| &**error);
        return UnavailableError(format!("no endpoint is known: {error}").into());
    }
    let mut text = String::from("no endpoint can be reached");
    for (index, subchannel) in subchannels.listed().enumerate() {
        if index == ENDPOINTS_NAMED_MAX {
            let _ = write!(text, "; and {} more", resolver.endpoints().len() - index);
            break;
        }
        let error = subchannel.last_error.as_deref().unwrap_or("not tried yet");
        let separator = if index == 0 { ": " } else { "; " };
        let _ = write!(text, "{separator}{}: {error}", subchannel.address);
        if let Some(ejection) = outliers.ejection(subchannel.id) {
            let _ = write!(text, " (ejected before: {})", ejection.cause);
        }
    }
    UnavailableError(text.into())
}

/// A thousand dead endpoints must not make a status message of 100 kB: HTTP/2 peers refuse such
/// trailers.
const ENDPOINTS_NAMED_MAX: usize = 8;
