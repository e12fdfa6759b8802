//! Self-levelling age: a server with more connections than usual ends them earlier, one with fewer
//! later.
//!
//! Clients that keep one connection choose a new server at random when the connection reaches its
//! age. The numbers of connections are then random: their variance is the mean n̄. If instead every
//! connection of a server with n of them ends with hazard (n/n̄)ᵃ/T, the variance is n̄/(1+a): half
//! the spread for a = 3. No server needs to know the others: n̄ is the server's own average over
//! the last W ages. It varies a little, so the variance is n̄/(1 + a − a/(W+1)) (the linear noise
//! of both together): 0.55 of the spread for a = 3, W = 3.
//!
//! The cost: when the fleet's size changes, n̄ is wrong at first, until it has followed (some
//! W(1+a) ages). After a scale-out the old servers end connections more slowly, at least at half
//! the pace. After a scale-in all servers age them faster, at most fourfold. A fleet that scales
//! all day long should leave it off.
//!
//! The hazard of all connections of a server is the same at any moment, so one clock per server
//! suffices. It runs (n/n̄)ᵃ times as fast as time. A connection is due when the clock has advanced
//! by an age that it drew once. The age is exponentially distributed, as a hazard is, but not below
//! a quarter of the mean. The lifetime machines of one server share the clock; none decides about
//! another's connection.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::Rng;

/// The clock of one server's ages.
#[derive(Debug)]
pub struct Levelling {
    exponent: u32,
    state: Mutex<LevellingState>,
}

/// A reading of the clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    /// Seconds since the clock began, at its own pace.
    pub(super) elapsed: f64,
    /// Its pace: its seconds per second of time.
    pub(super) rate: f64,
}

#[derive(Debug, Default)]
struct LevellingState {
    connections: usize,
    /// Slow average of `connections`; none before the warm-up is over.
    mean: f64,
    elapsed: f64,
    since: Option<Instant>,
    warm_at: Option<Instant>,
}

impl Levelling {
    /// `exponent` is the a of (n/n̄)ᵃ, at most 8. 0 does not level; 3 halves the spread.
    pub fn new(exponent: u32) -> Self {
        Self { exponent: exponent.min(EXPONENT_MAX), state: Mutex::default() }
    }

    /// Returns how many connections serve, without those that were told to go away.
    pub fn connections(&self) -> usize {
        self.state().connections
    }

    /// A connection begins to serve; `age` is the mean age.
    pub(super) fn handle_opened(&self, now: Instant, age: Duration) -> Reading {
        let mut state = self.state();
        state.advance(now, age, self.exponent);
        state.connections += 1;
        Reading { elapsed: state.elapsed, rate: state.rate(self.exponent) }
    }

    /// A connection was told to go away, or is gone.
    pub(super) fn handle_left(&self) {
        // The clock continues from its last reading, which is younger than the interval of a
        // connection's looks.
        let mut state = self.state();
        state.connections = state.connections.saturating_sub(1);
    }

    pub(super) fn read(&self, now: Instant, age: Duration) -> Reading {
        let mut state = self.state();
        state.advance(now, age, self.exponent);
        Reading { elapsed: state.elapsed, rate: state.rate(self.exponent) }
    }

    fn state(&self) -> MutexGuard<'_, LevellingState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LevellingState {
    fn advance(&mut self, now: Instant, age: Duration, exponent: u32) {
        let since = *self.since.get_or_insert(now);
        let warm_at = *self.warm_at.get_or_insert(now + age * WARM_UP_AGES);
        let passed = now.saturating_duration_since(since).as_secs_f64();
        if passed == 0.0 {
            return;
        }
        self.since = Some(now);
        self.elapsed += passed * self.rate(exponent);
        let connections = self.connections as f64;
        if now < warm_at || self.mean == 0.0 {
            // While a server fills up it always has more connections than its average, and would
            // end them as they come.
            self.mean = connections;
        } else {
            let window = (age * MEAN_AGES).as_secs_f64();
            self.mean += (connections - self.mean) * passed / (window + passed);
        }
    }

    fn rate(&self, exponent: u32) -> f64 {
        if self.mean == 0.0 {
            return 1.0;
        }
        let ratio = self.connections as f64 / self.mean;
        (0..exponent).fold(1.0, |power, _| power * ratio).clamp(RATE_MIN, RATE_MAX)
    }
}

/// An age with mean 1: exponentially distributed above [`AGE_MIN`], cut at [`AGE_MAX`].
pub(super) fn draw_age(rng: &mut Rng) -> f64 {
    let exponential = -(1.0 - rng.unit()).ln();
    (AGE_MIN + (1.0 - AGE_MIN) * exponential).min(AGE_MAX)
}

/// How often a connection looks at the clock within a mean age. Between two looks the rate may
/// change.
pub(super) const LOOKS_PER_AGE: u32 = 16;

/// Above this, a single extra connection makes all of them age at once.
const EXPONENT_MAX: u32 = 8;

/// W, the ages that the average covers. It is long compared to the time in which the spread
/// corrects itself, T/(1+a). It is short enough for n̄ to follow a change of scale, which also
/// changes the number of connections.
pub(super) const MEAN_AGES: u32 = 3;

/// A server that starts fills up for this long, and does not level.
const WARM_UP_AGES: u32 = 2;

/// A server with few connections keeps them at most twice as long. After a scale-out, servers that
/// lose connections to the new ones must still let go of the rest.
const RATE_MIN: f64 = 0.5;

/// A server with very many connections ages them at most this much faster, which limits the churn.
const RATE_MAX: f64 = 4.0;

/// A connection that ends as soon as it has come costs its client a backoff. So this much of the
/// mean age must also pass in real time, at any pace of the clock. The spread hardly changes: the
/// number of connections depends only on the mean of their ages (M/G/∞), and hardly on their
/// distribution when levelled.
pub(super) const AGE_MIN: f64 = 0.25;

/// One connection in 500 would live longer than this many mean ages.
const AGE_MAX: f64 = 5.0;
