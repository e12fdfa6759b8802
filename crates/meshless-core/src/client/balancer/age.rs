//! What a client learns of the age at which a target's servers end connections, to be ahead of it.
//!
//! Servers do not announce their `max_connection_age`, but a GOAWAY on a connection in service shows it, give or take
//! the jitter of ±10 % (gRFC A9). From the first one on, connections are replaced before that age, so that no call
//! waits for a handshake.
//!
//! Who replaces ahead of time sees no GOAWAY any more, and would keep an estimate that was never right (a rolling
//! restart looks like an age) or that has become wrong. So one connection of the channel at a time is a *scout*:
//! replaced like the others, but kept open, without new calls, until the server ends it. A scout that outlives the
//! estimate by half of it refutes it.

use std::time::{Duration, Instant};

use crate::connection_id::ConnectionId;

#[derive(Debug, Default)]
pub(crate) struct AgeEstimate {
    /// The shortest life of a connection that a server has ended while it served.
    shortest: Option<Duration>,
    scout: Option<ConnectionId>,
}

impl AgeEstimate {
    /// The server has ended a connection in service after `lifetime`.
    pub(crate) fn observe(&mut self, lifetime: Duration) {
        if lifetime >= SHORTEST_AGE {
            self.shortest = Some(self.shortest.map_or(lifetime, |shortest| shortest.min(lifetime)));
        }
    }

    /// Makes a replaced connection the scout, if one is wanted, and says how long to keep it at most.
    pub(crate) fn send_scout(&mut self, id: ConnectionId, made_at: Instant) -> Option<Instant> {
        if self.scout.is_some() {
            return None;
        }
        let until = self.point_in_life(made_at, REFUTED_AT)?;
        self.scout = Some(id);
        Some(until)
    }

    /// The server has ended the scout: there is such an age. Lives that differ by more than the jitter
    /// explains (1.1 / 0.9) show that it has grown. That they are shorter shows nothing: an idle connection may have been
    /// ended for being idle.
    pub(crate) fn scout_ended(&mut self, lifetime: Duration) {
        self.scout = None;
        self.shortest = self
            .shortest
            .map(|shortest| if lifetime > shortest.mul_f64(GROWN_BY) { lifetime } else { shortest });
    }

    /// The scout has lived too long: there is no such age.
    pub(crate) fn refute(&mut self) {
        *self = Self::default();
    }

    /// The scout is gone, and nothing was learned.
    pub(crate) fn forget_scout(&mut self) {
        self.scout = None;
    }

    /// The moment when `fraction` of the expected age has passed.
    pub(crate) fn point_in_life(&self, made_at: Instant, fraction: f64) -> Option<Instant> {
        made_at.checked_add(self.shortest?.mul_f64(fraction))
    }

    pub(crate) fn scout(&self) -> Option<ConnectionId> {
        self.scout
    }

    pub(crate) fn expected(&self) -> Option<Duration> {
        self.shortest
    }
}

/// Successors are connected at a part of the expected age that is drawn from this range for each connection, and begun as much
/// earlier as connecting takes. One observation may be as late as 1.1 of the age and another connection may end at 0.9 of it:
/// 0.9 / 1.1 = 0.818. The range keeps connections that were made together from being replaced together for ever.
pub(crate) const ROTATE_FRACTION: std::ops::Range<f64> = 0.72..0.80;
const REFUTED_AT: f64 = 1.5;
const GROWN_BY: f64 = 1.25;
/// Below this, connecting ahead would be most of what a client does; such a server is drained or broken, not ageing.
const SHORTEST_AGE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::virtual_time::epoch;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_successor_is_early_enough_for_any_jitter() {
        let mut ages = AgeEstimate::default();
        assert_eq!(ages.point_in_life(epoch(), ROTATE_FRACTION.end), None, "nothing is known yet");
        ages.observe(SECOND.mul_f64(1.1));
        let rotate_at = ages.point_in_life(epoch(), ROTATE_FRACTION.end).unwrap();
        assert!(rotate_at < epoch() + SECOND.mul_f64(0.9));
        ages.observe(SECOND.mul_f64(0.95));
        assert_eq!(ages.expected(), Some(SECOND.mul_f64(0.95)));
    }

    #[test]
    fn one_scout_at_a_time_confirms_or_refutes() {
        let (first, second) = (ConnectionId(1), ConnectionId(2));
        let mut ages = AgeEstimate::default();
        assert_eq!(ages.send_scout(first, epoch()), None, "nothing to find out");
        ages.observe(SECOND);
        assert_eq!(ages.send_scout(first, epoch()), Some(epoch() + SECOND.mul_f64(1.5)));
        assert_eq!(ages.send_scout(second, epoch()), None);
        ages.scout_ended(SECOND.mul_f64(0.85));
        assert_eq!(ages.expected(), Some(SECOND), "an idle limit does not shorten the age");
        assert!(ages.send_scout(second, epoch()).is_some());
        ages.scout_ended(SECOND.mul_f64(1.4));
        assert_eq!(ages.expected(), Some(SECOND.mul_f64(1.4)), "the age has grown");
        ages.refute();
        assert_eq!(ages.expected(), None);
    }

    #[test]
    fn a_server_that_hangs_up_is_not_taken_for_one_that_ages() {
        let mut ages = AgeEstimate::default();
        ages.observe(Duration::from_millis(3));
        assert_eq!(ages.expected(), None);
    }
}
