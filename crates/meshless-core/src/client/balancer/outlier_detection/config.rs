//! What can be set about ejection. Setters take only what is valid, so that a configuration in hand
//! is.

use std::num::NonZeroU32;
use std::time::Duration;

use super::comparison::OutlierConfig;
use crate::longest::LONGEST;

/// When endpoints that fail are taken out of the picker, and for how long. `pick_first` ejects
/// nothing.
///
/// [`Ending::outcome`](crate::Ending::outcome) says which ends of a call are failures. An endpoint
/// that is silent until every deadline counts like one that fails at once.
///
/// The breaker is on by default. It looks at one endpoint, acts within a call, and errs rarely: it
/// does not act if such a run would be more than one in a million among the endpoint's peers, as in
/// an overload, when all of them fail calls. Comparing endpoints at intervals
/// ([`outlier_detection`](Self::outlier_detection)) finds those that fail now and then; it is off
/// by default, since what is unlike its peers need not be broken (a shard, a canary), and since it
/// wakes the channel every interval.
#[derive(Clone, Debug)]
pub struct EjectionConfig {
    pub(in crate::client::balancer) consecutive_failures: Option<NonZeroU32>,
    pub(super) outliers: Option<OutlierConfig>,
    pub(super) base_time: Duration,
    pub(super) max_time: Duration,
    pub(super) panic_percent: u8,
}

impl EjectionConfig {
    /// The breaker: how many calls in a row must fail for an endpoint to be ejected at once.
    /// Default 5; `None` never ejects for this. If its peers fail calls too, it takes more: six if
    /// they fail one in ten, twenty if every other. Linkerd's default is 7: fewer lose fewer calls
    /// to a dead backend, more forgive a worse one.
    pub fn consecutive_failures(mut self, failures: impl Into<Option<NonZeroU32>>) -> Self {
        self.consecutive_failures = failures.into();
        self
    }

    /// Compares endpoints with their peers at intervals, and ejects those that fail more (gRFC
    /// A50). Default `None`.
    pub fn outlier_detection(mut self, outliers: impl Into<Option<OutlierConfig>>) -> Self {
        self.outliers = outliers.into();
        self
    }

    /// How long the first ejection lasts, ±20 % so that clients do not return together; the next
    /// ones two, three, … times as long. Default 5 s; below 100 ms counts as that.
    ///
    /// A50's 30 s suit large fleets: of three pods, one that is out for half a minute after a
    /// hiccup is a third of the capacity. Much shorter, and probes of a dead backend become a loss
    /// of their own: one call per client and ejection.
    pub fn base_time(mut self, time: Duration) -> Self {
        self.base_time = time.clamp(BASE_TIME_MIN, LONGEST);
        self
    }

    /// How long an ejection lasts at most. Default 60 s (A50: 300 s), the time that a pod which has
    /// recovered may have to wait for its share. Below the base time counts as that.
    pub fn max_time(mut self, time: Duration) -> Self {
        self.max_time = time.min(LONGEST);
        self
    }

    /// The panic threshold: if more than this share of the listed endpoints cannot be reached, is
    /// ejected or would be, the trouble is not with single endpoints, and calls go to all that are
    /// ready. Default 50, Envoy's. Above 100 counts as 100.
    ///
    /// Shares are rounded down, but not to none: of two or three endpoints one may be ejected, of
    /// four two. At 0 none is, and a single one never. However high, the last endpoint that is
    /// ready is used.
    pub fn panic_percent(mut self, percent: u8) -> Self {
        self.panic_percent = percent.min(100);
        self
    }

    /// How many of `listed` endpoints may be out of service without a panic.
    pub(super) fn tolerated(&self, listed: usize) -> usize {
        // "Will eject at least one host regardless of the value" (Envoy), as A50's check before
        // each ejection does, too.
        (listed * usize::from(self.panic_percent) / 100).max(usize::from(self.panic_percent > 0))
    }

    pub(super) fn is_off(&self) -> bool {
        self.consecutive_failures.is_none() && self.outliers.is_none()
    }
}

impl Default for EjectionConfig {
    fn default() -> Self {
        Self {
            consecutive_failures: NonZeroU32::new(5),
            outliers: None,
            base_time: Duration::from_secs(5),
            max_time: Duration::from_secs(60),
            panic_percent: 50,
        }
    }
}

/// Below it, a dead backend would be probed by every client ten times a second.
const BASE_TIME_MIN: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_may_be_out_rounded_down_to_one_at_least() {
        let of =
            |percent| [2, 3, 4, 5, 10].map(|n| EjectionConfig::default().panic_percent(percent).tolerated(n));
        assert_eq!(of(50), [1, 1, 2, 2, 5]);
        assert_eq!(of(10), [1; 5]);
        assert_eq!(of(0), [0; 5]);
    }
}
