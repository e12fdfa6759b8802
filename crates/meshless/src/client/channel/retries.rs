//! The retries of a channel: the throttle that its calls share, and counters for users and metrics.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use meshless_core::{Code, CodeSet, RetryThrottle};

/// How often the calls of a channel were sent again since it was made (in the terms of gRFC A96).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct RetryStats {
    /// Attempts by a retry policy, except the first of each call.
    pub retries: u64,
    /// Attempts that needed no policy, since the server provably had not processed the previous
    /// one.
    pub transparent_retries: u64,
    /// Attempts by a hedging policy, except the first of each call.
    pub hedges: u64,
    /// The sum of all pauses before retries.
    pub retry_delay: Duration,
    /// Tokens left in the retry throttle, if there is one. At half of the maximum or below, no
    /// policy sends a call again.
    pub throttle_tokens: Option<f64>,
}

/// The throttle and the counters of one channel. Failing calls and calls with a policy use them.
#[derive(Debug)]
pub(crate) struct Retries {
    throttle: Option<RetryThrottle>,
    retries: AtomicU64,
    transparent_retries: AtomicU64,
    hedges: AtomicU64,
    retry_delay_ns: AtomicU64,
}

impl Retries {
    pub(super) fn new(throttle: Option<RetryThrottle>) -> Self {
        let zero = || AtomicU64::new(0);
        Self {
            throttle,
            retries: zero(),
            transparent_retries: zero(),
            hedges: zero(),
            retry_delay_ns: zero(),
        }
    }

    pub(super) fn throttle(&self) -> Option<&RetryThrottle> {
        self.throttle.as_ref()
    }

    /// Counts the end of an answer that had begun; `failures` are the codes of its call's policy.
    pub(super) fn record_end(&self, code: Code, failures: CodeSet) {
        let Some(throttle) = &self.throttle else { return };
        if code == Code::Ok {
            throttle.record_success();
        } else if failures.contains(code) {
            throttle.record_failure();
        }
    }

    pub(super) fn record_transparent_retry(&self) {
        self.transparent_retries.fetch_add(1, Relaxed);
    }

    pub(super) fn record_retry(&self, delay: Duration) {
        self.retries.fetch_add(1, Relaxed);
        // It holds pauses of 584 years.
        self.retry_delay_ns.fetch_add(u64::try_from(delay.as_nanos()).unwrap_or(0), Relaxed);
    }

    pub(super) fn record_hedge(&self) {
        self.hedges.fetch_add(1, Relaxed);
    }

    pub(super) fn stats(&self) -> RetryStats {
        RetryStats {
            retries: self.retries.load(Relaxed),
            transparent_retries: self.transparent_retries.load(Relaxed),
            hedges: self.hedges.load(Relaxed),
            retry_delay: Duration::from_nanos(self.retry_delay_ns.load(Relaxed)),
            throttle_tokens: self.throttle.as_ref().map(RetryThrottle::tokens),
        }
    }
}
