//! The settings for the lifetime of a server's connections.
//!
//! Every value is valid, so that nothing can fail when a connection arrives. `None` is no limit,
//! and so is a century. Values that are too short are raised to a named floor.

use std::time::Duration;

use crate::longest::LONGEST;

/// The limits of one connection's lifetime (gRFC A9), and of its client's pings (gRFC A8).
///
/// The defaults are gRPC's: no limit on age, grace and idleness. A drain ends after 20 s, a value
/// of our own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LifetimeConfig {
    pub(super) max_age: Option<Duration>,
    pub(super) max_age_grace: Option<Duration>,
    pub(super) max_idle: Option<Duration>,
    pub(super) drain_timeout: Option<Duration>,
    pub(super) handshake_timeout: Option<Duration>,
    pub(super) ping_interval_min: Duration,
    pub(super) pings_without_calls: bool,
    pub(super) max_stream_age: Option<Duration>,
    pub(super) max_stream_age_grace: Option<Duration>,
    pub(super) slow_reader_timeout: Option<Duration>,
    pub(super) reset_burst: u32,
}

impl LifetimeConfig {
    /// The age at which a connection is told to go away. Default `None`: no limit. At least 10 ms.
    ///
    /// Each connection draws its own limit once, uniform within ±10 % (gRFC A9), so that clients
    /// which came together do not leave together.
    #[must_use]
    pub fn max_age(mut self, age: impl Into<Option<Duration>>) -> Self {
        self.max_age = limit(age.into(), FLOOR);
        self
    }

    /// How long calls may still run after the first GOAWAY for age or idleness. Then the connection
    /// is closed by force. Default `None`: no limit. Zero: not at all.
    ///
    /// It has no jitter and counts from the *first* GOAWAY as in grpc-go (gRFC A9 would ideally
    /// count from the second). So age + grace limits a connection's life.
    #[must_use]
    pub fn max_age_grace(mut self, grace: impl Into<Option<Duration>>) -> Self {
        self.max_age_grace = limit(grace.into(), Duration::ZERO);
        self
    }

    /// How long a connection may be without calls. Default `None`: no limit. At least 10 ms.
    #[must_use]
    pub fn max_idle(mut self, idle: impl Into<Option<Duration>>) -> Self {
        self.max_idle = limit(idle.into(), FLOOR);
        self
    }

    /// How long calls may still run once the server drains. Default: 20 s. Zero: not at all.
    /// `None`: no limit.
    ///
    /// A drain does not use the grace of age, which may be unlimited: the process must end.
    #[must_use]
    pub fn drain_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.drain_timeout = limit(timeout.into(), Duration::ZERO);
        self
    }

    /// How long a peer may take to open the connection with the HTTP/2 preface. Default: 20 s, at
    /// least 10 ms. `None`: no limit.
    #[must_use]
    pub fn handshake_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.handshake_timeout = limit(timeout.into(), FLOOR);
        self
    }

    /// The shortest interval between the client's pings that causes no strike. Default: 5 min (gRFC
    /// A8). Zero: any.
    #[must_use]
    pub fn ping_interval_min(mut self, interval: Duration) -> Self {
        self.ping_interval_min = interval.min(LONGEST);
        self
    }

    /// If true, that interval also holds while no call is open; otherwise it is then 2 h (gRFC A8).
    /// Default: false.
    #[must_use]
    pub fn pings_without_calls(mut self, permitted: bool) -> Self {
        self.pings_without_calls = permitted;
        self
    }

    /// How long one call may last before its handler is told to end it. Default `None`: no limit.
    /// At least 10 ms.
    ///
    /// It is for streams that never end by themselves. Each draws its own limit, uniform within ±10
    /// %, so that streams which began together do not end together. Set it above the longest call
    /// that must not be ended.
    #[must_use]
    pub fn max_stream_age(mut self, age: impl Into<Option<Duration>>) -> Self {
        self.max_stream_age = limit(age.into(), FLOOR);
        self
    }

    /// How long a call may go on after that. Then it ends with a status that a client may retry on.
    /// Default: 10 s. Zero: not at all. `None`: no limit.
    #[must_use]
    pub fn max_stream_age_grace(mut self, grace: impl Into<Option<Duration>>) -> Self {
        self.max_stream_age_grace = limit(grace.into(), Duration::ZERO);
        self
    }

    /// How long a client may take no byte while at least one response waits for it. Then the
    /// connection is closed by force. It is also closed if its socket takes no byte for this long.
    /// Default: 5 min, at least 10 ms. `None`: no limit.
    ///
    /// A client that stops reading is legal flow control, and pins the memory of what waits. Envoy
    /// gives a stream the same time (`stream_idle_timeout`). Clients that pause longer on purpose
    /// need a longer one here.
    #[must_use]
    pub fn slow_reader_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.slow_reader_timeout = limit(timeout.into(), FLOOR);
        self
    }

    /// How many calls a client may cancel at once before the connection is closed as a flood.
    /// Beyond that it may cancel as many as were answered and 1000 a second. Default: 10 000; at
    /// least 1000. A server sets it to twice the calls that a connection may have open.
    #[must_use]
    pub fn reset_burst(mut self, resets: u32) -> Self {
        self.reset_burst = resets;
        self
    }
}

impl Default for LifetimeConfig {
    fn default() -> Self {
        Self {
            max_age: None,
            max_age_grace: None,
            max_idle: None,
            drain_timeout: Some(DRAIN_TIMEOUT),
            handshake_timeout: Some(HANDSHAKE_TIMEOUT),
            ping_interval_min: PING_INTERVAL_MIN,
            pings_without_calls: false,
            max_stream_age: None,
            max_stream_age_grace: Some(STREAM_AGE_GRACE),
            slow_reader_timeout: Some(SLOW_READER_TIMEOUT),
            reset_burst: 10_000,
        }
    }
}

fn limit(duration: Option<Duration>, floor: Duration) -> Option<Duration> {
    duration.filter(|duration| *duration < LONGEST).map(|duration| duration.max(floor))
}

/// A connection that is told to go at once carries no call: shorter limits are raised to this.
const FLOOR: Duration = Duration::from_millis(10);

/// Kubernetes kills the process `terminationGracePeriodSeconds` after SIGTERM, 30 s by default.
/// This leaves 10 s for two things: the time before the drain, in which endpoint updates spread,
/// and the end of the process.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(20);

/// gRPC's minimum connect timeout (connection-backoff): a client that takes longer has already
/// given up.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(20);

/// "PERMIT_KEEPALIVE_TIME [...] default: 5 minutes" (gRFC A8).
const PING_INTERVAL_MIN: Duration = Duration::from_secs(300);

/// Enough for a handler to send its last messages, and below the drain timeout.
const STREAM_AGE_GRACE: Duration = Duration::from_secs(10);

/// Envoy's default of `stream_idle_timeout`, which also ends streams that wait for a window.
const SLOW_READER_TIMEOUT: Duration = Duration::from_secs(300);
