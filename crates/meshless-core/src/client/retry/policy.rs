//! Retry and hedging policies, as users set them (gRFC A6, "Retry Policy" and "Hedging Policy").

use std::time::Duration;

use crate::code::{Code, CodeSet};
use crate::longest::LONGEST;
use crate::rng::Rng;

/// Which failed calls are sent again, how often, and after what pause. A value in hand is valid.
///
/// A call that is sent again may have been executed before it failed: set this for methods that can
/// bear it. Calls that a server provably did not process need no policy; they are always sent
/// again.
#[derive(Clone, Debug, PartialEq)]
pub struct RetryPolicy {
    max_attempts: u32,
    initial_backoff: Duration,
    max_backoff: Duration,
    multiplier: f64,
    retryable: CodeSet,
    per_attempt_timeout: Option<Duration>,
}

impl RetryPolicy {
    /// For most services: four attempts on UNAVAILABLE, 25 ms apart at first, doubling up to 250 ms
    /// (Envoy's pauses). UNAVAILABLE is what the calls in flight on a pod that is killed end with,
    /// and what servers say that cannot serve.
    pub fn unavailable() -> Self {
        Self {
            max_attempts: 4,
            initial_backoff: Duration::from_millis(25),
            max_backoff: Duration::from_millis(250),
            multiplier: 2.0,
            retryable: CodeSet::from_iter([Code::Unavailable]),
            per_attempt_timeout: None,
        }
    }

    /// At most `max_attempts` in all, the first included, while calls end with one of these codes;
    /// with the pauses of [`unavailable`](Self::unavailable). More than 5 count as 5.
    ///
    /// # Errors
    /// If `max_attempts` is below 2, or there is no code, or OK is one.
    pub fn new(
        max_attempts: u32,
        retryable: impl IntoIterator<Item = Code>,
    ) -> Result<Self, InvalidRetryError> {
        let retryable: CodeSet = retryable.into_iter().collect();
        if retryable.is_empty() {
            return Err(InvalidRetryError::NoCode);
        }
        if retryable.contains(Code::Ok) {
            return Err(InvalidRetryError::Ok);
        }
        Ok(Self { max_attempts: checked_attempts(max_attempts)?, retryable, ..Self::unavailable() })
    }

    /// The pause before attempt n + 1: `initial × multiplier`ⁿ⁻¹, at most `max`, ± 20 % at random.
    ///
    /// # Errors
    /// If a duration is zero, or `multiplier` is not a number above 0.
    pub fn with_backoff(
        mut self,
        initial: Duration,
        max: Duration,
        multiplier: f64,
    ) -> Result<Self, InvalidRetryError> {
        if initial.is_zero() || max.is_zero() {
            return Err(InvalidRetryError::Backoff);
        }
        if !(multiplier > 0.0 && multiplier.is_finite()) {
            return Err(InvalidRetryError::Multiplier(multiplier));
        }
        (self.initial_backoff, self.max_backoff) = (initial.min(LONGEST), max.min(LONGEST));
        self.multiplier = multiplier;
        Ok(self)
    }

    /// How long an attempt may take from being sent to its first answer (waiting for a backend is
    /// not part of it); one that takes longer is cancelled and counts as failed with a code of the
    /// policy. Default: as long as the call may.
    ///
    /// # Errors
    /// If it is zero.
    pub fn with_per_attempt_timeout(mut self, timeout: Duration) -> Result<Self, InvalidRetryError> {
        if timeout.is_zero() {
            return Err(InvalidRetryError::PerAttemptTimeout);
        }
        self.per_attempt_timeout = Some(timeout.min(LONGEST));
        Ok(self)
    }

    /// Attempts of a call, the first included: 2 to 5.
    pub fn max_attempts(&self) -> u32 {
        self.max_attempts
    }

    /// The codes after which a call is sent again.
    pub fn retryable(&self) -> CodeSet {
        self.retryable
    }

    /// How long an attempt may take to its first answer.
    pub fn per_attempt_timeout(&self) -> Option<Duration> {
        self.per_attempt_timeout
    }

    /// The pause before the `n`th retry, from 1 on: random(0.8, 1.2) ×
    /// min(initialBackoff × backoffMultiplierⁿ⁻¹, maxBackoff), in the current wording of gRFC A6.
    pub(super) fn backoff(&self, n: u32, rng: &mut Rng) -> Duration {
        let exponent = i32::try_from(n.saturating_sub(1)).unwrap_or(i32::MAX);
        let grown = self.initial_backoff.as_secs_f64() * self.multiplier.powi(exponent);
        let nominal = grown.min(self.max_backoff.as_secs_f64()) * (0.8 + 0.4 * rng.unit());
        Duration::try_from_secs_f64(nominal).unwrap_or(Duration::MAX)
    }
}

/// When a call is sent a second time without waiting for the first to fail. A value in hand is
/// valid.
///
/// The first answer counts, the other attempts are cancelled. So one call may be executed several
/// times: set this only for methods that can bear it, and that are worth the load. Calls with a
/// streaming request are sent once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HedgingPolicy {
    max_attempts: u32,
    delay: Duration,
    non_fatal: CodeSet,
}

impl HedgingPolicy {
    /// At most `max_attempts` in all, each `delay` after the one before was placed on a backend;
    /// zero sends all of them at once. More than 5 count as 5.
    ///
    /// # Errors
    /// If `max_attempts` is below 2.
    pub fn new(max_attempts: u32, delay: Duration) -> Result<Self, InvalidRetryError> {
        Ok(Self {
            max_attempts: checked_attempts(max_attempts)?,
            delay: delay.min(LONGEST),
            non_fatal: CodeSet::EMPTY,
        })
    }

    /// Codes that do not end the call: the next attempt starts at once, and those under way go on.
    /// Any other answer ends it. Default: none.
    pub fn with_non_fatal(mut self, codes: impl IntoIterator<Item = Code>) -> Self {
        self.non_fatal = codes.into_iter().collect();
        self
    }

    /// Attempts of a call, the first included: 2 to 5.
    pub fn max_attempts(&self) -> u32 {
        self.max_attempts
    }

    /// From the start of one attempt to that of the next.
    pub fn delay(&self) -> Duration {
        self.delay
    }

    /// The codes that do not end a call.
    pub fn non_fatal(&self) -> CodeSet {
        self.non_fatal
    }
}

/// Why a policy was refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidRetryError {
    /// Fewer than two attempts are no retry.
    #[error("{0} attempts are too few; set at least 2, the first one included")]
    MaxAttempts(u32),
    /// No code that a call would be sent again for.
    #[error("no status code is retryable; name at least one, such as UNAVAILABLE")]
    NoCode,
    /// OK as a code to send a call again for.
    #[error("OK is not a failure; leave it out of the retryable codes")]
    Ok,
    /// A pause of no length.
    #[error("a backoff of zero would hammer the servers; set the initial and the longest one above zero")]
    Backoff,
    /// Pauses that would become none.
    #[error("backoff multiplier {0} must be a number above 0")]
    Multiplier(f64),
    /// No time for an attempt.
    #[error("no attempt succeeds in no time; set a timeout per attempt above zero")]
    PerAttemptTimeout,
    /// The size of the throttle's bucket.
    #[error("{0} tokens are out of range; set 1 to 1000")]
    MaxTokens(u32),
    /// What a success puts back.
    #[error("token ratio {0} must be a number from 0.001 on")]
    TokenRatio(f64),
}

/// At most 5: "service owners may specify a higher value for these parameters, but higher values
/// will be treated as equal to the maximum value by the client implementation".
fn checked_attempts(max_attempts: u32) -> Result<u32, InvalidRetryError> {
    if max_attempts < 2 { Err(InvalidRetryError::MaxAttempts(max_attempts)) } else { Ok(max_attempts.min(5)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_follow_the_formula() {
        let ms = Duration::from_millis;
        let policy = RetryPolicy::unavailable().with_backoff(ms(100), ms(300), 2.0).unwrap();
        let mut rng = Rng::new(1, 1);
        for (n, nominal) in [(1, 100.0), (2, 200.0), (3, 300.0), (4, 300.0), (u32::MAX, 300.0)] {
            for _ in 0..100 {
                let pause = policy.backoff(n, &mut rng).as_secs_f64() * 1000.0;
                assert!((nominal * 0.8..=nominal * 1.2).contains(&pause), "{n}: {pause}");
            }
        }
        let endless = RetryPolicy::unavailable().with_backoff(Duration::MAX, Duration::MAX, 1e300).unwrap();
        assert!(endless.backoff(5, &mut rng) > ms(1), "no overflow");
    }

    #[test]
    fn attempts_are_two_to_five() {
        let codes = [Code::Unavailable];
        assert_eq!(RetryPolicy::new(1, codes), Err(InvalidRetryError::MaxAttempts(1)));
        assert_eq!(RetryPolicy::new(2, codes).unwrap().max_attempts(), 2);
        assert_eq!(RetryPolicy::new(100, codes).unwrap().max_attempts(), 5);
        assert!(HedgingPolicy::new(1, Duration::ZERO).is_err());
        assert_eq!(HedgingPolicy::new(9, Duration::ZERO).unwrap().max_attempts(), 5);
    }

    #[test]
    fn what_cannot_work_is_refused() {
        assert_eq!(RetryPolicy::new(2, []), Err(InvalidRetryError::NoCode));
        assert_eq!(RetryPolicy::new(2, [Code::Ok]), Err(InvalidRetryError::Ok));
        let (policy, second) = (RetryPolicy::unavailable, Duration::from_secs(1));
        assert!(policy().with_backoff(Duration::ZERO, second, 2.0).is_err());
        assert!(policy().with_backoff(second, Duration::ZERO, 2.0).is_err());
        for multiplier in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(policy().with_backoff(second, second, multiplier).is_err(), "{multiplier}");
        }
        assert!(policy().with_per_attempt_timeout(Duration::ZERO).is_err());
    }
}
