//! The lifetime of one server connection: when it is told to go away, and when it is cut.
//!
//! ```text
//!              preface          age · idle · drain               second GOAWAY written
//! Handshaking ─────────▶ Serving ────────────────▶ Announced ─────────────────────────▶ Finishing
//!      │                    │                       │     │   or 5 s: FinishGoAway           │
//!      │ handshake timeout  │ too many pings        │     │ drain before the preface, 5 s    │ grace · drain timeout
//!      ▼                    ▼                       ▼     ▼                                  ▼
//!    ─────────────────────────────────────  Closed  ──────────────────────────────────────────────
//! ```
//!
//! The sockets belong to a driver, which reports what happened (`handle_*`), does what [`Lifetime::poll_action`]
//! says, and calls [`Lifetime::handle_timeout`] no later than at [`Lifetime::poll_timeout`]. That a connection
//! without calls ends after the second GOAWAY is the HTTP/2 library's doing; this machine only sets the limits.
//!
//! One property spares the driver a wake-up per call: the instant of `poll_timeout` never moves forward because a
//! call started or ended. A busy connection cannot be idle for long enough before *now + max idle*, and when
//! that instant comes the machine looks again.

mod config;
mod ping_strikes;
#[cfg(test)]
mod properties;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::Rng;
pub use config::LifetimeConfig;
use ping_strikes::PingStrikes;

/// The machine of one connection.
#[derive(Debug)]
pub struct Lifetime {
    config: LifetimeConfig,
    /// The age limit with this connection's jitter.
    age_max: Option<Duration>,
    phase: Phase,
    ready: bool,
    calls: usize,
    idle_since: Instant,
    strikes: PingStrikes,
    /// At most one of each action, ever.
    actions: VecDeque<LifetimeAction>,
    timers: Timers,
}

/// What the driver is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LifetimeAction {
    /// Send GOAWAY(2³¹−1, NO_ERROR) and a PING; keep accepting streams.
    GoAway {
        /// Why, which the GOAWAY's debug data should carry.
        reason: GoAwayReason,
    },
    /// Send the second GOAWAY, with the highest accepted stream, although the PING was not acknowledged.
    FinishGoAway,
    /// Close the connection now, whatever runs on it.
    Close {
        /// Why.
        reason: CloseReason,
    },
}

/// Why a connection is told to go away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GoAwayReason {
    /// It reached its maximum age.
    MaxAge,
    /// It had no call for the maximum idle time.
    MaxIdle,
    /// The server shuts down.
    Drain,
}

/// Why a connection is closed by force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseReason {
    /// Calls still ran when the grace after age or idleness was over.
    GraceOver,
    /// Calls still ran when the drain timeout was over.
    DrainTimeout,
    /// The client pings more often than it may: GOAWAY(ENHANCE_YOUR_CALM, `too_many_pings`) goes before.
    TooManyPings,
    /// The peer did not open the connection with the HTTP/2 preface in time.
    HandshakeTimeout,
}

impl Lifetime {
    /// A connection that was accepted at `now`. Its age begins with [`Lifetime::handle_ready`]. `rng` yields the jitter
    /// of the age.
    pub fn new(config: LifetimeConfig, now: Instant, rng: &mut Rng) -> Self {
        Self {
            age_max: config.max_age.map(|age| rng.jittered(age, AGE_JITTER)),
            phase: Phase::Serving,
            ready: false,
            calls: 0,
            idle_since: now,
            strikes: PingStrikes::new(config.ping_interval_min, config.pings_without_calls),
            actions: VecDeque::new(),
            timers: Timers { handshake: after(now, config.handshake_timeout), ..Timers::default() },
            config,
        }
    }

    /// The connection is established, TLS and HTTP/2 preface included: age and idleness count from here.
    pub fn handle_ready(&mut self, now: Instant) {
        if self.ready || self.phase == Phase::Closed {
            return;
        }
        self.ready = true;
        self.timers.handshake = None;
        self.idle_since = now;
        if self.phase == Phase::Serving {
            self.timers.age = after(now, self.age_max);
            self.timers.idle = after(now, self.config.max_idle);
        }
    }

    /// A call was accepted.
    pub fn handle_call_started(&mut self) {
        self.calls += 1;
    }

    /// A call ended: its response is complete, or either side gave it up.
    pub fn handle_call_ended(&mut self, now: Instant) {
        debug_assert!(self.calls > 0, "a call that ends has started");
        self.calls = self.calls.saturating_sub(1);
        self.idle_since = now;
    }

    /// HEADERS or DATA were sent.
    pub fn handle_response_sent(&mut self) {
        self.strikes.handle_response_sent();
    }

    /// A PING came that is not an acknowledgement.
    pub fn handle_ping(&mut self, now: Instant) {
        if self.phase != Phase::Closed && self.strikes.handle_ping(now, self.calls) {
            self.close(CloseReason::TooManyPings);
        }
    }

    /// The second GOAWAY was written: no stream is accepted any more.
    pub fn handle_go_away_finished(&mut self) {
        if self.phase == Phase::Announced {
            self.phase = Phase::Finishing;
            self.timers.finish = None;
        }
    }

    /// The server shuts down. Later calls change nothing, and neither does an age that comes later.
    ///
    /// A connection that is already going away keeps the grace it was given, unless the drain ends sooner.
    pub fn handle_drain(&mut self, now: Instant) {
        if self.phase == Phase::Closed || self.timers.drain.is_some() {
            return;
        }
        self.timers.drain = after(now, self.config.drain_timeout);
        if self.phase == Phase::Serving {
            self.go_away(now, GoAwayReason::Drain);
        }
        self.handle_timeout(now);
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        let due = |timer: Option<Instant>| timer.is_some_and(|at| at <= now);
        if due(self.timers.handshake) {
            self.close(CloseReason::HandshakeTimeout);
        } else if due(self.timers.grace) {
            self.close(CloseReason::GraceOver);
        } else if due(self.timers.drain) {
            self.close(CloseReason::DrainTimeout);
        } else if due(self.timers.finish) {
            self.finish_go_away();
        } else if due(self.timers.age) {
            self.go_away(now, GoAwayReason::MaxAge);
        } else if due(self.timers.idle) {
            let idle_from = if self.calls == 0 { self.idle_since } else { now };
            self.timers.idle = after(idle_from, self.config.max_idle);
            if due(self.timers.idle) {
                self.go_away(now, GoAwayReason::MaxIdle);
            }
        }
    }

    /// What to do next, if anything. Ask until it is `None` after every `handle_*`.
    #[must_use]
    pub fn poll_action(&mut self) -> Option<LifetimeAction> {
        self.actions.pop_front()
    }

    /// When to call [`Lifetime::handle_timeout`] at the latest; `None`: no need.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let Timers { handshake, age, idle, finish, grace, drain } = self.timers;
        [handshake, age, idle, finish, grace, drain].into_iter().flatten().min()
    }

    /// How many calls are open.
    pub fn calls(&self) -> usize {
        self.calls
    }

    /// When age will send the connection away; `None` if it has no limit, is not ready, or is going away already.
    pub fn ages_at(&self) -> Option<Instant> {
        self.timers.age
    }

    fn go_away(&mut self, now: Instant, reason: GoAwayReason) {
        debug_assert_eq!(self.phase, Phase::Serving, "a connection is sent away once");
        self.phase = Phase::Announced;
        self.timers.age = None;
        self.timers.idle = None;
        self.timers.finish = after(now, Some(GO_AWAY_CAP));
        if reason != GoAwayReason::Drain {
            self.timers.grace = after(now, self.config.max_age_grace);
        }
        self.actions.push_back(LifetimeAction::GoAway { reason });
    }

    fn finish_go_away(&mut self) {
        if !self.ready {
            // Drained before the preface came. No call can be lost, and there is no stream to name in a GOAWAY.
            return self.close(CloseReason::HandshakeTimeout);
        }
        self.handle_go_away_finished();
        self.actions.push_back(LifetimeAction::FinishGoAway);
    }

    fn close(&mut self, reason: CloseReason) {
        self.phase = Phase::Closed;
        self.timers = Timers::default();
        self.actions.push_back(LifetimeAction::Close { reason });
    }
}

impl GoAwayReason {
    /// What the GOAWAY's debug data says, in grpc-go's words.
    pub fn debug_data(self) -> &'static str {
        match self {
            Self::MaxAge => "max_age",
            Self::MaxIdle => "max_idle",
            Self::Drain => "graceful_stop",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Also while the preface is awaited: a drain may come before it.
    Serving,
    /// The first GOAWAY is out, the second is not.
    Announced,
    /// The second GOAWAY is out.
    Finishing,
    Closed,
}

#[derive(Clone, Copy, Debug, Default)]
struct Timers {
    handshake: Option<Instant>,
    age: Option<Instant>,
    idle: Option<Instant>,
    finish: Option<Instant>,
    grace: Option<Instant>,
    drain: Option<Instant>,
}

/// `None` for a moment that no clock reaches.
fn after(now: Instant, duration: Option<Duration>) -> Option<Instant> {
    now.checked_add(duration?)
}

/// "A random jitter of +/-10% will be added" (gRFC A9).
const AGE_JITTER: f64 = 0.1;

/// How long the PING between the two GOAWAYs may go unanswered; grpc-go waits as long (`goAwayPingTimeout`).
const GO_AWAY_CAP: Duration = Duration::from_secs(5);
