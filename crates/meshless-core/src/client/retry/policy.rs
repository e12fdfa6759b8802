//! Retry and hedging policies, as users set them (gRFC A6, "Retry Policy" and "Hedging Policy").

use std::time::Duration;

use crate::code::{Code, CodeSet};
use crate::longest::LONGEST;
use crate::rng::Rng;

/// Which failed calls are sent again, how often, and after what pause. Constructors accept only
/// valid values.
///
/// The failed call may have been executed before it is sent again, so set this only for methods
/// that tolerate it. Calls that a server provably did not process need no policy; they are always
/// sent again.
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
    /// (Envoy's pauses). Calls in flight on a killed pod end with UNAVAILABLE, and servers that
    /// cannot serve send it.
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

    /// Allows at most `max_attempts` in all, the first included, while calls end with one of
    /// `codes`. The pauses are those of [`unavailable`](Self::unavailable). More than 5 attempts
    /// count as 5.
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

    /// How long an attempt may take from being sent to its first answer. The wait for a backend
    /// does not count. A slower attempt is cancelled and counts as failed with a code of the
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

    /// Returns the maximum number of attempts, the first included: 2 to 5.
    pub fn max_attempts(&self) -> u32 {
        self.max_attempts
    }

    /// Returns the codes after which a call is sent again.
    pub fn retryable(&self) -> CodeSet {
        self.retryable
    }

    /// Returns how long an attempt may take to its first answer.
    pub fn per_attempt_timeout(&self) -> Option<Duration> {
        self.per_attempt_timeout
    }

    /// Returns the pause before the `n`th retry, from 1 on. It is random(0.8, 1.2) ×
    /// min(initialBackoff × backoffMultiplierⁿ⁻¹, maxBackoff), in the current wording of gRFC A6.
    pub(super) fn backoff(&self, n: u32, rng: &mut Rng) -> Duration {
        let exponent = i32::try_from(n.saturating_sub(1)).unwrap_or(i32::MAX);
        let grown = self.initial_backoff.as_secs_f64() * self.multiplier.powi(exponent);
        let nominal = grown.min(self.max_backoff.as_secs_f64()) * (0.8 + 0.4 * rng.unit());
        Duration::try_from_secs_f64(nominal).unwrap_or(Duration::MAX)
    }
}

/// When a call is sent again before its first attempt has failed. Constructors accept only valid
/// values.
///
/// The first answer counts, and the other attempts are cancelled. One call may be executed several
/// times, so set this only for methods that tolerate it and are worth the load. Calls with a
/// streaming request are sent once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HedgingPolicy {
    max_attempts: u32,
    delay: Duration,
    non_fatal: CodeSet,
}

impl HedgingPolicy {
    /// Allows at most `max_attempts` in all; each starts `delay` after the last one got a backend.
    /// Zero sends all of them at once. More than 5 count as 5.
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

    /// Codes that do not end the call. The next attempt then starts at once, and those under way go
    /// on. Any other answer ends the call. Default: none.
    pub fn with_non_fatal(mut self, codes: impl IntoIterator<Item = Code>) -> Self {
        self.non_fatal = codes.into_iter().collect();
        self
    }

    /// Returns the maximum number of attempts, the first included: 2 to 5.
    pub fn max_attempts(&self) -> u32 {
        self.max_attempts
    }

    /// Returns the time from the start of one attempt to the start of the next.
    pub fn delay(&self) -> Duration {
        self.delay
    }

    /// Returns the codes that do not end a call.
    pub fn non_fatal(&self) -> CodeSet {
        self.non_fatal
    }
}

/// Why a policy was refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidRetryError {
    /// There are fewer than two attempts.
    #[error("{0} attempts are too few; set at least 2, the first one included")]
    MaxAttempts(u32),
    /// There is no code to send a call again for.
    #[error("no status code is retryable; name at least one, such as UNAVAILABLE")]
    NoCode,
    /// OK is among the codes to send a call again for.
    #[error("OK is not a failure; leave it out of the retryable codes")]
    Ok,
    /// A pause is zero.
    #[error("a backoff of zero would hammer the servers; set the initial and the longest one above zero")]
    Backoff,
    /// The multiplier would reduce the pauses to none.
    #[error("backoff multiplier {0} must be a number above 0")]
    Multiplier(f64),
    /// The timeout per attempt is zero.
    #[error("no attempt succeeds in no time; set a timeout per attempt above zero")]
    PerAttemptTimeout,
    /// The throttle's bucket size is out of range.
    #[error("{0} tokens are out of range; set 1 to 1000")]
    MaxTokens(u32),
    /// The share of a token for a success is out of range.
    #[error("token ratio {0} must be a number from 0.001 on")]
    TokenRatio(f64),
}

/// Limits attempts to 5. gRFC A6: "service owners may specify a higher value for these parameters,
/// but higher values will be treated as equal to the maximum value by the client implementation".
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
