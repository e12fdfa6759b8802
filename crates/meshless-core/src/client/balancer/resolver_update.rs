//! From the resolver's answers to the set of endpoints in use, without a moment in which nothing
//! serves.
//!
//! Usually sets overlap, and what has left is drained at once. But an answer that leaves none of
//! the ready endpoints (a move to other nodes, two name servers that disagree, an answer that is
//! simply wrong) would have every call wait for a handshake, or fail if the new addresses are dead.
//! So the old set's connections serve until the first of the new set is ready ("make before
//! break"). They get no successors: a backend that ends them is not dialled again.
//!
//! `pick_first` changes at once, as gRFC A61 describes: it has one connection, which the new set
//! either lists or not.
//!
//! This part also owns the questions to the resolver: at most one waits to be polled, and none
//! follows an urgent one before the answer.

mod lookup_wait;
mod staleness;
mod subset;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::subchannels::Subchannels;
use super::timers::{Timer, Timers};
use super::{Action, BalancerConfig, ResolutionError, ResolveHint};
use crate::client::picker::Policy;
use crate::client::subchannel::Subchannel;
use crate::endpoint::{Address, Endpoint, EndpointDiff, EndpointSet};
use crate::rng::Rng;
use lookup_wait::LookupWait;
use staleness::Staleness;
use subset::Subset;

#[derive(Debug)]
pub(super) struct ResolverUpdate {
    endpoints: EndpointSet,
    /// The resolver's last set, while endpoints of the one before still serve in its stead.
    incoming: Option<Vec<Endpoint>>,
    subset: Subset,
    staleness: Staleness,
    stale_max: Duration,
    error: Option<Arc<str>>,
    lookup_wait: LookupWait,
    /// The resolver was asked at once, and has not answered.
    asked_at_once: bool,
    request: Option<ResolveHint>,
    makes_before_it_breaks: bool,
    zones_matter: bool,
}

impl ResolverUpdate {
    pub(super) fn new(config: &BalancerConfig) -> Self {
        Self {
            endpoints: EndpointSet::new(),
            incoming: None,
            subset: Subset::new(config),
            staleness: Staleness::default(),
            stale_max: config.stale_max,
            error: None,
            lookup_wait: LookupWait::default(),
            asked_at_once: false,
            request: None,
            makes_before_it_breaks: config.policy != Policy::PickFirst,
            zones_matter: config.zone.is_some(),
        }
    }

    /// The resolver has named these endpoints. They are adopted by [`advance`](Self::advance).
    pub(super) fn handle_endpoints<C>(
        &mut self,
        now: Instant,
        full: Vec<Endpoint>,
        subchannels: &mut Subchannels<C>,
        rng: &mut Rng,
    ) {
        self.handle_answer(subchannels);
        self.staleness.resolved(now);
        self.error = None;
        let (used, begins_to_be_bounded) = self.subset.of(full, rng);
        if begins_to_be_bounded {
            let (used, left_out) = (used.len(), self.subset.left_out());
            subchannels.outbox.push(Action::ReportTooManyEndpoints { used, left_out });
        }
        self.incoming = Some(used);
    }

    /// The resolver has failed to answer.
    pub(super) fn handle_error<C>(&mut self, error: ResolutionError, subchannels: &mut Subchannels<C>) {
        self.handle_answer(subchannels);
        self.staleness.failed();
        self.error = Some(error.0.into());
    }

    /// The resolver says that there is no endpoint. Once that has lasted, the set becomes what is
    /// connected: the others are forgotten.
    pub(super) fn handle_gone<C>(
        &mut self,
        now: Instant,
        reason: ResolutionError,
        subchannels: &mut Subchannels<C>,
    ) {
        self.handle_answer(subchannels);
        self.error = Some(reason.0.into());
        if self.staleness.gone(now) >= self.stale_max {
            let connected = |id| subchannels.get(id).is_some_and(|sub| !sub.connections.is_empty());
            let kept = self.endpoints.iter().filter(|(id, _)| connected(*id));
            self.incoming = Some(kept.map(|(_, endpoint)| endpoint.clone()).collect());
        }
    }

    /// Any answer of the resolver ends the wait for one.
    fn handle_answer<C>(&mut self, subchannels: &mut Subchannels<C>) {
        self.asked_at_once = false;
        self.lookup_wait.handle_answer();
        subchannels.all_mut().for_each(|subchannel| subchannel.failed_since_resolution = false);
    }

    /// Goes on with a change of sets, if one is under way, and returns what it changed. Precedes
    /// every plan.
    pub(super) fn advance<C>(&mut self, subchannels: &mut Subchannels<C>) -> EndpointDiff {
        let Some(incoming) = self.incoming.take() else { return EndpointDiff::default() };
        let leaving = self.needed_beside(&incoming, subchannels);
        for subchannel in subchannels.all_mut() {
            subchannel.leaving = leaving.iter().any(|endpoint| endpoint.address == subchannel.address);
        }
        if leaving.is_empty() {
            return self.adopt(incoming, subchannels);
        }
        let pointless = subchannels.listed().filter(|subchannel| subchannel.leaving).map(|sub| sub.id);
        pointless.collect::<Vec<_>>().into_iter().for_each(|id| subchannels.abandon(id));
        let both = incoming.iter().cloned().chain(leaving).collect();
        self.incoming = Some(incoming);
        self.adopt(both, subchannels)
    }

    /// Ready endpoints that `incoming` does not list, as long as none is ready that it does.
    fn needed_beside<C>(&self, incoming: &[Endpoint], subchannels: &Subchannels<C>) -> Vec<Endpoint> {
        if !self.makes_before_it_breaks {
            return Vec::new();
        }
        let listed: BTreeSet<_> = incoming.iter().map(|endpoint| &endpoint.address).collect();
        let is_incoming = |subchannel: &&Subchannel<C>| listed.contains(&subchannel.address);
        if subchannels.listed().filter(is_incoming).any(Subchannel::is_ready) {
            return Vec::new();
        }
        let is_ready = |id| subchannels.get(id).is_some_and(Subchannel::is_ready);
        self.endpoints.iter().filter(|(id, _)| is_ready(*id)).map(|(_, endpoint)| endpoint.clone()).collect()
    }

    /// Makes `full` the set of endpoints. What stays is left as it is.
    fn adopt<C>(&mut self, full: Vec<Endpoint>, subchannels: &mut Subchannels<C>) -> EndpointDiff {
        let is_first = self.endpoints.is_empty();
        let diff = self.endpoints.update(full);
        for (id, endpoint) in self.endpoints.iter() {
            let subchannel = subchannels.list(id, endpoint, !is_first);
            subchannel.weight = endpoint.weight;
            if subchannel.zone.as_deref() != endpoint.zone.as_deref() {
                subchannel.zone = endpoint.zone.as_deref().map(Into::into);
                if self.zones_matter {
                    subchannels.outbox.outdate_picker();
                }
            }
        }
        if !diff.is_empty() {
            let addresses = |ids: &[_]| -> Vec<Address> {
                let known = ids.iter().filter_map(|id| subchannels.get(*id));
                known.map(|subchannel| subchannel.address.clone()).collect()
            };
            let (added, removed) = (addresses(&diff.added), addresses(&diff.removed));
            subchannels.outbox.push(Action::ReportEndpoints { added, removed });
        }
        diff.removed.iter().for_each(|id| subchannels.unlist(*id));
        diff
    }

    /// See [`Balancer::set_resolver_answers`](crate::Balancer::set_resolver_answers).
    pub(super) fn set_resolver_answers(&mut self, answers: bool) {
        self.lookup_wait.set_resolver_answers(answers);
    }

    /// The channel leaves idle. What the resolver said last stays known, an error too: it may never
    /// say it again.
    pub(super) fn leave_idle(&mut self) {
        self.lookup_wait.rearm();
        if self.endpoints.is_empty() {
            self.request(ResolveHint::Stale);
        }
    }

    /// Lets calls wait for the resolver after the last backend is lost, or ends that wait. Follows
    /// every plan.
    pub(super) fn wait_for_lookup<C>(
        &mut self,
        now: Instant,
        is_idle: bool,
        subchannels: &Subchannels<C>,
        timers: &mut Timers,
    ) {
        let all_failed = !is_idle && self.have_all_failed(subchannels);
        if self.lookup_wait.advance(now, subchannels.any_ready(), all_failed) {
            self.request(ResolveHint::AllFailed);
        }
        timers.set(Timer::LookupWait, self.lookup_wait.until());
    }

    /// Asks the resolver for another look.
    pub(super) fn request(&mut self, hint: ResolveHint) {
        if self.asked_at_once {
            return;
        }
        self.asked_at_once = hint == ResolveHint::AllFailed;
        self.request = Some(hint);
    }

    pub(super) fn take_request(&mut self) -> Option<ResolveHint> {
        self.request.take()
    }

    /// Returns true if calls are to fail, rather than to wait, while no endpoint is ready.
    pub(super) fn has_failed<C>(&self, subchannels: &Subchannels<C>) -> bool {
        let failed = match self.endpoints.is_empty() {
            true => self.error.is_some(),
            false => self.have_all_failed(subchannels),
        };
        failed && !self.lookup_wait.is_waiting()
    }

    /// Returns true if there are endpoints and none of them is of use.
    fn have_all_failed<C>(&self, subchannels: &Subchannels<C>) -> bool {
        !self.endpoints.is_empty() && subchannels.listed().all(|subchannel| subchannel.failed)
    }

    /// The set in use.
    pub(super) fn endpoints(&self) -> &EndpointSet {
        &self.endpoints
    }

    /// Why the last resolution failed, if it did.
    pub(super) fn error(&self) -> Option<&Arc<str>> {
        self.error.as_ref()
    }

    /// How many endpoints the resolver named that the subset does not have.
    pub(super) fn left_out(&self) -> usize {
        self.subset.left_out()
    }

    /// When the resolver last named endpoints, and how many answers without have followed.
    pub(super) fn staleness(&self) -> (Option<Instant>, u32) {
        (self.staleness.resolved_at, self.staleness.failures)
    }
}
