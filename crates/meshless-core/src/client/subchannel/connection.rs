//! One connection to an endpoint, as the balancer sees it: where it is in its life.
//!
//! Kept by its subchannel. It holds the slot that calls share, and never decides when to leave a phase.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::client::balancer::age::AgeEstimate;
use crate::client::picker::lease::Slot;

#[derive(Debug)]
pub(crate) struct Connection<C> {
    pub(crate) slot: Arc<Slot<C>>,
    /// When it was made: its server counts its age from then.
    pub(crate) made_at: Instant,
    /// Since when it takes calls.
    pub(crate) connected_at: Instant,
    /// How long it took to make.
    pub(super) took: Duration,
    /// Calls that the endpoint had answered when it was made.
    pub(crate) answers_before: u64,
    /// The part of its expected age after which a successor is connected.
    pub(crate) rotate_fraction: f64,
    pub(crate) phase: Phase,
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
    /// Replaced ahead of time, and kept until then to see when the server would have ended it.
    Lingering { until: Instant },
    /// Finishes its calls; the driver was told to close it, `aborted`: without waiting for them.
    Draining { aborted: bool },
}

impl<C> Connection<C> {
    /// When to begin its successor: by `lead`, which that takes to make, before the end of its time. Over a long way to a server
    /// with a short age, calls would otherwise wait for each successor. But at most by half of its time: connects are slow after an
    /// outage, too, and another round of them at once would be no help.
    pub(super) fn rotate_at(&self, ages: &AgeEstimate, lead: Duration) -> Option<Instant> {
        let at = ages.point_in_life(self.made_at, self.rotate_fraction)?;
        let earliest = ages.point_in_life(self.made_at, self.rotate_fraction / 2.0)?.max(self.connected_at);
        Some(at.checked_sub(lead).map_or(earliest, |at| at.max(earliest)))
    }

    pub(crate) fn is_due(&self, now: Instant, ages: &AgeEstimate) -> bool {
        self.phase == Phase::Serving && self.rotate_at(ages, self.took).is_some_and(|at| at <= now)
    }

    /// When it has lived long enough to show that its server means it.
    pub(crate) fn proven_at(&self) -> Instant {
        self.connected_at + PROVEN_AFTER
    }
}

/// The specification resets the backoff when a connection is READY. That lets a server which accepts and hangs up be
/// reconnected without a pause, so READY has to last this long. Short, because a deliberate end (GOAWAY of a server that ages
/// its connections) must not be taken for a failure; within it, the bound on connects per second still holds.
pub(super) const PROVEN_AFTER: Duration = Duration::from_millis(20);
