//! One connection's age on its server's clock (see [`Levelling`]).
//!
//! The lifetime machine owns it and looks at it from time to time. Dropping it takes the connection
//! off the count.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::levelling::{AGE_MIN, LOOKS_PER_AGE, Levelling, Reading, draw_age};
use crate::Rng;

/// A connection's age on its server's clock.
#[derive(Debug)]
pub(super) struct Levelled {
    levelling: Arc<Levelling>,
    age: Duration,
    /// The clock reading at which the connection is due; `None` before it serves.
    due: Option<f64>,
    /// Not due before this, at any pace of the clock.
    kept_until: Option<Instant>,
}

impl Levelled {
    pub(super) fn new(levelling: Arc<Levelling>, age: Duration) -> Self {
        Self { levelling, age, due: None, kept_until: None }
    }

    /// Returns when to look at the clock next, and when the connection is due at the present pace.
    pub(super) fn begin(&mut self, now: Instant, rng: &mut Rng) -> (Instant, Instant) {
        let reading = self.levelling.handle_opened(now, self.age);
        let age = self.age.as_secs_f64() * draw_age(rng);
        self.due = Some(reading.elapsed + age);
        self.kept_until = now.checked_add(self.age.mul_f64(AGE_MIN));
        self.next_look(now, age, reading)
    }

    /// The same; `None` if the connection is due.
    pub(super) fn look(&self, now: Instant) -> Option<(Instant, Instant)> {
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

/// More frequent looks at the clock would only spin.
const LOOK_INTERVAL_MIN: Duration = Duration::from_millis(1);
