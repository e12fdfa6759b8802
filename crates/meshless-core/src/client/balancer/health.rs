//! Connections whose server says that it does not serve (gRFC A17).
//!
//! The driver watches the health service on each connection, if the user asked for it, and holds a
//! new connection back until it is first said to be healthy: only then is it `handle_connected`.
//! Until the first answer the endpoint is CONNECTING; while the answer is no, it is
//! TRANSIENT_FAILURE, its connection stays open for the answer to change, and no other one is made.
//! A connection in service that turns unhealthy keeps its calls and gets no new ones, so a backend
//! that drains loses its share before it sends GOAWAY.
//!
//! What was said holds for the connection that it was said on. When that goes away or is lost, the endpoint is CONNECTING again, and calls
//! wait for its next connection: at the same address there may be another process by now (one that was restarted).

use std::sync::Arc;
use std::time::Instant;

use super::Balancer;
use crate::client::subchannel::Phase;
use crate::connection_id::ConnectionId;

impl<C> Balancer<C> {
    /// The server at the other end of a connection, or of an attempt that is all but made, says that it serves, or why not.
    pub fn handle_health(&mut self, now: Instant, id: ConnectionId, health: Result<(), impl Into<Arc<str>>>) {
        match health {
            Ok(()) => self.healthy(id),
            Err(reason) => self.unhealthy(now, id, reason.into()),
        }
        self.settle(now);
    }

    /// A connection that was not yet in service has gone away, or for `error` is lost. Where the HTTP/2 handshake was done (only then is there a
    /// GOAWAY, or a word about health) that is at first no failure to connect: such a server is about to be replaced.
    pub(super) fn end_attempt(&mut self, now: Instant, id: ConnectionId, error: Option<Arc<str>>) {
        let Some(&endpoint) = self.owners.get(&id) else { return };
        let Some(subchannel) = self.subchannels.get_mut(&endpoint) else { return };
        let Some(attempt) = subchannel.attempt.filter(|attempt| attempt.id == id) else { return };
        let error = match error {
            Some(error) if attempt.held_since.is_none() => return self.handle_connect_failed(now, id, error),
            Some(error) => error,
            None => "the server went away before it was ready".into(),
        };
        let failed = subchannel.attempt_hung_up(now, &mut self.rng, error);
        if attempt.held_since.is_none() {
            self.budget.end();
        }
        self.owners.remove(&id);
        self.outdated = true;
        self.request_resolution(failed && self.all_failed());
        self.settle(now);
    }

    fn healthy(&mut self, id: ConnectionId) {
        if self.connection_mut(id).is_none_or(|connection| connection.phase != Phase::Unhealthy) {
            return;
        }
        self.outdated = true;
        if self.walk_has_moved_on() {
            return self.drain(id);
        }
        if let Some(connection) = self.connection_mut(id) {
            connection.phase = Phase::Serving;
        }
        if let Some(subchannel) = self.owner_mut(id) {
            subchannel.clear_failure();
        }
    }

    fn unhealthy(&mut self, now: Instant, id: ConnectionId, reason: Arc<str>) {
        let Some(subchannel) = self.owner_mut(id) else { return };
        let mut ends_attempt = false;
        if let Some(attempt) = subchannel.attempt.as_mut().filter(|attempt| attempt.id == id) {
            // It may last; the budget is for those that dial.
            ends_attempt = attempt.held_since.is_none();
            attempt.held_since.get_or_insert(now);
        } else if let Some(position) = subchannel.position(id) {
            let connection = &mut subchannel.connections[position];
            if matches!(connection.phase, Phase::Draining { .. }) {
                return;
            }
            connection.phase = Phase::Unhealthy;
        }
        subchannel.last_error = Some(reason);
        subchannel.failed = !subchannel.is_ready();
        self.outdated = true;
        if ends_attempt {
            self.budget.end();
        }
    }
}
