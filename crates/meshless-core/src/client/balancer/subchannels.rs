//! The subchannels of one channel: the endpoint of each connection, and the life of connections.
//!
//! This is bookkeeping only: connections take over, drain, or are abandoned. The events in
//! `balancer.rs` and the connect planner decide when. A connection leaves in one of these ways:
//!
//! ```text
//!    attempt ── abandon ──▶ Close { graceful: false }, forgotten at once
//!    connection ── drain ──▶ Close { graceful: true }, forgotten when the driver says that it is closed
//! ```

use std::collections::BTreeMap;
use std::time::Instant;

use super::Action;
use super::action::Outbox;
use crate::backoff::BackoffConfig;
use crate::client::subchannel::{Connection, Phase, Subchannel};
use crate::connection_id::ConnectionId;
use crate::endpoint::{Endpoint, EndpointId};
use crate::rng::Rng;

#[derive(Debug)]
pub(super) struct Subchannels<C> {
    /// One per listed endpoint, and one per former endpoint that has open connections.
    by_endpoint: BTreeMap<EndpointId, Subchannel<C>>,
    /// The endpoint of every known connection and attempt.
    owners: BTreeMap<ConnectionId, EndpointId>,
    last_connection: u64,
    backoff: BackoffConfig,
    /// Actions for the driver that it has not polled yet. Every part of the balancer adds to them.
    pub(super) outbox: Outbox<C>,
}

impl<C> Subchannels<C> {
    pub(super) fn new(backoff: BackoffConfig) -> Self {
        let outbox = Outbox::default();
        Self { by_endpoint: BTreeMap::new(), owners: BTreeMap::new(), last_connection: 0, backoff, outbox }
    }

    /// Returns the subchannel of a listed endpoint; creates it if there is none. `newcomer` is true
    /// if it was not there when the channel began.
    pub(super) fn list(&mut self, id: EndpointId, endpoint: &Endpoint, newcomer: bool) -> &mut Subchannel<C> {
        let new = || Subchannel::new(id, endpoint.address.clone(), self.backoff, newcomer);
        self.by_endpoint.entry(id).or_insert_with(new)
    }

    /// The resolver no longer lists the endpoint: its connections finish their calls.
    pub(super) fn unlist(&mut self, id: EndpointId) {
        if let Some(subchannel) = self.get_mut(id) {
            subchannel.listed = false;
        }
        self.let_go(id);
    }

    /// Begins an attempt to connect to an endpoint.
    pub(super) fn connect(&mut self, now: Instant, id: EndpointId) {
        let Some(subchannel) = self.by_endpoint.get_mut(&id) else { return };
        self.last_connection += 1;
        let connection = ConnectionId(self.last_connection);
        let timeout = subchannel.begin(now, connection);
        self.owners.insert(connection, id);
        let (address, ping_doublings) = (subchannel.address.clone(), subchannel.ping_doublings);
        self.outbox.push(Action::Connect { connection, endpoint: id, address, timeout, ping_doublings });
    }

    /// The attempt `id` has ended without a connection.
    pub(super) fn forget_attempt(&mut self, id: ConnectionId) {
        self.owners.remove(&id);
    }

    /// A connection has stopped serving, and the balancer did not decide it.
    pub(super) fn end_service(&mut self, now: Instant, id: ConnectionId, rng: &mut Rng) {
        if let Some(subchannel) = self.owner_mut(id) {
            subchannel.end_service(now, id, rng);
        }
    }

    /// Gives the connection no new calls, and closes it after its open ones.
    pub(super) fn drain(&mut self, id: ConnectionId) {
        let Some(subchannel) = self.owner_mut(id) else { return };
        let Some(position) = subchannel.position(id) else { return };
        let connection = &mut subchannel.connections[position];
        connection.slot.set_limit(0);
        connection.phase = Phase::Draining { aborted: false };
        let excess = abort_excess(&mut subchannel.connections);
        self.outbox.push(Action::Close { connection: id, graceful: true });
        if let Some(id) = excess {
            self.outbox.push(Action::Close { connection: id, graceful: false });
        }
    }

    /// Abandons the attempt at an endpoint, and drains its connections.
    pub(super) fn let_go(&mut self, endpoint: EndpointId) {
        self.abandon(endpoint);
        let Some(subchannel) = self.get(endpoint) else { return };
        let open = subchannel.connections.iter().filter(|connection| !connection.is_draining());
        for id in open.map(|connection| connection.slot.id).collect::<Vec<_>>() {
            self.outbox.outdate_picker();
            self.drain(id);
        }
        self.forget_if_gone(endpoint);
    }

    /// Does so for every endpoint.
    pub(super) fn let_go_all(&mut self) {
        for endpoint in self.by_endpoint.keys().copied().collect::<Vec<_>>() {
            self.let_go(endpoint);
        }
    }

    /// Abandons the attempt at an endpoint.
    pub(super) fn abandon(&mut self, endpoint: EndpointId) {
        let Some(attempt) = self.get_mut(endpoint).and_then(|subchannel| subchannel.attempt.take()) else {
            return;
        };
        self.forget_attempt(attempt.id);
        self.outbox.push(Action::Close { connection: attempt.id, graceful: false });
    }

    /// Removes a connection that is gone.
    pub(super) fn remove(&mut self, id: ConnectionId) {
        let Some(endpoint) = self.owners.remove(&id) else { return };
        if let Some(subchannel) = self.get_mut(endpoint) {
            subchannel.connections.retain(|connection| connection.slot.id != id);
        }
        self.forget_if_gone(endpoint);
    }

    fn forget_if_gone(&mut self, endpoint: EndpointId) {
        let gone = |subchannel: &Subchannel<C>| !subchannel.listed && subchannel.connections.is_empty();
        if self.get(endpoint).is_some_and(gone) {
            self.by_endpoint.remove(&endpoint);
        }
    }

    pub(super) fn get(&self, id: EndpointId) -> Option<&Subchannel<C>> {
        self.by_endpoint.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: EndpointId) -> Option<&mut Subchannel<C>> {
        self.by_endpoint.get_mut(&id)
    }

    /// Returns all subchannels, in the order of their ids.
    pub(super) fn all(&self) -> impl ExactSizeIterator<Item = &Subchannel<C>> {
        self.by_endpoint.values()
    }

    pub(super) fn all_mut(&mut self) -> impl Iterator<Item = &mut Subchannel<C>> {
        self.by_endpoint.values_mut()
    }

    /// Returns the subchannels of listed endpoints, in the order of their ids.
    pub(super) fn listed(&self) -> impl Iterator<Item = &Subchannel<C>> {
        self.all().filter(|subchannel| subchannel.listed)
    }

    pub(super) fn listed_mut(&mut self) -> impl Iterator<Item = &mut Subchannel<C>> {
        self.all_mut().filter(|subchannel| subchannel.listed)
    }

    /// Returns true if a listed endpoint is ready.
    pub(super) fn any_ready(&self) -> bool {
        self.listed().any(Subchannel::is_ready)
    }

    /// Counts the attempts under way, except those held back by an unhealthy server.
    pub(super) fn dialing(&self) -> usize {
        self.all().filter(|subchannel| subchannel.attempt.is_some_and(|attempt| !attempt.is_held())).count()
    }

    /// Returns the endpoint of a connection or an attempt.
    pub(super) fn owner(&self, id: ConnectionId) -> Option<EndpointId> {
        self.owners.get(&id).copied()
    }

    pub(super) fn owner_mut(&mut self, id: ConnectionId) -> Option<&mut Subchannel<C>> {
        self.by_endpoint.get_mut(self.owners.get(&id)?)
    }

    /// Returns the subchannel whose attempt is `id`.
    pub(super) fn attempt_mut(&mut self, id: ConnectionId) -> Option<&mut Subchannel<C>> {
        self.owner_mut(id).filter(|subchannel| subchannel.attempt.is_some_and(|attempt| attempt.id == id))
    }

    pub(super) fn connection(&self, id: ConnectionId) -> Option<(&Subchannel<C>, &Connection<C>)> {
        let subchannel = self.get(self.owner(id)?)?;
        Some((subchannel, &subchannel.connections[subchannel.position(id)?]))
    }

    pub(super) fn connection_mut(&mut self, id: ConnectionId) -> Option<&mut Connection<C>> {
        let subchannel = self.owner_mut(id)?;
        let position = subchannel.position(id)?;
        subchannel.connections.get_mut(position)
    }
}

/// Picks the oldest draining connection of an endpoint that has too many of them.
fn abort_excess<C>(connections: &mut [Connection<C>]) -> Option<ConnectionId> {
    let waiting = |connection: &&mut Connection<C>| connection.phase == Phase::Draining { aborted: false };
    if connections.iter_mut().filter(waiting).count() <= DRAINING_PER_ENDPOINT_MAX {
        return None;
    }
    let oldest = connections.iter_mut().find(waiting)?;
    oldest.phase = Phase::Draining { aborted: true };
    Some(oldest.slot.id)
}

/// Long streams would otherwise pile up connections without limit when their endpoint rotates
/// often. A server's grace, at its usual 10 s to 30 s and ages above a second, stays below it.
const DRAINING_PER_ENDPOINT_MAX: usize = 32;
