//! Turns the resolver's answers into the set of endpoints in use, without a moment in which nothing
//! serves.
//!
//! Usually sets overlap, and removed endpoints drain at once. But an answer may keep none of the
//! ready endpoints: after a move to other nodes, if two name servers disagree, or if it is wrong.
//! Every call would then wait for a handshake, or fail if the new addresses are dead. So the old
//! set's connections serve until the first of the new set is ready ("make before break"). They are
//! not replaced: if a backend ends them, they are not made again.
//!
//! `pick_first` changes at once, as gRFC A61 describes: it has one connection, which the new set
//! either lists or not.
//!
//! This part also owns the requests to the resolver. At most one waits to be polled, and none
//! follows an urgent one before its answer.

mod lookup_wait;
mod staleness;
mod subset;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::action::{Action, ResolveHint};
use super::config::BalancerConfig;
use super::resolution_error::ResolutionError;
use super::subchannels::Subchannels;
use super::timers::{Timer, Timers};
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
    /// The resolver's last set, while endpoints of the previous set still serve in its place.
    incoming: Option<Vec<Endpoint>>,
    subset: Subset,
    staleness: Staleness,
    stale_max: Duration,
    error: Option<Arc<str>>,
    lookup_wait: LookupWait,
    /// An urgent request was made and is not answered yet.
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

    /// The resolver has named these endpoints. [`advance`](Self::advance) adopts them.
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

    /// The resolver says that there is no endpoint. Once that has lasted, unconnected endpoints are
    /// dropped from the set.
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

    /// Any answer of the resolver ends the wait for it.
    fn handle_answer<C>(&mut self, subchannels: &mut Subchannels<C>) {
        self.asked_at_once = false;
        self.lookup_wait.handle_answer();
        subchannels.all_mut().for_each(|subchannel| subchannel.failed_since_resolution = false);
    }

    /// Continues a change of sets, if one is under way, and returns what changed. Called before
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

    /// Ready endpoints that `incoming` does not list, while none of those that it lists is ready.
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

    /// Makes `full` the set of endpoints. Endpoints in both sets do not change.
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

    /// The channel leaves idle. The resolver's last answer stays known, also an error, since the
    /// resolver may never repeat it.
    pub(super) fn leave_idle(&mut self) {
        self.lookup_wait.rearm();
        if self.endpoints.is_empty() {
            self.request(ResolveHint::Stale);
        }
    }

    /// Begins or ends the wait of calls for the resolver after the last backend is lost. Called
    /// after every plan.
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

    /// Asks the resolver again.
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

    /// Returns true if calls fail, and do not wait, while no endpoint is ready.
    pub(super) fn has_failed<C>(&self, subchannels: &Subchannels<C>) -> bool {
        let failed = match self.endpoints.is_empty() {
            true => self.error.is_some(),
            false => self.have_all_failed(subchannels),
        };
        failed && !self.lookup_wait.is_waiting()
    }

    /// Returns true if there are endpoints and none of them is usable.
    fn have_all_failed<C>(&self, subchannels: &Subchannels<C>) -> bool {
        !self.endpoints.is_empty() && subchannels.listed().all(|subchannel| subchannel.failed)
    }

    /// Returns the set in use.
    pub(super) fn endpoints(&self) -> &EndpointSet {
        &self.endpoints
    }

    /// Why the last resolution failed, if it did.
    pub(super) fn error(&self) -> Option<&Arc<str>> {
        self.error.as_ref()
    }

    /// Returns how many endpoints of the resolver the subset leaves out.
    pub(super) fn left_out(&self) -> usize {
        self.subset.left_out()
    }

    /// Returns when the resolver last named endpoints, and how many answers without any have
    /// followed.
    pub(super) fn staleness(&self) -> (Option<Instant>, u32) {
        (self.staleness.resolved_at, self.staleness.failures)
    }
}
