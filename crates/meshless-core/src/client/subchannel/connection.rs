//! One connection to an endpoint, as the balancer sees it: where it is in its life.
//!
//! Kept by its subchannel. It holds the slot that calls share, and never decides when to leave a
//! phase.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::client::picker::lease::PickableConnection;

#[derive(Debug)]
pub(crate) struct Connection<C> {
    pub(crate) slot: Arc<PickableConnection<C>>,
    /// Since when it takes calls.
    pub(crate) connected_at: Instant,
    /// Calls that the endpoint had answered when it was made.
    pub(crate) answers_before: u64,
    pub(crate) phase: Phase,
    /// With how many doublings of the time between PINGs it was begun.
    pub(super) ping_doublings: u32,
}

/// Where a connection is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Takes calls.
    Serving,
    /// Has fallen silent: takes calls only while nothing serves.
    Suspect,
    /// Its server says that it does not serve.
    Unhealthy,
    /// Finishes its calls; the driver was told to close it, `aborted`: without waiting for them.
    Draining { aborted: bool },
}

impl<C> Connection<C> {
    /// Takes no calls any more, and is closed after those it has.
    pub(crate) fn is_draining(&self) -> bool {
        matches!(self.phase, Phase::Draining { .. })
    }

    /// When it has lived long enough to show that its server means it.
    pub(crate) fn proven_at(&self) -> Instant {
        self.connected_at + PROVEN_AFTER
    }
}

/// The specification resets the backoff when a connection is READY. That lets a server which
/// accepts and hangs up be reconnected without a pause, so READY has to last this long. Short,
/// because a deliberate end (GOAWAY of a server that ages its connections) must not be taken for a
/// failure; within it, the bound on connects per second still holds.
pub(super) const PROVEN_AFTER: Duration = Duration::from_millis(20);
