//! The retry throttle of a channel: failures empty a token bucket, and successes fill it. It is
//! gRFC A6's "Throttling Retry Attempts and Hedged RPCs".
//!
//! Retries help against one failing backend, and harm when all are overloaded. The bucket tells the
//! two apart: failed calls are sent again while more than half of it is left, and an overload
//! empties it. The attempts beyond the calls are always at most `max_tokens / 2 + token_ratio ×
//! successes`.
//!
//! There is one per channel; its calls share it without a lock. Transparent retries never touch it.
//! Calls without a retry or hedging policy do not either: only a policy says which of their
//! failures are the server's.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use super::policy::InvalidRetryError;

/// The size of a [`RetryThrottle`], and how fast it fills. The constructor accepts only valid
/// values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryThrottling {
    max_milli: u32,
    ratio_milli: u32,
}

impl RetryThrottling {
    /// A bucket of `max_tokens` (1 to 1000), full at first. A failed attempt takes one token; a
    /// successful call puts `token_ratio` back (three decimals count). Calls are sent again while
    /// more than half of the tokens are left.
    ///
    /// # Errors
    /// If either is out of its range.
    pub fn new(max_tokens: u32, token_ratio: f64) -> Result<Self, InvalidRetryError> {
        if !(1..=1000).contains(&max_tokens) {
            return Err(InvalidRetryError::MaxTokens(max_tokens));
        }
        let ratio_milli = (token_ratio * 1000.0).floor();
        // A NaN fails the comparison.
        if !(ratio_milli >= 1.0 && token_ratio.is_finite()) {
            return Err(InvalidRetryError::TokenRatio(token_ratio));
        }
        // A ratio above the bucket's size fills it.
        let max_milli = max_tokens * 1000;
        Ok(Self { max_milli, ratio_milli: ratio_milli.min(f64::from(max_milli)) as u32 })
    }

    /// Returns the number of tokens in a full bucket.
    pub fn max_tokens(self) -> u32 {
        self.max_milli / 1000
    }

    /// Returns the tokens that a success puts back.
    pub fn token_ratio(self) -> f64 {
        f64::from(self.ratio_milli) / 1000.0
    }
}

impl Default for RetryThrottling {
    /// 1000 tokens, 0.1 for a success. A backend that dies with 499 calls in flight then loses none
    /// of them. In the long run attempts are at most 1.1 × calls, which an overloaded service can
    /// bear. (gRFC A6's example of 10 tokens would lose all but four of the calls on a dead pod.)
    fn default() -> Self {
        Self { max_milli: 1_000_000, ratio_milli: 100 }
    }
}

/// The bucket. gRFC A6: a `token_count`, "initially set to `maxTokens`", which "can take values
/// between 0 and `maxTokens`".
#[derive(Debug)]
pub struct RetryThrottle {
    config: RetryThrottling,
    /// Thousandths of a token.
    tokens_milli: AtomicU32,
}

impl RetryThrottle {
    /// Creates a full bucket.
    pub fn new(config: RetryThrottling) -> Self {
        Self { config, tokens_milli: AtomicU32::new(config.max_milli) }
    }

    /// "Every failed RPC will decrement the token_count by 1." Returns true if a failed call may be
    /// sent again now.
    pub fn record_failure(&self) -> bool {
        let take = |tokens: u32| Some(tokens.saturating_sub(1000));
        let before = self.tokens_milli.fetch_update(Relaxed, Relaxed, take).unwrap_or_else(|tokens| tokens);
        self.is_above_half(before.saturating_sub(1000))
    }

    /// "Every successful RPC will increment the token_count by tokenRatio."
    #[inline]
    pub fn record_success(&self) {
        // The bucket of a healthy channel is full: its calls only read it and do not contend for
        // the cache line.
        if self.tokens_milli.load(Relaxed) < self.config.max_milli {
            let put = |tokens: u32| Some((tokens + self.config.ratio_milli).min(self.config.max_milli));
            let _ = self.tokens_milli.fetch_update(Relaxed, Relaxed, put);
        }
    }

    /// Returns true if more attempts than calls are allowed now. "If `token_count` is less than or
    /// equal to the threshold, defined to be `(maxTokens / 2)`, then RPCs will not be retried until
    /// `token_count` rises over the threshold".
    pub fn allows(&self) -> bool {
        self.is_above_half(self.tokens_milli.load(Relaxed))
    }

    /// Returns the tokens left.
    pub fn tokens(&self) -> f64 {
        f64::from(self.tokens_milli.load(Relaxed)) / 1000.0
    }

    /// Returns the settings.
    pub fn config(&self) -> RetryThrottling {
        self.config
    }

    fn is_above_half(&self, tokens_milli: u32) -> bool {
        tokens_milli > self.config.max_milli / 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_sent_again_at_half_or_below() {
        let throttle = RetryThrottle::new(RetryThrottling::new(10, 0.5).unwrap());
        let allowed: Vec<_> = (0..6).map(|_| throttle.record_failure()).collect();
        assert_eq!(allowed, [true, true, true, true, false, false], "9, 8, 7, 6 are more than 5");
        assert!(!throttle.allows());
        throttle.record_success();
        throttle.record_success();
        assert!(!throttle.allows(), "exactly half");
        throttle.record_success();
        assert!(throttle.allows());
    }

    #[test]
    fn the_bucket_neither_overflows_nor_goes_below_empty() {
        let throttle = RetryThrottle::new(RetryThrottling::new(2, 0.3).unwrap());
        for _ in 0..10 {
            throttle.record_failure();
        }
        assert_eq!(throttle.tokens(), 0.0);
        for _ in 0..10 {
            throttle.record_success();
        }
        assert_eq!(throttle.tokens(), 2.0);
    }

    #[test]
    fn the_default_survives_a_backend_that_dies_with_hundreds_of_calls() {
        let throttle = RetryThrottle::new(RetryThrottling::default());
        assert_eq!((0..1000).take_while(|_| throttle.record_failure()).count(), 499);
    }

    #[test]
    fn values_out_of_a6_s_ranges_are_refused() {
        assert!(RetryThrottling::new(1, 0.001).is_ok() && RetryThrottling::new(1000, 1e9).is_ok());
        assert!(RetryThrottling::new(0, 0.1).is_err() && RetryThrottling::new(1001, 0.1).is_err());
        for ratio in [0.0, 0.0009, -1.0, f64::NAN, f64::INFINITY] {
            assert!(RetryThrottling::new(10, ratio).is_err(), "{ratio}");
        }
        assert_eq!(RetryThrottling::new(10, 0.5466).unwrap().token_ratio(), 0.546);
    }
}
