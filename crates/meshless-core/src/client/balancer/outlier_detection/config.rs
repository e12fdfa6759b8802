//! The settings of ejection. Setters accept only valid values, so every configuration is valid.

use std::num::NonZeroU32;
use std::time::Duration;

use super::comparison::OutlierConfig;
use crate::longest::LONGEST;

/// When failing endpoints are taken out of the picker, and for how long. `pick_first` ejects
/// nothing.
///
/// [`Ending::outcome`](crate::Ending::outcome) says which ends of a call are failures. An endpoint
/// that stays silent until the deadline counts like one that fails at once.
///
/// The breaker counts consecutive failures and is on by default. It looks at one endpoint, acts
/// within a call, and is rarely wrong. It does not act if such a run has a probability above one in
/// a million at the failure rate of the endpoint's peers. So it does not act in an overload, when
/// all of them fail calls. Comparing endpoints at intervals
/// ([`outlier_detection`](Self::outlier_detection)) finds those that fail now and then. It is off
/// by default for two reasons: an endpoint that differs from its peers (a shard, a canary) need not
/// be broken, and it wakes the channel every interval.
#[derive(Clone, Debug)]
pub struct EjectionConfig {
    pub(in crate::client::balancer) consecutive_failures: Option<NonZeroU32>,
    pub(super) outliers: Option<OutlierConfig>,
    pub(super) base_time: Duration,
    pub(super) max_time: Duration,
    pub(super) panic_percent: u8,
}

impl EjectionConfig {
    /// The breaker: an endpoint is ejected at once after this many consecutive failures. Default 5;
    /// `None` never ejects for this. If its peers fail calls too, it takes more: six if they fail
    /// one in ten, twenty if every other. Linkerd's default is 7. A lower number loses fewer calls
    /// to a dead backend; a higher one tolerates a worse backend.
    pub fn consecutive_failures(mut self, failures: impl Into<Option<NonZeroU32>>) -> Self {
        self.consecutive_failures = failures.into();
        self
    }

    /// Compares endpoints with their peers at intervals, and ejects those with more failures (gRFC
    /// A50). Default `None`: off.
    pub fn outlier_detection(mut self, outliers: impl Into<Option<OutlierConfig>>) -> Self {
        self.outliers = outliers.into();
        self
    }

    /// How long the first ejection lasts; the next ones last two, three, … times as long. It varies
    /// by ±20 %, so that clients do not return together. Default 5 s; below 100 ms counts as that.
    ///
    /// A50's 30 s suit large fleets: one of three pods is a third of the capacity, too much to lose
    /// for half a minute after a hiccup. If it is much shorter, probes of a dead backend lose calls
    /// themselves: one per client and ejection.
    pub fn base_time(mut self, time: Duration) -> Self {
        self.base_time = time.clamp(BASE_TIME_MIN, LONGEST);
        self
    }

    /// How long an ejection lasts at most. Default 60 s (A50: 300 s): a recovered pod may wait that
    /// long for its share. Below the base time counts as that.
    pub fn max_time(mut self, time: Duration) -> Self {
        self.max_time = time.min(LONGEST);
        self
    }

    /// The panic threshold, in percent of the listed endpoints. If more than this share is
    /// unreachable, is ejected or would be, single endpoints are not the cause, and calls go to all
    /// ready endpoints. Default 50, Envoy's. Above 100 counts as 100.
    ///
    /// Shares are rounded down, but to at least one endpoint: one of two or three may be ejected,
    /// two of four. At 0 none is ejected. A single endpoint never is. At any percentage, the last
    /// ready endpoint is used.
    pub fn panic_percent(mut self, percent: u8) -> Self {
        self.panic_percent = percent.min(100);
        self
    }

    /// Returns how many of `listed` endpoints may be out of service without a panic.
    pub(super) fn tolerated(&self, listed: usize) -> usize {
        // "Will eject at least one host regardless of the value" (Envoy). A50's check before each
        // ejection does the same.
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
