//! Connections that seem open but answer nothing. They get no new calls until it is known which is
//! true.
//!
//! ```text
//!               handle_silent(true)              handle_silent(false), replaced
//!    Serving ─────────────────────────▶ Suspect ───────────────────────────────▶ Draining
//!       ▲                                 │ │
//!       └─── handle_silent(false) ────────┘ └─── handle_closed ▶ forgotten
//! ```
//!
//! Suspicion is quick and may be wrong, so it ends nothing. Calls in flight go on. Another
//! connection is made, as if this one were lost. While no endpoint serves, suspects are still
//! picked: one that may answer is better than none.

use super::{Connection, Phase, Subchannel};

impl<C> Subchannel<C> {
    /// Connections that may be dead, oldest first.
    pub(crate) fn suspects(&self) -> impl Iterator<Item = &Connection<C>> {
        self.connections.iter().filter(|connection| connection.phase == Phase::Suspect)
    }
}
