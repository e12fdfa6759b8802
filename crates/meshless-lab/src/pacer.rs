//! When each call of a run is due, decided before the first is made.
//!
//! Pure: a schedule is a function of its settings and a seed. Offsets do not depend on answers (an
//! open loop), so that a slow server cannot slow down the arrival of the calls that would show its
//! slowness ("coordinated omission").
//!
//! Used by `client`, which sleeps until each offset, and by `stats`, which counts latency from
//! them.

use std::time::Duration;

use meshless_core::Rng;
use serde::{Deserialize, Serialize};

/// A way of spacing calls.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Pacing {
    /// All at once.
    Burst {
        /// How many.
        calls: u64,
    },
    /// Evenly spaced.
    Constant {
        /// Calls per second.
        rate: f64,
        /// For how long.
        length: Duration,
    },
    /// With exponential gaps, as calls of many independent users arrive.
    Poisson {
        /// Mean calls per second.
        rate: f64,
        /// For how long.
        length: Duration,
        /// Of the gaps.
        seed: u64,
    },
    /// Evenly spaced, at one rate after another.
    Steps {
        /// Calls per second of each step.
        rates: Vec<f64>,
        /// Length of each step.
        each: Duration,
    },
}

impl Pacing {
    /// Offsets from the start of the run at which calls are due, in order.
    pub(crate) fn offsets(&self) -> Box<dyn Iterator<Item = Duration> + Send> {
        match self {
            Self::Burst { calls } => Box::new((0..*calls).map(|_| Duration::ZERO)),
            Self::Constant { rate, length } => Box::new(constant(*rate, *length)),
            Self::Poisson { rate, length, seed } => Box::new(poisson(*rate, *length, *seed)),
            Self::Steps { rates, each } => {
                let each = *each;
                Box::new(rates.clone().into_iter().zip(0u32..).flat_map(move |(rate, step)| {
                    constant(rate, each).map(move |offset| each * step + offset)
                }))
            }
        }
    }
}

fn constant(rate: f64, length: Duration) -> impl Iterator<Item = Duration> + Send {
    // Multiplied, not summed up: the rounding of one gap does not drift.
    (0u64..).map(move |n| Duration::from_secs_f64(n as f64 / rate)).take_while(move |offset| *offset < length)
}

fn poisson(rate: f64, length: Duration, seed: u64) -> impl Iterator<Item = Duration> + Send {
    let mut rng = Rng::new(seed, ARRIVALS);
    let mut at = 0.0;
    std::iter::from_fn(move || {
        // 1 − unit() lies in (0, 1], whose logarithm is finite.
        at += -(1.0 - rng.unit()).ln() / rate;
        Some(Duration::from_secs_f64(at))
    })
    .take_while(move |offset| *offset < length)
}

/// Id of the random stream of arrivals under a run's seed.
const ARRIVALS: u64 = 0x0061_7272_6976_616c;

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_burst_is_due_at_once() {
        let offsets: Vec<_> = Pacing::Burst { calls: 3 }.offsets().collect();
        assert_eq!(offsets, [Duration::ZERO; 3]);
    }

    #[test]
    fn a_constant_rate_is_evenly_spaced_and_does_not_drift() {
        let offsets: Vec<_> = Pacing::Constant { rate: 300.0, length: 10 * SECOND }.offsets().collect();
        assert_eq!(offsets.len(), 3000);
        assert_eq!(offsets[1500], 5 * SECOND);
    }

    #[test]
    fn poisson_arrivals_have_exponential_gaps_and_replay_by_seed() {
        let pacing = |seed| Pacing::Poisson { rate: 1000.0, length: 10 * SECOND, seed };
        let offsets: Vec<_> = pacing(7).offsets().collect();
        assert_eq!(offsets, pacing(7).offsets().collect::<Vec<_>>());
        assert_ne!(offsets, pacing(8).offsets().collect::<Vec<_>>());
        // 10 000 ± 5 standard deviations (√10 000 = 100).
        assert!(offsets.len().abs_diff(10_000) < 500, "{}", offsets.len());
        assert!(offsets.is_sorted() && *offsets.last().unwrap() < 10 * SECOND);
        // An exponential gap is shorter than its mean with probability 1 − 1/e; ± 5 deviations of
        // √(p(1 − p)/n).
        let short = offsets.windows(2).filter(|pair| pair[1] - pair[0] < Duration::from_millis(1)).count();
        let fraction = short as f64 / (offsets.len() - 1) as f64;
        assert!((fraction - 0.632).abs() < 0.025, "{fraction}");
    }

    #[test]
    fn steps_follow_each_other() {
        let offsets: Vec<_> = Pacing::Steps { rates: vec![10.0, 100.0], each: SECOND }.offsets().collect();
        assert_eq!(offsets.iter().filter(|offset| **offset < SECOND).count(), 10);
        assert_eq!(offsets.len(), 110);
        assert!(offsets.is_sorted());
    }
}
