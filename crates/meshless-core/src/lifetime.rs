//! The lifetime of one server connection: when it is told to go away, and when it is cut.
//!
//! ```text
//!              preface          age · idle · drain               second GOAWAY written
//! Handshaking ─────────▶ Serving ────────────────▶ Announced ─────────────────────────▶ Finishing
//!      │                    │                       │     │  FinishGoAway: a round trip      │
//!      │                    │ pings · floods        │     │  after the PING's ack, or 5 s    │
//!      │ handshake timeout  │ slow reader           │     │ drain before the preface, 5 s    │ grace · drain timeout
//!      ▼                    ▼                       ▼     ▼                                  ▼
//!    ─────────────────────────────────────  Closed  ──────────────────────────────────────────────
//! ```
//!
//! The sockets belong to a driver, which reports what happened (`handle_*`), does what [`Lifetime::poll_action`]
//! says, and calls [`Lifetime::handle_timeout`] no later than at [`Lifetime::poll_timeout`]. That a connection
//! without calls ends after the second GOAWAY is the HTTP/2 library's doing; this machine only sets the limits.
//!
//! One property spares the driver a wake-up per call: the instant of `poll_timeout` never moves forward because a
//! call started, ended, or began to wait for its client. A busy connection cannot be idle for long enough before
//! *now + max idle*, and when that instant comes the machine looks again; so with responses that wait.

mod config;
mod frame_budget;
mod levelling;
#[cfg(test)]
mod levelling_simulation;
mod ping_strikes;
#[cfg(test)]
mod properties;
mod stream_age;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::Rng;
pub use config::LifetimeConfig;
pub use frame_budget::ControlFrames;
use frame_budget::FrameBudget;
pub use levelling::Levelling;
use levelling::{AGE_MIN, LOOKS_PER_AGE, Reading, draw_age};
use ping_strikes::PingStrikes;
pub use stream_age::StreamAge;

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
    /// Responses, and the socket, that wait for the client to take bytes.
    blocked: usize,
    /// When the client last took bytes, or something began to wait for it.
    taken_at: Instant,
    strikes: PingStrikes,
    frames: FrameBudget,
    levelled: Option<Levelled>,
    /// When age is expected to send the connection away.
    ages_at: Option<Instant>,
    rng: Rng,
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
    /// Let the second GOAWAY follow, with the highest stream that has arrived: the PING was acknowledged a round trip ago, or
    /// is not acknowledged at all.
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
    /// The client sends more PINGs, SETTINGS and resets than calls can explain: GOAWAY(ENHANCE_YOUR_CALM,
    /// `too_many_control_frames`) goes before.
    FrameFlood,
    /// Responses waited, and the client took no byte of any for the slow reader timeout.
    SlowReader,
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
            announced_at: None,
            blocked: 0,
            taken_at: now,
            frames: FrameBudget::new(config.reset_burst, now),
            levelled: None,
            ages_at: None,
            rng: rng.clone(),
            strikes: PingStrikes::new(config.ping_interval_min, config.pings_without_calls),
            actions: VecDeque::new(),
            timers: Timers { handshake: after(now, config.handshake_timeout), ..Timers::default() },
            config,
        }
    }

    /// Lets `levelling`, which all connections of a server share, set the pace of this one's age. Without a maximum
    /// age it does nothing.
    #[must_use]
    pub fn levelled(mut self, levelling: Arc<Levelling>) -> Self {
        self.levelled =
            self.config.max_age.map(|age| Levelled { levelling, age, due: None, kept_until: None });
        self
    }

    /// The connection is established, TLS and HTTP/2 preface included: age and idleness count from here.
    pub fn handle_ready(&mut self, now: Instant) {
        if self.ready || self.phase == Phase::Closed {
            return;
        }
        self.ready = true;
        self.timers.handshake = None;
        self.timers.slow_reader = after(now, self.config.slow_reader_timeout);
        self.idle_since = now;
        if self.phase == Phase::Serving {
            self.timers.age = after(now, self.age_max);
            self.ages_at = self.timers.age;
            if let Some(levelled) = &mut self.levelled {
                let (look_at, ages_at) = levelled.begin(now, &mut self.rng);
                (self.timers.age, self.ages_at) = (Some(look_at), Some(ages_at));
            }
            self.timers.idle = after(now, self.config.max_idle);
        }
    }

    /// A call was accepted.
    pub fn handle_call_started(&mut self) {
        self.calls += 1;
    }

    /// When the call that begins at `now` has to end.
    pub fn stream_age(&mut self, now: Instant) -> StreamAge {
        let age = self.config.max_stream_age.map(|age| self.rng.jittered(age, AGE_JITTER));
        let ending_at = after(now, age);
        let ended_at = ending_at.and_then(|at| after(at, self.config.max_stream_age_grace));
        StreamAge { ending_at, ended_at }
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

    /// Frames came that cost the client nothing.
    pub fn handle_control_frames(&mut self, now: Instant, frames: ControlFrames) {
        if self.phase != Phase::Closed && !self.frames.spend(now, frames) {
            self.close(CloseReason::FrameFlood);
        }
    }

    /// A response, or the socket, waits for the client to take bytes.
    pub fn handle_blocked(&mut self, now: Instant) {
        self.blocked += 1;
        if self.blocked == 1 {
            self.taken_at = now;
        }
    }

    /// It waits no longer.
    pub fn handle_unblocked(&mut self) {
        debug_assert!(self.blocked > 0, "what waits no longer has waited");
        self.blocked = self.blocked.saturating_sub(1);
    }

    /// The client took bytes of a response. Need be told only while something waits.
    pub fn handle_bytes_taken(&mut self, now: Instant) {
        self.taken_at = now;
    }

    /// The client acknowledged the PING that went with the first GOAWAY.
    ///
    /// Its calls stop at that GOAWAY, but those already on the way stand behind the acknowledgement: h2's client writes it
    /// before the HEADERS that it has queued. A second GOAWAY at once would rule them out, and a client without
    /// transparent retry (tonic's) fails them. So it waits for as long as the PING took, which holds the client's own delays too.
    pub fn handle_go_away_acknowledged(&mut self, now: Instant) {
        let Some(announced_at) = self.announced_at.filter(|_| self.phase == Phase::Announced) else { return };
        let round_trip = now.saturating_duration_since(announced_at);
        let finish = now + round_trip.clamp(FINISH_DELAY_MIN, FINISH_DELAY_MAX);
        self.timers.finish = Some(self.timers.finish.map_or(finish, |at| at.min(finish)));
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
        } else if due(self.timers.slow_reader) {
            let taken_at = if self.blocked > 0 { self.taken_at } else { now };
            self.timers.slow_reader = after(taken_at, self.config.slow_reader_timeout);
            if due(self.timers.slow_reader) {
                self.close(CloseReason::SlowReader);
            }
        } else if due(self.timers.finish) {
            self.finish_go_away();
        } else if due(self.timers.age) {
            match self.levelled.as_ref().and_then(|levelled| levelled.look(now)) {
                Some((look_at, ages_at)) => {
                    (self.timers.age, self.ages_at) = (Some(look_at), Some(ages_at));
                }
                None => self.go_away(now, GoAwayReason::MaxAge),
            }
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
        let Timers { handshake, age, idle, finish, grace, drain, slow_reader } = self.timers;
        [handshake, age, idle, finish, grace, drain, slow_reader].into_iter().flatten().min()
    }

    /// How many calls are open.
    pub fn calls(&self) -> usize {
        self.calls
    }

    /// When age will send the connection away; `None` if it has no limit, is not ready, or is going away already. An
    /// estimate if ages are levelled.
    pub fn ages_at(&self) -> Option<Instant> {
        self.ages_at
    }

    /// Whether something waits for the client to take bytes.
    pub fn is_blocked(&self) -> bool {
        self.blocked > 0
    }

    fn go_away(&mut self, now: Instant, reason: GoAwayReason) {
        debug_assert_eq!(self.phase, Phase::Serving, "a connection is sent away once");
        self.phase = Phase::Announced;
        self.announced_at = Some(now);
        self.leave();
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
        self.leave();
        self.timers = Timers::default();
        self.actions.push_back(LifetimeAction::Close { reason });
    }

    /// The connection serves no new calls: it counts no more among its server's.
    fn leave(&mut self) {
        self.ages_at = None;
        // Dropped: it takes itself off the count.
        self.levelled = None;
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
    slow_reader: Option<Instant>,
}

/// A connection's age by its server's clock.
#[derive(Debug)]
struct Levelled {
    levelling: Arc<Levelling>,
    age: Duration,
    /// The clock's reading at which the connection is due; `None` before it serves.
    due: Option<f64>,
    /// Not due before, however fast the clock runs.
    kept_until: Option<Instant>,
}

impl Levelled {
    /// When to look at the clock next, and when the connection will be due if the clock keeps its pace.
    fn begin(&mut self, now: Instant, rng: &mut Rng) -> (Instant, Instant) {
        let reading = self.levelling.handle_opened(now, self.age);
        let age = self.age.as_secs_f64() * draw_age(rng);
        self.due = Some(reading.elapsed + age);
        self.kept_until = now.checked_add(self.age.mul_f64(AGE_MIN));
        self.next_look(now, age, reading)
    }

    /// The same; `None` if the connection is due.
    fn look(&self, now: Instant) -> Option<(Instant, Instant)> {
        let reading = self.levelling.read(now, self.age);
        let left = self.due? - reading.elapsed;
        let kept = self.kept_until.is_some_and(|until| now < until);
        (left > 0.0 || kept).then(|| self.next_look(now, left.max(0.0), reading))
    }

    fn next_look(&self, now: Instant, left: f64, reading: Reading) -> (Instant, Instant) {
        let due_at = now + Duration::from_secs_f64(left / reading.rate).max(LOOK_INTERVAL_MIN);
        let ages_at = self.kept_until.map_or(due_at, |until| due_at.max(until));
        let look_at = now + (self.age / LOOKS_PER_AGE).max(LOOK_INTERVAL_MIN);
        (look_at.min(ages_at), ages_at)
    }
}

impl Drop for Levelled {
    fn drop(&mut self) {
        if self.due.is_some() {
            self.levelling.handle_left();
        }
    }
}

/// `None` for a moment that no clock reaches.
fn after(now: Instant, duration: Option<Duration>) -> Option<Instant> {
    now.checked_add(duration?)
}

/// "A random jitter of +/-10% will be added" (gRFC A9).
const AGE_JITTER: f64 = 0.1;

/// Below it a look at the clock would only spin.
const LOOK_INTERVAL_MIN: Duration = Duration::from_millis(1);

/// How long the second GOAWAY waits for calls behind the PING's acknowledgement. On loopback the PING takes 0.1 ms, a busy
/// client's threads need longer; and no handler waits for this.
const FINISH_DELAY_MIN: Duration = Duration::from_millis(5);
const FINISH_DELAY_MAX: Duration = Duration::from_millis(100);

/// How long the PING between the two GOAWAYs may go unanswered; grpc-go waits as long (`goAwayPingTimeout`).
const GO_AWAY_CAP: Duration = Duration::from_secs(5);
