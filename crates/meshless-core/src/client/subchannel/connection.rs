//! One connection to an endpoint, as the balancer sees it, with its phase.
//!
//! Its subchannel keeps it. It holds the [`PickableConnection`] that calls share, and never decides
//! when to leave a phase.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::client::picker::lease::PickableConnection;

#[derive(Debug)]
pub(crate) struct Connection<C> {
    pub(crate) slot: Arc<PickableConnection<C>>,
    /// When it began to take calls.
    pub(crate) connected_at: Instant,
    /// Calls that the endpoint had answered before it was made.
    pub(crate) answers_before: u64,
    pub(crate) phase: Phase,
    /// How often the time between its PINGs was doubled when it was made.
    pub(super) ping_doublings: u32,
}

/// The phase of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Takes calls.
    Serving,
    /// It is silent, and takes calls only while no other connection serves.
    Suspect,
    /// Its server reports that it does not serve.
    Unhealthy,
    /// It finishes its calls; the driver was told to close it. `aborted`: without waiting for them.
    Draining { aborted: bool },
}

impl<C> Connection<C> {
    /// Returns true if it takes no new calls and closes after its open ones.
    pub(crate) fn is_draining(&self) -> bool {
        matches!(self.phase, Phase::Draining { .. })
    }

    /// Returns when it has lived long enough to reset the backoff.
    pub(crate) fn proven_at(&self) -> Instant {
        self.connected_at + PROVEN_AFTER
    }
}

/// The specification resets the backoff when a connection is READY. A server that accepts and then
/// closes would so be reconnected without a pause, so READY has to last this long. It is short,
/// because an intended end (GOAWAY of a server that ages its connections) must not count as a
/// failure. Within it, connects per second are still limited.
pub(super) const PROVEN_AFTER: Duration = Duration::from_millis(20);
