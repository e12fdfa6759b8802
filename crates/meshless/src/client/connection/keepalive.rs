//! When to send a PING, and when to give the peer up (gRFC A8).
//!
//! ```text
//!            nothing read for `time`,               `timeout` passed
//!            calls open
//!   quiet ────────────────────────────▶ pinged ─────────────────────▶ close
//!     ▲                                    │
//!     └────────── anything read ───────────┘
//! ```
//!
//! A machine without a clock: the connection's task feeds it what was read and asks it for the next deadline. It
//! never pings a connection without calls unless told to, since gRPC servers count such PINGs as abuse.

use std::time::Duration;

use tokio::time::Instant;

use super::stall::{FREE_PINGS, PERMITTED_SPACING, Read};

/// How a connection finds out that its peer is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeepaliveConfig {
    /// Silence after which a PING is sent.
    time: Duration,
    /// Silence after a PING after which the connection is closed.
    timeout: Duration,
    /// Whether to ping while no call is open.
    without_calls: bool,
    /// Whether to slow down to what servers permit by default when a server sends neither HEADERS nor DATA.
    sparing: bool,
}

impl KeepaliveConfig {
    /// A PING after `time` of silence while calls are open, and the end after 20 s without an answer.
    ///
    /// "Clients … will not send more than one ping every 10 seconds" (A8), so less than 10 s counts as 10 s.
    pub(crate) fn every(time: Duration) -> Self {
        Self {
            time: time.clamp(MIN_TIME, MAX_TIME),
            timeout: DEFAULT_TIMEOUT,
            without_calls: false,
            sparing: false,
        }
    }

    /// For a time that nobody has agreed on with the server: after two PINGs without HEADERS or DATA from it, the next ones are 5 min
    /// apart. A server forgives two strikes, and permits one PING in 5 min (A8).
    pub(crate) fn sparing(self) -> Self {
        Self { sparing: true, ..self }
    }

    /// Sets the silence after a PING after which the connection is closed. Default 20 s.
    pub(crate) fn timeout(self, timeout: Duration) -> Self {
        Self { timeout: timeout.min(MAX_TIME), ..self }
    }

    /// The silence after which the peer is given up, which is for TCP the time without an acknowledgement (gRFC A18).
    pub(super) fn patience(&self) -> Duration {
        self.timeout
    }

    /// Sets whether to ping while no call is open. Default `false`; many servers answer `true` with GOAWAY.
    pub(crate) fn without_calls(self, without_calls: bool) -> Self {
        Self { without_calls, ..self }
    }

    /// What a client must use after a server ended `times` connections with GOAWAY
    /// `too_many_pings`: each doubles the time (A8).
    pub(crate) fn doubled(self, times: u32) -> Self {
        Self { time: self.time.saturating_mul(2u32.saturating_pow(times)).min(MAX_TIME), ..self }
    }
}

/// What [`Keepalive::handle_timeout`] wants done.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum KeepaliveAction {
    /// Nothing yet.
    Wait,
    /// Send a PING.
    Ping,
    /// The peer is gone: close.
    Close,
}

/// The state of one connection's keepalive.
#[derive(Debug)]
pub(super) struct Keepalive {
    config: KeepaliveConfig,
    read_at: Instant,
    pinged_at: Option<Instant>,
    /// PINGs since HEADERS or DATA were read.
    quiet_pings: u32,
}

impl Keepalive {
    pub(super) fn new(config: KeepaliveConfig, now: Instant) -> Self {
        Self { config, read_at: now, pinged_at: None, quiet_pings: 0 }
    }

    /// Bytes arrived: the peer is there. A PONG is one way of saying so, any other frame as good.
    pub(super) fn handle_read(&mut self, now: Instant, read: Read) {
        self.read_at = now;
        self.pinged_at = None;
        if read == Read::Answer {
            self.quiet_pings = 0;
        }
    }

    /// What is due at `now`.
    pub(super) fn handle_timeout(&mut self, now: Instant, calls_open: bool) -> KeepaliveAction {
        if self.poll_timeout(calls_open).is_none_or(|deadline| now < deadline) {
            return KeepaliveAction::Wait;
        }
        if self.pinged_at.is_some() {
            return KeepaliveAction::Close;
        }
        self.pinged_at = Some(now);
        self.quiet_pings = self.quiet_pings.saturating_add(1);
        KeepaliveAction::Ping
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called, if at all. In the past for a connection whose
    /// first call opens after a long silence: that call wants to know at once whether the peer is there.
    pub(super) fn poll_timeout(&self, calls_open: bool) -> Option<Instant> {
        match self.pinged_at {
            Some(pinged_at) => Some(pinged_at + self.config.timeout),
            None if calls_open || self.config.without_calls => Some(self.read_at + self.time()),
            None => None,
        }
    }

    fn time(&self) -> Duration {
        if self.config.sparing && self.quiet_pings >= FREE_PINGS {
            return self.config.time.max(PERMITTED_SPACING);
        }
        self.config.time
    }

    /// The silence after a PING after which the peer is given up.
    pub(super) fn patience(&self) -> Duration {
        self.config.timeout
    }
}

/// The shortest time between PINGs (A8).
const MIN_TIME: Duration = Duration::from_secs(10);

/// Longer is never: it keeps sums of instants far from overflow.
const MAX_TIME: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// A8's default of KEEPALIVE_TIMEOUT.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn silence_with_a_call_open_is_pinged_and_then_ends() {
        let start = Instant::now();
        let mut keepalive = Keepalive::new(KeepaliveConfig::every(secs(30)), start);
        assert_eq!(keepalive.poll_timeout(true), Some(start + secs(30)));
        assert_eq!(keepalive.handle_timeout(start + secs(29), true), KeepaliveAction::Wait);
        assert_eq!(keepalive.handle_timeout(start + secs(30), true), KeepaliveAction::Ping);
        assert_eq!(keepalive.poll_timeout(true), Some(start + secs(50)));
        assert_eq!(keepalive.handle_timeout(start + secs(49), true), KeepaliveAction::Wait);
        assert_eq!(keepalive.handle_timeout(start + secs(50), true), KeepaliveAction::Close);
    }

    #[test]
    fn anything_read_answers_a_ping() {
        let start = Instant::now();
        let mut keepalive = Keepalive::new(KeepaliveConfig::every(secs(30)), start);
        assert_eq!(keepalive.handle_timeout(start + secs(30), true), KeepaliveAction::Ping);
        keepalive.handle_read(start + secs(49), Read::Bytes);
        assert_eq!(keepalive.handle_timeout(start + secs(50), true), KeepaliveAction::Wait);
        assert_eq!(keepalive.poll_timeout(true), Some(start + secs(79)));
    }

    #[test]
    fn without_calls_no_ping_is_sent_until_a_call_opens() {
        let start = Instant::now();
        let mut keepalive = Keepalive::new(KeepaliveConfig::every(secs(30)), start);
        assert_eq!(keepalive.poll_timeout(false), None);
        assert_eq!(keepalive.handle_timeout(start + secs(600), false), KeepaliveAction::Wait);
        assert_eq!(keepalive.handle_timeout(start + secs(600), true), KeepaliveAction::Ping);

        let eager = Keepalive::new(KeepaliveConfig::every(secs(30)).without_calls(true), start);
        assert_eq!(eager.poll_timeout(false), Some(start + secs(30)));
    }

    #[test]
    fn pings_are_never_closer_than_ten_seconds_and_a_scolding_doubles_them() {
        let config = KeepaliveConfig::every(secs(1));
        assert_eq!(config, KeepaliveConfig::every(secs(10)));
        assert_eq!(config.doubled(1), KeepaliveConfig::every(secs(20)));
        assert_eq!(config.doubled(3), KeepaliveConfig::every(secs(80)));
    }

    #[test]
    fn the_longest_times_do_not_overflow() {
        let start = Instant::now();
        let config = KeepaliveConfig::every(Duration::MAX).timeout(Duration::MAX).doubled(u32::MAX);
        let mut keepalive = Keepalive::new(config, start);
        let due = keepalive.poll_timeout(true).unwrap();
        assert_eq!(keepalive.handle_timeout(due, true), KeepaliveAction::Ping);
        assert!(keepalive.poll_timeout(true).unwrap() > due);
    }

    #[test]
    fn a_quiet_server_is_spared_after_two_pings_until_it_speaks() {
        let start = Instant::now();
        let mut keepalive = Keepalive::new(KeepaliveConfig::every(secs(20)).sparing(), start);
        for at in [20, 40] {
            assert_eq!(keepalive.handle_timeout(start + secs(at), true), KeepaliveAction::Ping);
            keepalive.handle_read(start + secs(at), Read::Bytes);
        }
        assert_eq!(
            keepalive.poll_timeout(true),
            Some(start + secs(340)),
            "a third would be a strike too many"
        );
        keepalive.handle_read(start + secs(50), Read::Answer);
        assert_eq!(keepalive.poll_timeout(true), Some(start + secs(70)));
    }
}
