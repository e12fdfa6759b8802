//! Connections whose server reports that it does not serve (gRFC A17).
//!
//! If the user asked for it, the driver watches the health service on each connection. It holds a
//! new connection back until its first healthy report; only then it calls `handle_connected`. Until
//! the first report the endpoint is CONNECTING. While the report is "not serving", it is
//! TRANSIENT_FAILURE: its connection stays open, since the report may change, and no other one is
//! made. A connection in service that turns unhealthy keeps its calls and gets no new ones, so a
//! draining backend loses its share before it sends GOAWAY.
//!
//! A report holds only for its own connection. When that goes away or is lost, the endpoint is
//! CONNECTING again, and calls wait for its next connection: by now another process may have the
//! same address, for example after a restart.

use std::sync::Arc;

use super::{Phase, Subchannel};
use crate::connection_id::ConnectionId;

impl<C> Subchannel<C> {
    /// The server of the connection, or of the attempt, `id` reports that it does not serve.
    /// Returns false if that changes nothing.
    pub(crate) fn mark_unhealthy(&mut self, id: ConnectionId, reason: Arc<str>) -> bool {
        if let Some(attempt) = self.attempt.as_mut().filter(|attempt| attempt.id == id) {
            // It may last; the limit on attempts is for those that are connecting.
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

    /// Returns how many connections have a server that does not serve.
    pub(crate) fn unhealthy(&self) -> usize {
        self.connections.iter().filter(|connection| connection.phase == Phase::Unhealthy).count()
    }
}
