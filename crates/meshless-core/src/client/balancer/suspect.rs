//! Connections that are open, as far as anyone knows, and answer nothing: new calls go elsewhere until it is known which it is.
//!
//! ```text
//!               handle_silent(true)              handle_silent(false), replaced
//!    Serving ─────────────────────────▶ Suspect ───────────────────────────────▶ Draining
//!       ▲                                 │ │
//!       └─── handle_silent(false) ────────┘ └─── handle_closed ▶ forgotten
//! ```
//!
//! Suspicion is quick and may be wrong, so it takes nothing from anybody: calls in flight go on, a successor is connected as for a
//! connection that was lost, and while no endpoint at all serves, suspects are still picked: one that may answer is better than none.

use std::time::Instant;

use super::Balancer;
use crate::client::picker::Policy;
use crate::client::subchannel::Phase;
use crate::connection_id::ConnectionId;

impl<C> Balancer<C> {
    /// A connection to which calls were sent has not answered with a single byte for a while (`silent`), or does so again. The driver
    /// decides how long that is, and when to close it.
    pub fn handle_silent(&mut self, now: Instant, id: ConnectionId, silent: bool) {
        let Some(connection) = self.connection_mut(id) else { return };
        match (connection.phase, silent) {
            (Phase::Serving, true) => {
                connection.phase = Phase::Suspect;
                // Its address may be one that has gone.
                self.request_resolution(false);
            }
            (Phase::Suspect, false) => self.acquit(id),
            _ => return,
        }
        self.outdated = true;
        self.settle(now);
    }

    /// It answers after all. Whatever was to replace it is not needed, or has replaced it already.
    fn acquit(&mut self, id: ConnectionId) {
        let Some(&endpoint) = self.owners.get(&id) else { return };
        let Some(subchannel) = self.subchannels.get(&endpoint) else { return };
        if !subchannel.listed || subchannel.is_ready() || self.walk_has_moved_on() {
            return self.drain(id);
        }
        self.abandon(endpoint);
        if let Some(connection) = self.connection_mut(id) {
            connection.phase = Phase::Serving;
        }
        if let Some(subchannel) = self.subchannels.get_mut(&endpoint) {
            subchannel.clear_failure();
        }
    }

    /// Whether `pick_first` has connected to another endpoint.
    pub(super) fn walk_has_moved_on(&self) -> bool {
        self.config.policy == Policy::PickFirst && self.listed().any(|subchannel| subchannel.is_ready())
    }
}
