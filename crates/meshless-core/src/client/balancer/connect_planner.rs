//! Plans what to connect next. The plan is recomputed as a whole after every event, so no order of
//! events can leave an endpoint forgotten. The same pass finds when it has to run again.

mod connect_budget;
mod descriptor_pause;
mod outage_reconnect;
mod pick_first;

use std::time::Instant;

use super::BalancerConfig;
use super::subchannels::Subchannels;
use super::timers::{Timer, Timers};
use crate::client::picker::Policy;
use crate::client::picker::demand::Demand;
use crate::client::subchannel::Subchannel;
use crate::connection_id::ConnectionId;
use crate::endpoint::{EndpointDiff, EndpointId};
use crate::rng::Rng;
use crate::timers::sooner;
use connect_budget::ConnectBudget;
use descriptor_pause::DescriptorPause;
use outage_reconnect::OutageReconnect;
use pick_first::{AddressList, Step};

#[derive(Debug)]
pub(super) struct ConnectPlanner {
    /// `pick_first` connects to one endpoint, the other policies to all.
    is_pick_first: bool,
    addresses: AddressList,
    connections_per_endpoint: usize,
    budget: ConnectBudget,
    pause: DescriptorPause,
    outage: OutageReconnect,
}

impl ConnectPlanner {
    pub(super) fn new(config: &BalancerConfig, demand: Demand) -> Self {
        Self {
            is_pick_first: config.policy == Policy::PickFirst,
            addresses: AddressList::default(),
            connections_per_endpoint: config.connections_per_endpoint.get() as usize,
            budget: ConnectBudget::new(config),
            pause: DescriptorPause::default(),
            outage: OutageReconnect::new(demand),
        }
    }

    /// The set of endpoints has changed.
    pub(super) fn handle_endpoints(&mut self, diff: &EndpointDiff, rng: &mut Rng) {
        if !diff.is_empty() {
            self.addresses.update(diff, rng);
        }
    }

    /// A connection is made. In `pick_first` it replaces all others, unless it was made because
    /// they are full.
    pub(super) fn handle_connected<C>(
        &mut self,
        endpoint: EndpointId,
        id: ConnectionId,
        was_full: bool,
        subchannels: &mut Subchannels<C>,
    ) {
        if !self.is_pick_first {
            return;
        }
        let mut retired = Vec::new();
        let mut abandoned = Vec::new();
        for subchannel in subchannels.listed_mut() {
            // After one success, failures of the others no longer count.
            subchannel.clear_failures();
            abandoned.extend(subchannel.attempt.map(|_| subchannel.id));
            if !was_full || subchannel.id != endpoint {
                let others =
                    subchannel.serving().map(|connection| connection.slot.id).filter(|other| *other != id);
                retired.extend(others);
            }
        }
        abandoned.into_iter().for_each(|endpoint| subchannels.abandon(endpoint));
        for id in retired {
            subchannels.outbox.outdate_picker();
            subchannels.drain(id);
        }
        self.addresses.connected(endpoint);
    }

    /// A connection in service is lost. Returns true if the channel is idle now: "on loss of the
    /// connection, pick_first goes IDLE and reconnects on the next call" (gRFC A61).
    pub(super) fn handle_lost<C>(&mut self, subchannels: &Subchannels<C>) -> bool {
        let in_use = |subchannel: &Subchannel<C>| subchannel.is_ready() || subchannel.attempt.is_some();
        let becomes_idle = self.is_pick_first && !subchannels.listed().any(in_use);
        if becomes_idle {
            self.rest();
        }
        becomes_idle
    }

    /// No file descriptor is left. Returns true if connects pause from now on.
    pub(super) fn handle_out_of_descriptors(&mut self, now: Instant) -> bool {
        self.pause.begin(now)
    }

    /// The channel is idle.
    pub(super) fn rest(&mut self) {
        self.addresses.end_pass();
    }

    /// Returns true if `pick_first` is connected and needs no other endpoint.
    pub(super) fn has_settled<C>(&self, subchannels: &Subchannels<C>) -> bool {
        self.is_pick_first && subchannels.any_ready()
    }

    /// Returns true if another connection may be made for a call that finds all of the endpoint's
    /// full.
    pub(super) fn may_grow<C>(&self, subchannel: &Subchannel<C>) -> bool {
        (1..self.connections_per_endpoint).contains(&subchannel.serving().count())
    }

    /// Begins the attempts that are due, and sets the timer for the next one.
    pub(super) fn plan<C>(
        &mut self,
        now: Instant,
        is_idle: bool,
        subchannels: &mut Subchannels<C>,
        timers: &mut Timers,
        rng: &mut Rng,
    ) {
        timers.set(Timer::Outage, self.outage.advance(now, is_idle, subchannels, rng));
        let next = match self.pause.until(now) {
            _ if is_idle => None,
            Some(until) => Some(until),
            None if self.is_pick_first => self.plan_pick_first(now, subchannels),
            None => self.plan_all(now, subchannels),
        };
        timers.set(Timer::Connect, next);
    }

    /// Connects to every endpoint, and once more where all connections are full.
    fn plan_all<C>(&mut self, now: Instant, subchannels: &mut Subchannels<C>) -> Option<Instant> {
        let max = self.connections_per_endpoint;
        let in_need = subchannels.all().filter(|subchannel| subchannel.needs_connection(max));
        let wanted: Vec<_> = in_need.map(|subchannel| (subchannel.id, subchannel.retry_at())).collect();
        self.connect_each(now, wanted, subchannels)
    }

    /// Connects to endpoints whose backoff is over, as far as the budget allows. Returns when the
    /// next attempt may begin.
    fn connect_each<C>(
        &mut self,
        now: Instant,
        wanted: Vec<(EndpointId, Option<Instant>)>,
        subchannels: &mut Subchannels<C>,
    ) -> Option<Instant> {
        let mut next = None;
        for (id, retry_at) in wanted {
            match retry_at.filter(|at| *at > now) {
                Some(at) => next = sooner(next, Some(at)),
                None => {
                    // If the budget refuses one attempt, it refuses the rest.
                    if let Err(until) = self.connect(now, id, subchannels) {
                        return sooner(next, until);
                    }
                }
            }
        }
        next
    }

    /// Makes one connection, to the next endpoint of the list that can be reached.
    fn plan_pick_first<C>(&mut self, now: Instant, subchannels: &mut Subchannels<C>) -> Option<Instant> {
        let Some(ready) = subchannels.listed().find(|subchannel| subchannel.is_ready()) else {
            return self.try_addresses(now, subchannels);
        };
        // Another connection goes to the endpoint whose connection is full.
        let wanted = ready.needs_connection(self.connections_per_endpoint);
        let wanted = wanted.then(|| (ready.id, ready.retry_at())).into_iter().collect();
        self.connect_each(now, wanted, subchannels)
    }

    fn try_addresses<C>(&mut self, now: Instant, subchannels: &mut Subchannels<C>) -> Option<Instant> {
        loop {
            let attempting = subchannels.listed().any(|subchannel| subchannel.attempt.is_some());
            let id = match self.addresses.step(now, attempting) {
                Step::Try(id) => id,
                Step::Wait(at) => return Some(at),
                Step::Exhausted => break,
            };
            let may_try = subchannels.get(id).is_some_and(|subchannel| {
                subchannel.attempt.is_none() && subchannel.retry_at().is_none_or(|at| at <= now)
            });
            if !may_try {
                self.addresses.skip();
                continue;
            }
            if let Err(until) = self.connect(now, id, subchannels) {
                return until;
            }
            self.addresses.attempt_started(now);
        }
        let order = self.addresses.order().iter();
        let at_rest = order.filter_map(|id| subchannels.get(*id).filter(|sub| sub.attempt.is_none()));
        let wanted = at_rest.map(|subchannel| (subchannel.id, subchannel.retry_at())).collect();
        self.connect_each(now, wanted, subchannels)
    }

    /// Begins an attempt, if the budget has room.
    fn connect<C>(
        &mut self,
        now: Instant,
        id: EndpointId,
        subchannels: &mut Subchannels<C>,
    ) -> Result<(), Option<Instant>> {
        self.budget.begin(now, subchannels.dialing())?;
        subchannels.connect(now, id);
        Ok(())
    }
}
