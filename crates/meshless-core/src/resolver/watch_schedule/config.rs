//! The intervals of a watch.

use std::time::Duration;

use crate::backoff::BackoffConfig;

/// How often a Service is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WatchScheduleConfig {
    pub(super) watch_timeout: Duration,
    pub(super) debounce: Duration,
    retry_interval: Duration,
    pub(super) denied_interval: Duration,
}

impl WatchScheduleConfig {
    /// How long one watch lasts, ± 20 %. One that is still silent a tenth later counts as dead.
    /// Default 2 min, at least 1 s, at most a day.
    #[must_use]
    pub fn watch_timeout(mut self, timeout: Duration) -> Self {
        self.watch_timeout = timeout.clamp(Duration::from_secs(1), MOST);
        self
    }

    /// How long changes are gathered before they are used; 20 µs more for each endpoint of the
    /// Service. Default 100 ms, at most a day.
    #[must_use]
    pub fn debounce(mut self, wait: Duration) -> Self {
        self.debounce = wait.min(MOST);
        self
    }

    /// The pause after a failed request. Each further one is 1.6 times as long, ± 20 %, up to 30
    /// times. Default 1 s, at least 10 ms, at most a day.
    #[must_use]
    pub fn retry_interval(mut self, interval: Duration) -> Self {
        self.retry_interval = interval.clamp(LEAST, MOST);
        self
    }

    /// The pause after a refusal. Default 3 min, at least 10 ms, at most a day.
    #[must_use]
    pub fn denied_interval(mut self, interval: Duration) -> Self {
        self.denied_interval = interval.clamp(LEAST, MOST);
        self
    }

    pub(super) fn backoff(&self) -> BackoffConfig {
        let most = self.retry_interval.saturating_mul(BACKOFF_GROWTH).min(MOST);
        BackoffConfig::new(self.retry_interval, BACKOFF_MULTIPLIER, JITTER, most)
            .expect("the first wait is at least 10 ms and at most the last")
    }
}

impl Default for WatchScheduleConfig {
    fn default() -> Self {
        Self {
            watch_timeout: Duration::from_secs(120),
            debounce: Duration::from_millis(100),
            retry_interval: Duration::from_secs(1),
            denied_interval: Duration::from_secs(180),
        }
    }
}

/// Keeps the clients of a cluster out of step.
pub(super) const JITTER: f64 = 0.2;
/// As for gRPC's connections.
const BACKOFF_MULTIPLIER: f64 = 1.6;
const BACKOFF_GROWTH: u32 = 30;
/// Nothing is done more often than this, whatever is asked for.
const LEAST: Duration = Duration::from_millis(10);
/// Nothing waits longer: it keeps sums of instants far from overflow.
const MOST: Duration = Duration::from_secs(24 * 60 * 60);
