//! Connections that are open, as far as anyone knows, and answer nothing: new calls go elsewhere
//! until it is known which it is.
//!
//! ```text
//!               handle_silent(true)              handle_silent(false), replaced
//!    Serving ─────────────────────────▶ Suspect ───────────────────────────────▶ Draining
//!       ▲                                 │ │
//!       └─── handle_silent(false) ────────┘ └─── handle_closed ▶ forgotten
//! ```
//!
//! Suspicion is quick and may be wrong, so it takes nothing from anybody: calls in flight go on, a
//! successor is connected as for a connection that was lost, and while no endpoint at all serves,
//! suspects are still picked: one that may answer is better than none.

use super::{Connection, Phase, Subchannel};

impl<C> Subchannel<C> {
    /// Connections that may be dead, oldest first.
    pub(crate) fn suspects(&self) -> impl Iterator<Item = &Connection<C>> {
        self.connections.iter().filter(|connection| connection.phase == Phase::Suspect)
    }
}
