//! Self-levelling age: a server with more connections than usual ages them sooner, one with fewer
//! later.
//!
//! Clients that keep one connection choose a server anew, at random, when the connection's age has
//! come. The numbers of connections then scatter like thrown balls: their variance is the mean n̄.
//! If every connection of a server with n of them ends with hazard (n/n̄)ᵃ/T instead, the variance
//! is n̄/(1+a): half the spread for a = 3. No server needs to know of another; n̄ is the server's
//! own average over the last W ages, which wanders a little, so that the variance is n̄/(1 + a −
//! a/(W+1)) (the linear noise of both together): 0.55 of the spread for a = 3, W = 3.
//!
//! What it costs: when the fleet's size changes, n̄ is wrong at first. After a scale-out the old
//! servers give connections away more slowly, at least at half the pace; after a scale-in all age
//! faster, at most fourfold, until n̄ has followed (some W(1+a) ages). A fleet that scales all day
//! long should leave it off.
//!
//! The hazard of all connections of a server is the same at any moment, so one clock per server
//! suffices: it runs (n/n̄)ᵃ times as fast as time, and a connection is due when the clock has
//! advanced by an age that it drew once: exponentially distributed, as a hazard is, but not below a
//! quarter of the mean. Shared by the lifetime machines of one server; none decides anything about
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

/// What the clock shows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    /// Seconds since it began, as it counts them.
    pub(super) elapsed: f64,
    /// Its seconds per second of time.
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
    /// `exponent` is the a of (n/n̄)ᵃ, at most 8; 0 does not level, 3 halves the spread.
    pub fn new(exponent: u32) -> Self {
        Self { exponent: exponent.min(EXPONENT_MAX), state: Mutex::default() }
    }

    /// How many connections serve: those that were sent away count no more.
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

    /// A connection was sent away, or is gone.
    pub(super) fn handle_left(&self) {
        // The clock goes on from its last reading, which is less than a connection's next look ago.
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
            // A server that fills up has more connections than its average all the time: it would
            // shed them as they come.
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

/// How often a connection looks at the clock: so many times within a mean age. Between two looks
/// the rate may change.
pub(super) const LOOKS_PER_AGE: u32 = 16;

/// Above this a single connection too many makes all age at once.
const EXPONENT_MAX: u32 = 8;

/// W, the ages that the average looks back: long beside the time in which the spread corrects
/// itself, T/(1+a), and short enough that a change of scale, which also moves the number of
/// connections, becomes the new normal.
pub(super) const MEAN_AGES: u32 = 3;

/// For so long a server that starts fills up, and does not level.
const WARM_UP_AGES: u32 = 2;

/// A server with few connections keeps them at most twice as long: after a scale-out those that
/// lose connections to the new ones must not hold on to the rest.
const RATE_MIN: f64 = 0.5;

/// A server with very many ages them at most this much faster: the bound of the churn.
const RATE_MAX: f64 = 4.0;

/// A connection that is sent away as soon as it has come costs its client a backoff; so this much
/// of the mean age holds in real time as well, however fast the clock runs. The spread does not
/// feel the difference: the number of connections depends on the mean of their ages alone (M/G/∞),
/// and on their distribution hardly when levelled.
pub(super) const AGE_MIN: f64 = 0.25;

/// One connection in 500 would live longer than this many mean ages.
const AGE_MAX: f64 = 5.0;
