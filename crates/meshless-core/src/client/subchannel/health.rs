//! Connections whose server says that it does not serve (gRFC A17).
//!
//! The driver watches the health service on each connection, if the user asked for it, and holds a
//! new connection back until it is first said to be healthy: only then is it `handle_connected`.
//! Until the first answer the endpoint is CONNECTING; while the answer is no, it is
//! TRANSIENT_FAILURE, its connection stays open for the answer to change, and no other one is made.
//! A connection in service that turns unhealthy keeps its calls and gets no new ones, so a backend
//! that drains loses its share before it sends GOAWAY.
//!
//! What was said holds for the connection that it was said on. When that goes away or is lost, the
//! endpoint is CONNECTING again, and calls wait for its next connection: at the same address there
//! may be another process by now (one that was restarted).

use std::sync::Arc;

use super::{Phase, Subchannel};
use crate::connection_id::ConnectionId;

impl<C> Subchannel<C> {
    /// The server of the connection, or of the attempt, `id` says that it does not serve. Returns
    /// false if that changes nothing.
    pub(crate) fn mark_unhealthy(&mut self, id: ConnectionId, reason: Arc<str>) -> bool {
        if let Some(attempt) = self.attempt.as_mut().filter(|attempt| attempt.id == id) {
            // It may last; the bound on attempts is for those that dial.
            attempt.held = true;
        } else if let Some(position) = self.position(id) {
            let connection = &mut self.connections[position];
            if connection.is_draining() {
                return false;
            }
            connection.phase = Phase::Unhealthy;
        }
        self.last_error = Some(reason);
        self.failed = !self.is_ready();
        true
    }

    /// The connection `id` takes calls again.
    pub(crate) fn resume_service(&mut self, id: ConnectionId) {
        if let Some(position) = self.position(id) {
            self.connections[position].phase = Phase::Serving;
        }
        self.clear_failure();
    }

    /// How many connections have a server that does not serve.
    pub(crate) fn unhealthy(&self) -> usize {
        self.connections.iter().filter(|connection| connection.phase == Phase::Unhealthy).count()
    }
}
