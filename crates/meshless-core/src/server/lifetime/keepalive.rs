//! When to ask a silent client whether it is still there, and when to give it up (gRFC A9).
//!
//! ```text
//!           nothing received for `time`           nothing received for `timeout`
//!   heard ────────────────────────────▶ pinged ─────────────────────────────────▶ close
//!     ▲                                   │
//!     └───────── anything received ───────┘
//! ```
//!
//! With or without calls, and on a connection that is going away too, as in grpc-go (`http2_server.go`, `keepalive`). Owned by
//! the lifetime machine. What is received moves no timer, only the next look at when that was; so a busy connection pays
//! nothing for it, and a PING comes neither before `time` has passed nor later.

use std::time::{Duration, Instant};

use super::after;

/// The silence of one client.
#[derive(Clone, Debug)]
pub(super) struct Keepalive {
    time: Duration,
    timeout: Duration,
    /// `None` before the connection is established.
    received_at: Option<Instant>,
    /// A PING is out, and nothing has come since.
    pinged: bool,
    look_at: Option<Instant>,
}

/// What the silence calls for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Ping,
    Close,
}

impl Keepalive {
    pub(super) fn new(time: Duration, timeout: Duration) -> Self {
        Self { time: time.max(TIME_MIN), timeout, received_at: None, pinged: false, look_at: None }
    }

    /// The connection is established.
    pub(super) fn begin(&mut self, now: Instant) {
        self.received_at = Some(now);
        self.look_at = after(now, Some(self.time));
    }

    /// Bytes came. Any will do: a client that sends need not answer a PING to be there.
    pub(super) fn handle_received(&mut self, now: Instant) {
        if self.received_at.is_none() {
            return;
        }
        self.received_at = Some(now);
        if std::mem::take(&mut self.pinged) {
            // The timeout may be longer than the time.
            self.look_at = after(now, Some(self.time));
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) -> Option<Verdict> {
        if self.look_at.is_none_or(|at| now < at) {
            return None;
        }
        if self.pinged {
            return Some(Verdict::Close);
        }
        self.look_at = self.received_at.and_then(|at| after(at, Some(self.time)));
        if self.look_at.is_none_or(|at| now < at) {
            return None;
        }
        self.pinged = true;
        self.look_at = after(now, Some(self.timeout));
        Some(Verdict::Ping)
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.look_at
    }
}

/// "a minimum value of 1s will be used" (grpc-go, `keepalive.ServerParameters`).
const TIME_MIN: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::virtual_time::epoch;

    fn at(seconds: u64) -> Instant {
        epoch() + Duration::from_secs(seconds)
    }

    fn begun(time: u64, timeout: u64) -> Keepalive {
        let mut keepalive = Keepalive::new(Duration::from_secs(time), Duration::from_secs(timeout));
        keepalive.begin(at(0));
        keepalive
    }

    #[test]
    fn a_silent_client_is_asked_once_and_then_given_up() {
        let mut keepalive = begun(60, 20);
        assert_eq!(keepalive.handle_timeout(at(59)), None);
        assert_eq!(keepalive.poll_timeout(), Some(at(60)));
        assert_eq!(keepalive.handle_timeout(at(60)), Some(Verdict::Ping));
        assert_eq!(keepalive.handle_timeout(at(79)), None);
        assert_eq!(keepalive.poll_timeout(), Some(at(80)));
        assert_eq!(keepalive.handle_timeout(at(80)), Some(Verdict::Close));
    }

    #[test]
    fn what_comes_puts_the_ping_off_without_moving_the_timer() {
        let mut keepalive = begun(60, 20);
        for second in 1..50 {
            keepalive.handle_received(at(second));
            assert_eq!(keepalive.poll_timeout(), Some(at(60)));
        }
        assert_eq!(keepalive.handle_timeout(at(60)), None);
        assert_eq!(keepalive.poll_timeout(), Some(at(109)));
        assert_eq!(keepalive.handle_timeout(at(109)), Some(Verdict::Ping));
    }

    #[test]
    fn anything_that_comes_after_a_ping_is_life_even_at_the_last_moment_and_with_a_long_timeout() {
        for timeout in [20, 200] {
            let mut keepalive = begun(60, timeout);
            assert_eq!(keepalive.handle_timeout(at(60)), Some(Verdict::Ping));
            keepalive.handle_received(at(60 + timeout));
            assert_eq!(keepalive.poll_timeout(), Some(at(120 + timeout)));
            assert_eq!(keepalive.handle_timeout(at(60 + timeout)), None);
            assert_eq!(keepalive.handle_timeout(at(120 + timeout)), Some(Verdict::Ping));
        }
    }

    #[test]
    fn before_the_connection_is_established_and_without_bounds_nothing_is_due() {
        let mut keepalive = Keepalive::new(Duration::from_secs(60), Duration::from_secs(20));
        keepalive.handle_received(at(0));
        assert_eq!((keepalive.poll_timeout(), keepalive.handle_timeout(at(1000))), (None, None));
        let mut keepalive = Keepalive::new(Duration::MAX, Duration::ZERO);
        keepalive.begin(at(0));
        assert_eq!((keepalive.poll_timeout(), keepalive.handle_timeout(at(1000))), (None, None));
        let mut keepalive = Keepalive::new(Duration::ZERO, Duration::MAX);
        keepalive.begin(at(0));
        assert_eq!(keepalive.handle_timeout(at(1)), Some(Verdict::Ping));
        assert_eq!((keepalive.poll_timeout(), keepalive.handle_timeout(at(1000))), (None, None));
    }
}
