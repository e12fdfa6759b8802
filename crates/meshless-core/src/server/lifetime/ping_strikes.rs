//! Counts the pings that come too often (gRFC A8), for one connection of a server.
//!
//! The lifetime machine calls it. It never looks at the payload of pings: keepalive and bandwidth
//! estimation look alike. Bandwidth estimation passes because sent data resets the strikes.

use std::time::{Duration, Instant};

/// The strikes of one client.
#[derive(Clone, Debug)]
pub(super) struct PingStrikes {
    interval_min: Duration,
    interval_min_without_calls: Duration,
    last_ping: Option<Instant>,
    strikes: u32,
    forgiven: bool,
}

impl PingStrikes {
    pub(super) fn new(interval_min: Duration, without_calls: bool) -> Self {
        Self {
            interval_min,
            interval_min_without_calls: if without_calls {
                interval_min
            } else {
                PING_INTERVAL_MIN_WITHOUT_CALLS
            },
            last_ping: None,
            strikes: 0,
            forgiven: false,
        }
    }

    /// HEADERS or DATA were sent: "the ping strikes are reset when a data or header frame is sent"
    /// (gRFC A8).
    pub(super) fn handle_response_sent(&mut self) {
        self.forgiven = true;
    }

    /// A ping came. Returns true if it was one too many.
    #[must_use]
    pub(super) fn handle_ping(&mut self, now: Instant, calls: usize) -> bool {
        let interval_min = if calls == 0 { self.interval_min_without_calls } else { self.interval_min };
        let too_soon = self.last_ping.is_some_and(|last| now.saturating_duration_since(last) < interval_min);
        self.last_ping = Some(now);
        if std::mem::take(&mut self.forgiven) {
            self.strikes = 0;
        } else if too_soon {
            self.strikes += 1;
        }
        self.strikes > MAX_PING_STRIKES
    }
}

/// "MAX_PING_STRIKES: 2" (gRFC A8): the third closes the connection.
const MAX_PING_STRIKES: u32 = 2;

/// Without calls, a client needs no keepalive and may ping as rarely as TCP keepalive does: 2 h
/// (gRFC A8).
const PING_INTERVAL_MIN_WITHOUT_CALLS: Duration = Duration::from_secs(2 * 3600);

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test needs some instant to begin at")]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Returns how many pings every `interval`, with `calls` open, pass until one is too many; at
    /// most ten.
    fn pings_borne(strikes: &mut PingStrikes, interval: Duration, calls: usize) -> usize {
        let start = Instant::now();
        (0..10u32).take_while(|n| !strikes.handle_ping(start + interval * *n, calls)).count()
    }

    #[test]
    fn the_third_strike_is_one_too_many() {
        // The first ping has no predecessor, so it cannot come too soon.
        assert_eq!(pings_borne(&mut PingStrikes::new(300 * SECOND, false), 299 * SECOND, 1), 3);
        assert_eq!(pings_borne(&mut PingStrikes::new(300 * SECOND, false), 300 * SECOND, 1), 10);
    }

    #[test]
    fn without_calls_two_hours_must_pass() {
        assert_eq!(pings_borne(&mut PingStrikes::new(300 * SECOND, false), 7199 * SECOND, 0), 3);
        assert_eq!(pings_borne(&mut PingStrikes::new(300 * SECOND, false), 7200 * SECOND, 0), 10);
        assert_eq!(pings_borne(&mut PingStrikes::new(300 * SECOND, true), 300 * SECOND, 0), 10);
    }

    #[test]
    fn a_sent_response_resets_the_strikes() {
        let mut strikes = PingStrikes::new(300 * SECOND, false);
        let start = Instant::now();
        for second in 0..20u32 {
            if second % 3 == 0 {
                strikes.handle_response_sent();
            }
            assert!(!strikes.handle_ping(start + SECOND * second, 1), "ping {second}");
        }
    }
}
