//! When a channel without calls closes its connections.
//!
//! A channel is idle if no call was begun between two looks and none is under way: after one to two
//! timeouts. Calls send no event for it; a counter that they raise anyway suffices.

use std::time::{Duration, Instant};

/// Watches for a channel without calls.
#[derive(Clone, Debug)]
pub struct Idleness {
    timeout: Duration,
    /// `None` if the time is too far ahead to be represented.
    look_at: Option<Instant>,
    calls_begun: u64,
}

impl Idleness {
    /// Creates the state of a channel that begins at `now`.
    pub fn new(timeout: Duration, now: Instant) -> Self {
        Self { timeout, look_at: now.checked_add(timeout), calls_begun: 0 }
    }

    /// Returns when to call [`handle_timeout`](Self::handle_timeout).
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.look_at
    }

    /// Returns true if the channel is idle: see
    /// [`Balancer::handle_idle`](crate::Balancer::handle_idle). `calls_begun` counts all calls so
    /// far. `in_use` is true if one is in flight, or waits for a backend.
    pub fn handle_timeout(&mut self, now: Instant, calls_begun: u64, in_use: bool) -> bool {
        if self.look_at.is_none_or(|at| now < at) {
            return false;
        }
        self.look_at = now.checked_add(self.timeout);
        let unused = std::mem::replace(&mut self.calls_begun, calls_begun) == calls_begun;
        unused && !in_use
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::virtual_time::epoch;

    #[test]
    fn a_channel_is_idle_after_a_whole_timeout_without_a_call() {
        let minute = Duration::from_secs(60);
        let mut idleness = Idleness::new(minute, epoch());
        assert!(!idleness.handle_timeout(epoch() + minute / 2, 0, false), "before its time");
        assert!(!idleness.handle_timeout(epoch() + minute, 3, false), "calls were begun");
        assert!(!idleness.handle_timeout(epoch() + minute * 2, 3, true), "and one goes on");
        assert_eq!(idleness.poll_timeout(), Some(epoch() + minute * 3));
        assert!(idleness.handle_timeout(epoch() + minute * 3, 3, false));
        assert_eq!(Idleness::new(Duration::MAX, epoch()).poll_timeout(), None);
    }
}
