//! What becomes of connections: taking over, ending service, draining, being given up.
//!
//! Only the bookkeeping; when each of these happens is decided by the events in `balancer.rs` and the plan in `plan.rs`.

use std::time::Instant;

use super::{Action, Balancer};
use crate::client::subchannel::{Connection, Ended, Phase, Subchannel};
use crate::connection_id::ConnectionId;
use crate::endpoint::EndpointId;

impl<C> Balancer<C> {
    /// `pick_first` has a new connection: it replaces all others, unless it was made because they are full.
    pub(super) fn arrive(&mut self, endpoint: EndpointId, id: ConnectionId, was_full: bool) {
        let mut retired = Vec::new();
        let mut abandoned = Vec::new();
        for subchannel in self.subchannels.values_mut().filter(|subchannel| subchannel.listed) {
            // One success makes the failures of the others past.
            subchannel.forgive();
            abandoned.extend(subchannel.attempt.map(|_| subchannel.id));
            if !was_full || subchannel.id != endpoint {
                let others =
                    subchannel.serving().map(|connection| connection.slot.id).filter(|other| *other != id);
                retired.extend(others);
            }
        }
        abandoned.into_iter().for_each(|endpoint| self.abandon(endpoint));
        for id in retired {
            self.outdated = true;
            self.drain(id);
        }
        self.walk.reached(endpoint);
    }

    /// A connection has stopped serving by no decision of ours.
    pub(super) fn end_service(&mut self, now: Instant, id: ConnectionId) {
        self.outdated = true;
        self.request_resolution(false);
        if let Some(&endpoint) = self.owners.get(&id)
            && let Some(subchannel) = self.subchannels.get_mut(&endpoint)
        {
            let Some(position) = subchannel.position(id) else { return };
            let Connection { phase, connected_at, answers_before, .. } = subchannel.connections[position];
            subchannel.ended(now, Ended { connected_at, answers_before }, &mut self.rng);
            if phase == Phase::Unhealthy {
                subchannel.forget_verdict(id);
            }
        }
    }

    /// An endpoint has flooded a connection, whatever it was for by then.
    pub(super) fn pause_after_flood(&mut self, now: Instant, endpoint: EndpointId) {
        if let Some(subchannel) = self.subchannels.get_mut(&endpoint) {
            subchannel.flooded(now, &mut self.rng);
        }
    }

    /// Takes no new calls, and is closed after those it has.
    pub(super) fn drain(&mut self, id: ConnectionId) {
        let Some(subchannel) = self.owner_mut(id) else { return };
        let Some(position) = subchannel.position(id) else { return };
        let connection = &mut subchannel.connections[position];
        connection.slot.set_limit(0);
        connection.phase = Phase::Draining { aborted: false };
        let excess = abort_excess(&mut subchannel.connections);
        self.actions.push_back(Action::Close { connection: id, graceful: true });
        if let Some(id) = excess {
            self.actions.push_back(Action::Close { connection: id, graceful: false });
        }
    }

    /// Gives up an endpoint's attempt, and drains its connections.
    pub(super) fn let_go(&mut self, endpoint: EndpointId) {
        self.abandon(endpoint);
        let Some(subchannel) = self.subchannels.get(&endpoint) else { return };
        let open: Vec<_> = subchannel
            .connections
            .iter()
            .filter(|connection| !matches!(connection.phase, Phase::Draining { .. }))
            .map(|connection| connection.slot.id)
            .collect();
        for id in open {
            self.outdated = true;
            self.drain(id);
        }
        self.forget_if_gone(endpoint);
    }

    pub(super) fn abandon(&mut self, endpoint: EndpointId) {
        let Some(subchannel) = self.subchannels.get_mut(&endpoint) else { return };
        if let Some(attempt) = subchannel.attempt.take() {
            self.owners.remove(&attempt.id);
            if attempt.held_since.is_none() {
                self.budget.end();
            }
            self.actions.push_back(Action::Close { connection: attempt.id, graceful: false });
        }
    }

    pub(super) fn remove(&mut self, id: ConnectionId) {
        let Some(endpoint) = self.owners.remove(&id) else { return };
        if let Some(subchannel) = self.subchannels.get_mut(&endpoint) {
            subchannel.connections.retain(|connection| connection.slot.id != id);
        }
        self.forget_if_gone(endpoint);
    }

    pub(super) fn forget_if_gone(&mut self, endpoint: EndpointId) {
        let gone = |subchannel: &Subchannel<C>| !subchannel.listed && subchannel.connections.is_empty();
        if self.subchannels.get(&endpoint).is_some_and(gone) {
            self.subchannels.remove(&endpoint);
        }
    }

    pub(super) fn owner_mut(&mut self, id: ConnectionId) -> Option<&mut Subchannel<C>> {
        self.subchannels.get_mut(self.owners.get(&id)?)
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

/// Streams that outlive many connections to their endpoint would otherwise pile up connections
/// without limit. A server's grace, at its usual 10 s to 30 s and ages above a second, stays below
/// it.
const DRAINING_PER_ENDPOINT_MAX: usize = 32;
