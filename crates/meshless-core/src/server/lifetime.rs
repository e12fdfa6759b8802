//! The lifetime of one server connection: when it is told to go away, and when it is closed by
//! force.
//!
//! ```text
//!              preface          age · idle · drain               second GOAWAY written
//! Handshaking ─────────▶ Serving ────────────────▶ Announced ─────────────────────────▶ Finishing
//!      │                    │                       │     │  FinishGoAway: a round trip      │
//!      │                    │ pings · floods        │     │  after the PING's ack, or 5 s    │
//!      │ handshake timeout  │ slow reader · silence │     │ drain before the preface, 5 s    │ grace · drain timeout
//!      ▼                    ▼                       ▼     ▼                                  ▼
//!    ─────────────────────────────────────  Closed  ──────────────────────────────────────────────
//! ```
//!
//! Floods, slow readers and silence also close a connection that is going away. A driver owns the
//! sockets. It reports events (`handle_*`), carries out [`Lifetime::poll_action`], and calls
//! [`Lifetime::handle_timeout`] no later than at [`Lifetime::poll_timeout`]. The HTTP/2 library
//! ends a connection without calls after the second GOAWAY; this machine only sets the limits.
//!
//! One property saves the driver a wake-up per call: the instant of `poll_timeout` never becomes
//! earlier because a call started, ended, or began to wait for its client. A busy connection cannot
//! reach its idle limit before *now + max idle*, and at that instant the machine looks again. The
//! same holds for responses that wait, and for silence.

mod action;
mod config;
#[cfg(test)]
mod keepalive;
mod levelled;
mod levelling;
#[cfg(test)]
mod levelling_simulation;
mod ping_strikes;
#[cfg(test)]
mod properties;
mod stream_age;
mod timers;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::Rng;
use crate::frame_budget::{ControlFrames, FrameBudget};
use crate::liveness::{Liveness, LivenessAction, LivenessConfig, Received};
use crate::timers::sooner;
pub use action::{CutReason, GoAwayReason, LifetimeAction};
pub use config::LifetimeConfig;
use levelled::Levelled;
pub use levelling::Levelling;
use ping_strikes::PingStrikes;
pub use stream_age::StreamAge;
use timers::{Timer, Timers};

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
    /// When the first GOAWAY was ordered.
    announced_at: Option<Instant>,
    /// How many responses, and the socket, wait for the client to take bytes.
    blocked: usize,
    /// When the client last took bytes, or something began to wait for it.
    taken_at: Instant,
    strikes: PingStrikes,
    frames: FrameBudget,
    keepalive: Option<LivenessConfig>,
    /// Set once the connection is established.
    liveness: Option<Liveness>,
    levelled: Option<Levelled>,
    /// When the connection is expected to reach its age.
    ages_at: Option<Instant>,
    rng: Rng,
    /// At most one of each action, ever; at most one PING for each silence.
    actions: VecDeque<LifetimeAction>,
    timers: Timers,
}

impl Lifetime {
    /// Creates the state of a connection that was accepted at `now`. Its age begins with
    /// [`Lifetime::handle_ready`]. `rng` yields the jitter of the age.
    pub fn new(config: LifetimeConfig, now: Instant, rng: &mut Rng) -> Self {
        let mut lifetime = Self {
            age_max: config.max_age.map(|age| rng.jittered(age, AGE_JITTER)),
            phase: Phase::Serving,
            ready: false,
            calls: 0,
            idle_since: now,
            announced_at: None,
            blocked: 0,
            taken_at: now,
            frames: FrameBudget::new(config.reset_burst),
            keepalive: None,
            liveness: None,
            levelled: None,
            ages_at: None,
            rng: rng.clone(),
            strikes: PingStrikes::new(config.ping_interval_min, config.pings_without_calls),
            actions: VecDeque::new(),
            timers: Timers::default(),
            config,
        };
        lifetime.timers.set(Timer::Handshake, after(now, lifetime.config.handshake_timeout));
        lifetime
    }

    /// Lets `levelling`, which all connections of a server share, set the pace of the age. Has no
    /// effect without a maximum age.
    #[must_use]
    pub fn levelled(mut self, levelling: Arc<Levelling>) -> Self {
        self.levelled = self.config.max_age.map(|age| Levelled::new(levelling, age));
        self
    }

    /// Sends a PING after a client was silent for `time` (gRFC A9). Closes the connection if it is
    /// still silent `timeout` later. Off by default. A `time` below 1 s counts as 1 s; times too
    /// long to be represented never pass.
    #[must_use]
    pub fn keepalive(mut self, time: Duration, timeout: Duration) -> Self {
        self.keepalive = Some(LivenessConfig::server_keepalive(time, timeout));
        self
    }

    /// The connection is established, with TLS and the HTTP/2 preface: age and idleness count from
    /// here.
    pub fn handle_ready(&mut self, now: Instant) {
        if self.ready || self.phase == Phase::Closed {
            return;
        }
        self.ready = true;
        self.timers.set(Timer::Handshake, None);
        self.timers.set(Timer::SlowReader, after(now, self.config.slow_reader_timeout));
        self.idle_since = now;
        self.liveness = self.keepalive.map(|config| Liveness::new(config, now));
        self.look_at_silence();
        if self.phase == Phase::Serving {
            self.timers.set(Timer::Age, after(now, self.age_max));
            self.ages_at = after(now, self.age_max);
            if let Some(levelled) = &mut self.levelled {
                let (look_at, ages_at) = levelled.begin(now, &mut self.rng);
                self.timers.set(Timer::Age, Some(look_at));
                self.ages_at = Some(ages_at);
            }
            self.timers.set(Timer::Idle, after(now, self.config.max_idle));
        }
    }

    /// A call was accepted.
    pub fn handle_call_started(&mut self) {
        self.calls += 1;
    }

    /// Returns when the call that begins at `now` has to end.
    pub fn stream_age(&mut self, now: Instant) -> StreamAge {
        let age = self.config.max_stream_age.map(|age| self.rng.jittered(age, AGE_JITTER));
        let ending_at = after(now, age);
        let ended_at = ending_at.and_then(|at| after(at, self.config.max_stream_age_grace));
        StreamAge { ending_at, ended_at }
    }

    /// A call ended: its response is complete, or either side cancelled it.
    pub fn handle_call_ended(&mut self, now: Instant) {
        debug_assert!(self.calls > 0, "a call that ends has started");
        self.calls = self.calls.saturating_sub(1);
        self.idle_since = now;
    }

    /// HEADERS or DATA were sent.
    pub fn handle_response_sent(&mut self) {
        self.strikes.handle_response_sent();
    }

    /// Bytes of any kind came.
    ///
    /// Of many reads it suffices to report one each time before [`Lifetime::handle_timeout`],
    /// [`Lifetime::handle_drain`] and [`Lifetime::poll_timeout`] are called.
    pub fn handle_received(&mut self, now: Instant) {
        // This moves no timer; the next look at the silence uses it. So it costs a busy connection
        // nothing.
        if let Some(liveness) = &mut self.liveness {
            let is_answer = liveness.is_pinged();
            liveness.handle_received(now, Received::Bytes);
            if is_answer {
                self.look_at_silence();
            }
        }
    }

    /// A PING came that is not an acknowledgement.
    pub fn handle_ping(&mut self, now: Instant) {
        if self.phase != Phase::Closed && self.strikes.handle_ping(now, self.calls) {
            self.close(CutReason::TooManyPings);
        }
    }

    /// Frames came that cost the client nothing.
    pub fn handle_control_frames(&mut self, now: Instant, frames: ControlFrames) {
        if self.phase != Phase::Closed && !self.frames.spend(now, frames) {
            self.close(CutReason::FrameFlood);
        }
    }

    /// A response, or the socket, waits for the client to take bytes.
    pub fn handle_blocked(&mut self, now: Instant) {
        self.blocked += 1;
        if self.blocked == 1 {
            self.taken_at = now;
        }
    }

    /// It no longer waits.
    pub fn handle_unblocked(&mut self) {
        debug_assert!(self.blocked > 0, "what waits no longer has waited");
        self.blocked = self.blocked.saturating_sub(1);
    }

    /// The client took bytes of a response. Only needed while something waits.
    pub fn handle_bytes_taken(&mut self, now: Instant) {
        self.taken_at = now;
    }

    /// The client acknowledged the PING that went with the first GOAWAY.
    ///
    /// The client starts no calls after that GOAWAY, but some may be on the way behind the
    /// acknowledgement: h2's client writes it before the HEADERS that it has queued. A second
    /// GOAWAY at once would exclude them, and a client without transparent retry (tonic's) fails
    /// them. So the second one waits for as long as the PING took, which includes the client's own
    /// delays.
    pub fn handle_go_away_acknowledged(&mut self, now: Instant) {
        let Some(announced_at) = self.announced_at.filter(|_| self.phase == Phase::Announced) else { return };
        let round_trip = now.saturating_duration_since(announced_at);
        let finish = now + round_trip.clamp(FINISH_DELAY_MIN, FINISH_DELAY_MAX);
        self.timers.set(Timer::Finish, sooner(self.timers.at(Timer::Finish), Some(finish)));
    }

    /// The second GOAWAY was written: no stream is accepted any more.
    pub fn handle_go_away_finished(&mut self) {
        if self.phase == Phase::Announced {
            self.phase = Phase::Finishing;
            self.timers.set(Timer::Finish, None);
        }
    }

    /// The server shuts down. Later calls of this have no effect, and neither has an age that is
    /// reached later.
    ///
    /// A connection that is already going away keeps its grace, unless the drain ends sooner.
    pub fn handle_drain(&mut self, now: Instant) {
        if self.phase == Phase::Closed || self.timers.at(Timer::Drain).is_some() {
            return;
        }
        self.timers.set(Timer::Drain, after(now, self.config.drain_timeout));
        if self.phase == Phase::Serving {
            self.go_away(now, GoAwayReason::Drain);
        }
        self.handle_timeout(now);
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.timers.is_due(Timer::Keepalive, now) {
            match self.liveness.as_mut().and_then(|liveness| liveness.handle_timeout(now, self.calls > 0)) {
                Some(LivenessAction::Close) => return self.close(CutReason::KeepaliveTimeout),
                Some(LivenessAction::Ping) => self.actions.push_back(LifetimeAction::Ping),
                Some(LivenessAction::Suspect) | None => {}
            }
            self.look_at_silence();
        }
        if self.timers.is_due(Timer::Handshake, now) {
            self.close(CutReason::HandshakeTimeout);
        } else if self.timers.is_due(Timer::Grace, now) {
            self.close(CutReason::GraceOver);
        } else if self.timers.is_due(Timer::Drain, now) {
            self.close(CutReason::DrainTimeout);
        } else if self.timers.is_due(Timer::SlowReader, now) {
            let taken_at = if self.blocked > 0 { self.taken_at } else { now };
            self.timers.set(Timer::SlowReader, after(taken_at, self.config.slow_reader_timeout));
            if self.timers.is_due(Timer::SlowReader, now) {
                self.close(CutReason::SlowReader);
            }
        } else if self.timers.is_due(Timer::Finish, now) {
            self.finish_go_away();
        } else if self.timers.is_due(Timer::Age, now) {
            match self.levelled.as_ref().and_then(|levelled| levelled.look(now)) {
                Some((look_at, ages_at)) => {
                    self.timers.set(Timer::Age, Some(look_at));
                    self.ages_at = Some(ages_at);
                }
                None => self.go_away(now, GoAwayReason::MaxAge),
            }
        } else if self.timers.is_due(Timer::Idle, now) {
            let idle_from = if self.calls == 0 { self.idle_since } else { now };
            self.timers.set(Timer::Idle, after(idle_from, self.config.max_idle));
            if self.timers.is_due(Timer::Idle, now) {
                self.go_away(now, GoAwayReason::MaxIdle);
            }
        }
    }

    /// Returns the next action, if any. Call it until it returns `None` after every `handle_*`.
    #[must_use]
    pub fn poll_action(&mut self) -> Option<LifetimeAction> {
        self.actions.pop_front()
    }

    /// Returns when to call [`Lifetime::handle_timeout`] at the latest; `None`: no need.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Returns how many calls are open.
    pub fn calls(&self) -> usize {
        self.calls
    }

    /// Returns when the connection will reach its age. `None` if it has no limit, is not ready, or
    /// is already going away. An estimate if ages are levelled.
    pub fn ages_at(&self) -> Option<Instant> {
        self.ages_at
    }

    /// Returns true if something waits for the client to take bytes.
    pub fn is_blocked(&self) -> bool {
        self.blocked > 0
    }

    fn go_away(&mut self, now: Instant, reason: GoAwayReason) {
        debug_assert_eq!(self.phase, Phase::Serving, "a connection is sent away once");
        self.phase = Phase::Announced;
        self.announced_at = Some(now);
        self.leave();
        self.timers.set(Timer::Age, None);
        self.timers.set(Timer::Idle, None);
        self.timers.set(Timer::Finish, after(now, Some(GO_AWAY_CAP)));
        if reason != GoAwayReason::Drain {
            self.timers.set(Timer::Grace, after(now, self.config.max_age_grace));
        }
        self.actions.push_back(LifetimeAction::GoAway { reason });
        if self.timers.is_due(Timer::Grace, now) {
            self.close(CutReason::GraceOver);
        }
    }

    /// Sets the timer for the silence limit, from the last known bytes.
    fn look_at_silence(&mut self) {
        let look_at = self.liveness.as_ref().and_then(|liveness| liveness.poll_timeout(self.calls > 0));
        self.timers.set(Timer::Keepalive, look_at);
    }

    fn finish_go_away(&mut self) {
        if !self.ready {
            // Drained before the preface came. No call is lost, and there is no stream for a GOAWAY
            // to name.
            return self.close(CutReason::HandshakeTimeout);
        }
        self.handle_go_away_finished();
        self.actions.push_back(LifetimeAction::FinishGoAway);
    }

    fn close(&mut self, reason: CutReason) {
        self.phase = Phase::Closed;
        self.leave();
        self.timers = Timers::default();
        self.liveness = None;
        self.actions.push_back(LifetimeAction::Close { reason });
    }

    /// The connection takes no new calls and no longer counts among its server's.
    fn leave(&mut self) {
        self.ages_at = None;
        // The drop takes it off the count.
        self.levelled = None;
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Also before the preface: a drain may come before it.
    Serving,
    /// The first GOAWAY is sent, the second is not.
    Announced,
    /// The second GOAWAY is sent.
    Finishing,
    Closed,
}

/// Returns `None` if the time is too far ahead to be represented.
fn after(now: Instant, duration: Option<Duration>) -> Option<Instant> {
    now.checked_add(duration?)
}

/// "A random jitter of +/-10% will be added" (gRFC A9).
const AGE_JITTER: f64 = 0.1;

/// The shortest time for which the second GOAWAY waits for calls behind the PING's acknowledgement.
/// On loopback the PING takes 0.1 ms, but a busy client's threads need longer. No handler waits for
/// this.
const FINISH_DELAY_MIN: Duration = Duration::from_millis(5);
const FINISH_DELAY_MAX: Duration = Duration::from_millis(100);

/// How long the PING between the two GOAWAYs may be unanswered; as in grpc-go
/// (`goAwayPingTimeout`).
const GO_AWAY_CAP: Duration = Duration::from_secs(5);
