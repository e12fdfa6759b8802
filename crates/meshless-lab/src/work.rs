//! How long a backend works on a call: always as long, or as long as a draw says.
//!
//! Drawn times are for load near the capacity, where a mean that is one per cent too long doubles
//! what waits. A timer fires up to two milliseconds late, so each oversleep is taken off the next
//! draw: single calls end when the timer says, the mean is the one that was asked for.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use meshless_core::Rng;
use tokio::time::{Instant, sleep};

use crate::fault::Faults;

/// The work that each call is. Clones share their draws.
#[derive(Clone, Debug)]
pub(crate) struct Work {
    mean: Duration,
    draws: Option<Arc<Mutex<Draws>>>,
}

#[derive(Debug)]
struct Draws {
    rng: Rng,
    /// What earlier calls have slept too long.
    owed: Duration,
}

impl Work {
    /// As long for every call.
    pub(crate) fn constant(time: Duration) -> Self {
        Self { mean: time, draws: None }
    }

    /// Exponentially distributed, as the stream of `seed` has it.
    pub(crate) fn exponential(mean: Duration, seed: u64) -> Self {
        let draws = Draws { rng: Rng::new(seed, SERVICE_TIMES), owed: Duration::ZERO };
        Self { mean, draws: Some(Arc::new(Mutex::new(draws))) }
    }

    /// Works on one call, for longer if `faults` has it.
    pub(crate) async fn do_one(&self, faults: &Faults) {
        let mean = faults.stretched(self.mean);
        let Some(draws) = &self.draws else { return sleep(mean).await };
        let draws = || draws.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = draws().draw(mean);
        if wanted.is_zero() {
            return;
        }
        let begun = Instant::now();
        sleep(wanted).await;
        draws().owed += begun.elapsed().saturating_sub(wanted);
    }
}

impl Draws {
    fn draw(&mut self, mean: Duration) -> Duration {
        // 1 − unit() lies in (0, 1], whose logarithm is finite.
        let drawn = mean.mul_f64(-(1.0 - self.rng.unit()).ln());
        let paid = drawn.min(self.owed);
        self.owed -= paid;
        drawn - paid
    }
}

/// Id of the random stream of service times under a server's seed.
const SERVICE_TIMES: u64 = 0x7365_7276_6963_6573;

#[cfg(test)]
mod tests {
    use super::*;

    const MEAN: Duration = Duration::from_millis(20);

    #[tokio::test(start_paused = true)]
    async fn constant_work_takes_as_long_each_time() {
        let begun = Instant::now();
        Work::constant(MEAN).do_one(&Faults::default()).await;
        assert_eq!(begun.elapsed(), MEAN);
    }

    /// Tokio's timers end on whole milliseconds: without paying back, the mean would be half of one
    /// too long.
    #[tokio::test(start_paused = true)]
    async fn drawn_work_has_the_mean_that_was_asked_for_although_timers_are_late() {
        let (work, calls) = (Work::exponential(MEAN, 7), 10_000);
        let begun = Instant::now();
        for _ in 0..calls {
            work.do_one(&Faults::default()).await;
        }
        let mean = begun.elapsed().as_secs_f64() / f64::from(calls);
        let drawn: f64 = {
            let mut draws = Draws { rng: Rng::new(7, SERVICE_TIMES), owed: Duration::ZERO };
            (0..calls).map(|_| draws.draw(MEAN).as_secs_f64()).sum::<f64>() / f64::from(calls)
        };
        assert!((mean / drawn - 1.0).abs() < 0.001, "{mean} instead of {drawn}");
        // Five deviations of the mean of 10 000 exponential draws.
        assert!((drawn / MEAN.as_secs_f64() - 1.0).abs() < 0.05, "{drawn}");
    }
}
