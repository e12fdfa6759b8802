//! Connection backoff, as in every gRPC client (grpc/doc/connection-backoff.md).
//!
//! A subchannel calls it between two attempts to connect. It keeps no clock: it returns durations,
//! and the caller adds them to its time.

use std::time::Duration;

use crate::longest::LONGEST;
use crate::rng::Rng;

/// How long to wait between attempts to connect to one endpoint. The constructor accepts only valid
/// values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BackoffConfig {
    base: Duration,
    multiplier: f64,
    jitter: f64,
    max: Duration,
    min_connect_timeout: Duration,
}

impl BackoffConfig {
    /// Delays start at `base` and grow by `multiplier` with every failure, up to `max`. Every delay
    /// is made longer or shorter by at most `jitter` of itself (0.2 is ±20 %).
    ///
    /// # Errors
    /// If `base` is zero or above `max`, if `multiplier` is not a number of at least 1, or if
    /// `jitter` is not in `0..1`.
    pub fn new(
        base: Duration,
        multiplier: f64,
        jitter: f64,
        max: Duration,
    ) -> Result<Self, InvalidBackoffError> {
        if base.is_zero() || base > max {
            return Err(InvalidBackoffError::Base { base, max });
        }
        if !(multiplier >= 1.0 && multiplier.is_finite()) {
            return Err(InvalidBackoffError::Multiplier(multiplier));
        }
        if !(0.0..1.0).contains(&jitter) {
            return Err(InvalidBackoffError::Jitter(jitter));
        }
        let (base, max) = (base.min(LONGEST), max.min(LONGEST));
        Ok(Self { base, multiplier, jitter, max, ..Self::default() })
    }

    /// The minimum time for an attempt to connect, also if the delay before the next one is
    /// shorter. Default 20 s.
    pub fn with_min_connect_timeout(mut self, timeout: Duration) -> Self {
        self.min_connect_timeout = timeout.min(LONGEST);
        self
    }
}

impl Default for BackoffConfig {
    /// 1 s × 1.6, ±20 %, at most 120 s; 20 s to connect.
    fn default() -> Self {
        Self {
            base: Duration::from_secs(1),
            multiplier: 1.6,
            jitter: 0.2,
            max: Duration::from_secs(120),
            min_connect_timeout: Duration::from_secs(20),
        }
    }
}

/// Why a [`BackoffConfig`] was refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidBackoffError {
    /// The first delay is out of range.
    #[error("backoff base {base:?} must be above zero and at most the maximum of {max:?}")]
    Base {
        /// The given first delay.
        base: Duration,
        /// The given longest delay.
        max: Duration,
    },
    /// The multiplier would shrink the delays.
    #[error("backoff multiplier {0} must be a number from 1 on")]
    Multiplier(f64),
    /// The jitter could make a delay negative.
    #[error("backoff jitter {0} must be at least 0 and below 1")]
    Jitter(f64),
}

/// One endpoint's position in its sequence of delays.
#[derive(Clone, Debug)]
pub struct Backoff {
    config: BackoffConfig,
    next: Duration,
}

impl Backoff {
    /// Starts at the beginning of the sequence.
    pub fn new(config: BackoffConfig) -> Self {
        Self { next: config.base, config }
    }

    /// Returns the delay from the start of the failed attempt to the start of the next one.
    pub fn advance(&mut self, rng: &mut Rng) -> Duration {
        let delay = rng.jittered(self.next, self.config.jitter);
        // `Duration::mul_f64` panics on overflow; the comparison before it excludes that for every
        // valid configuration.
        let grown = self.next.as_secs_f64() * self.config.multiplier;
        self.next = if grown < self.config.max.as_secs_f64() {
            Duration::from_secs_f64(grown)
        } else {
            self.config.max
        };
        delay
    }

    /// Goes back to the beginning: the endpoint has served.
    pub fn reset(&mut self) {
        self.next = self.config.base;
    }

    /// Returns the time limit of the attempt that starts now. It ends when the next one would be
    /// due, but not before 20 s.
    pub fn connect_timeout(&self) -> Duration {
        self.next.max(self.config.min_connect_timeout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_follow_the_specification() {
        let mut rng = Rng::new(1, 1);
        let mut backoff = Backoff::new(BackoffConfig::default());
        let mut nominal: f64 = 1.0;
        for _ in 0..20 {
            let delay = backoff.advance(&mut rng).as_secs_f64();
            assert!((nominal * 0.8..=nominal * 1.2).contains(&delay), "{delay} s, nominally {nominal} s");
            nominal = (nominal * 1.6).min(120.0);
        }
        assert_eq!(backoff.connect_timeout(), Duration::from_secs(120));
        backoff.reset();
        assert!(backoff.advance(&mut rng) <= Duration::from_millis(1200));
        assert_eq!(backoff.connect_timeout(), Duration::from_secs(20));
    }

    #[test]
    fn what_cannot_work_is_refused() {
        let second = Duration::from_secs(1);
        assert!(BackoffConfig::new(second, 1.0, 0.0, second).is_ok());
        assert!(BackoffConfig::new(Duration::ZERO, 1.6, 0.2, second).is_err());
        assert!(BackoffConfig::new(second * 2, 1.6, 0.2, second).is_err());
        assert!(BackoffConfig::new(second, f64::NAN, 0.2, second).is_err());
        assert!(BackoffConfig::new(second, 0.5, 0.2, second).is_err());
        assert!(BackoffConfig::new(second, 1.6, 1.0, second).is_err());
    }

    #[test]
    fn the_largest_durations_do_not_overflow() {
        let config = BackoffConfig::new(Duration::from_secs(u64::MAX / 2), 1e300, 0.0, Duration::MAX);
        let mut backoff = Backoff::new(config.unwrap());
        backoff.advance(&mut Rng::new(1, 1));
        assert_eq!(backoff.connect_timeout(), LONGEST);
    }
}
