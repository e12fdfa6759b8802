//! The settings of a balancer. Setters accept only valid values, so every configuration is valid.

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

use super::outlier_detection::EjectionConfig;
use super::weights::{SlowStartConfig, WeightedConfig, ZonePreference};
use crate::backoff::BackoffConfig;
use crate::client::picker::Policy;
use crate::longest::LONGEST;

/// The settings of a [`Balancer`](crate::Balancer).
#[derive(Clone, Debug)]
pub struct BalancerConfig {
    pub(super) policy: Policy,
    pub(super) backoff: BackoffConfig,
    pub(super) choice_count: ChoiceCount,
    pub(super) latency_decay: Duration,
    pub(super) failure_penalty: Duration,
    pub(super) connections_per_endpoint: NonZeroU32,
    pub(super) concurrent_connects: NonZeroU32,
    pub(super) connects_per_second: NonZeroU32,
    pub(super) connect_burst: NonZeroU32,
    pub(super) ejection: EjectionConfig,
    pub(super) subset_size: Option<NonZeroUsize>,
    /// `None`: the default.
    endpoints_max: Option<NonZeroUsize>,
    default_endpoints_max: NonZeroUsize,
    pub(super) slow_start: Option<SlowStartConfig>,
    pub(super) weighted: WeightedConfig,
    pub(super) zone: Option<ZonePreference>,
    pub(super) stale_max: Duration,
}

/// How many endpoints `least_request` compares per pick: 2 to 10.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChoiceCount(u8);

/// The choice count is below 2, which compares nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("choice count {0} compares nothing: use 2 to 10")]
pub struct InvalidChoiceCountError(u32);

impl ChoiceCount {
    /// "Values smaller than 2 are rejected, values larger than 10 are capped" (gRFC A48).
    ///
    /// # Errors
    /// If `count` is below 2.
    pub fn new(count: u32) -> Result<Self, InvalidChoiceCountError> {
        match count {
            0 | 1 => Err(InvalidChoiceCountError(count)),
            2..=10 => Ok(Self(count as u8)),
            _ => Ok(Self(10)),
        }
    }

    /// Returns the number.
    pub fn get(self) -> u8 {
        self.0
    }
}

impl Default for ChoiceCount {
    fn default() -> Self {
        Self(2)
    }
}

impl BalancerConfig {
    /// The default settings, with `policy`.
    pub fn new(policy: Policy) -> Self {
        Self { policy, ..Self::default() }
    }

    /// The policy that chooses a backend for each call. Default: `round_robin`.
    pub fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    /// The pauses between attempts to connect to an endpoint. Default: gRPC's, 1 s × 1.6 up to 120
    /// s.
    pub fn backoff(mut self, backoff: BackoffConfig) -> Self {
        self.backoff = backoff;
        self
    }

    /// How many endpoints `least_request` compares per call. Default 2. More is slower and comes
    /// closer to the true minimum.
    pub fn choice_count(mut self, count: ChoiceCount) -> Self {
        self.choice_count = count;
        self
    }

    /// The time in which `peak_ewma` forgets a latency, down to 1/e. Default 10 s. A shorter time
    /// reacts sooner to a recovered backend, and also forgets a slow one sooner.
    pub fn latency_decay(mut self, decay: Duration) -> Self {
        self.latency_decay = decay.clamp(Duration::from_millis(1), LONGEST);
        self
    }

    /// The latency that `peak_ewma` records for a failed call, unless the call took longer. Default
    /// 5 s. It is forgotten ten times as fast as a latency, within seconds. With 0, a backend that
    /// fails fast attracts traffic.
    pub fn failure_penalty(mut self, penalty: Duration) -> Self {
        self.failure_penalty = penalty.min(LONGEST);
        self
    }

    /// How many connections to one endpoint may take calls at a time. Another one is made when all
    /// are full (gRFC A105). Default 4.
    pub fn connections_per_endpoint(mut self, max: NonZeroU32) -> Self {
        self.connections_per_endpoint = max;
        self
    }

    /// How many connection attempts may run at a time. Default 64.
    pub fn concurrent_connects(mut self, max: NonZeroU32) -> Self {
        self.concurrent_connects = max;
        self
    }

    /// How many connects may begin per second, and in a burst after a quiet time. In any `t`
    /// seconds at most `burst + rate × t` begin. Default 100 and 200. With too few, a large set of
    /// endpoints takes long to connect, and short-lived connections are not replaced in time.
    pub fn connects_per_second(mut self, rate: NonZeroU32, burst: NonZeroU32) -> Self {
        self.connects_per_second = rate;
        self.connect_burst = burst;
        self
    }

    /// When failing endpoints are taken out of the picker. Default: after five consecutive
    /// failures, for 5 s. `None`: never.
    pub fn ejection(mut self, ejection: impl Into<Option<EjectionConfig>>) -> Self {
        let never = || EjectionConfig::default().consecutive_failures(None);
        self.ejection = ejection.into().unwrap_or_else(never);
        self
    }

    /// How many of the endpoints to connect to; a fixed random choice (gRFC A68). Default `None`:
    /// all, up to [`endpoints_max`](Self::endpoints_max). Without it, a thousand clients of a
    /// hundred endpoints make a hundred thousand connections. With few clients a subset spreads
    /// load unevenly. `pick_first` connects to one endpoint out of all.
    pub fn subset_size(mut self, size: impl Into<Option<NonZeroUsize>>) -> Self {
        self.subset_size = size.into();
        self
    }

    /// How many endpoints are used at most. If the resolver names more, a random subset is used, as
    /// with [`subset_size`](Self::subset_size). Default 1 000: each connection takes a file
    /// descriptor, and many systems allow a process 1 024. The channel lowers the default to half
    /// of its process's limit. Raise it together with that limit (`ulimit -n`), or set a smaller
    /// `subset_size`. A warning says when the limit applies. For `pick_first` it limits the list of
    /// addresses.
    pub fn endpoints_max(mut self, max: NonZeroUsize) -> Self {
        self.endpoints_max = Some(max);
        self
    }

    /// Lowers the default of [`endpoints_max`](Self::endpoints_max) for a process that may open
    /// `limit` files. Half of them are left to the application. Has no effect if `endpoints_max` is
    /// set.
    pub fn file_descriptors(mut self, limit: usize) -> Self {
        let half = NonZeroUsize::new(limit / 2).unwrap_or(NonZeroUsize::MIN);
        self.default_endpoints_max = self.default_endpoints_max.min(half);
        self
    }

    /// If set, endpoints that appear, or recover from an outage or ejection, get their share
    /// gradually. Default `None`: at once. Has no effect on `pick_first`, which has no shares.
    pub fn slow_start(mut self, slow_start: impl Into<Option<SlowStartConfig>>) -> Self {
        self.slow_start = slow_start.into();
        self
    }

    /// How `weighted_round_robin` uses the servers' reports.
    pub fn weighted(mut self, weighted: WeightedConfig) -> Self {
        self.weighted = weighted;
        self
    }

    /// Keeps calls in the client's zone as far as its endpoints can take them. The rest is spread
    /// over the zones with room. Default `None`: zones do not matter.
    ///
    /// Only ready endpoints count. All have the same capacity, except for slow start and, in
    /// `weighted_round_robin`, the weights. Each zone gets its share, and within a zone the policy
    /// decides. An endpoint that is slow, but neither ejected nor unhealthy, keeps its zone's
    /// calls. Endpoints without a known zone, as all from DNS, count as one group outside any zone;
    /// if no zone is known, nothing changes. Has no effect on `pick_first`, which has no shares.
    /// With a subset, the shares are those within it.
    pub fn zone(mut self, preference: impl Into<Option<ZonePreference>>) -> Self {
        self.zone = preference.into();
        self
    }

    pub(super) fn most_endpoints(&self) -> NonZeroUsize {
        self.endpoints_max.unwrap_or(self.default_endpoints_max)
    }

    /// Returns the ejection settings.
    pub fn ejection_settings(&self) -> &EjectionConfig {
        &self.ejection
    }

    /// Returns the settings of `weighted_round_robin`.
    pub fn weighted_settings(&self) -> &WeightedConfig {
        &self.weighted
    }

    /// Returns the zone preference, if set.
    pub fn zone_preference(&self) -> Option<&ZonePreference> {
        self.zone.as_ref()
    }
}

impl BalancerConfig {
    /// How long unconnected endpoints are kept while the resolver says that there are none. The
    /// resolver says so by NXDOMAIN or an empty answer. Default 1 h, which outlasts most mistakes
    /// in DNS. Longer risks connecting to an address that now belongs to someone else. If the
    /// resolver fails to answer, nothing changes. A connected endpoint is kept as long as it is
    /// connected.
    pub fn stale_max(mut self, max: Duration) -> Self {
        self.stale_max = max.min(LONGEST);
        self
    }
}

impl Default for BalancerConfig {
    fn default() -> Self {
        const fn n(n: u32) -> NonZeroU32 {
            NonZeroU32::new(n).expect("defaults are not zero")
        }
        Self {
            policy: Policy::default(),
            backoff: BackoffConfig::default(),
            choice_count: ChoiceCount::default(),
            latency_decay: Duration::from_secs(10),
            failure_penalty: Duration::from_secs(5),
            connections_per_endpoint: n(4),
            concurrent_connects: n(64),
            connects_per_second: n(100),
            connect_burst: n(200),
            ejection: EjectionConfig::default(),
            subset_size: None,
            endpoints_max: None,
            default_endpoints_max: NonZeroUsize::new(ENDPOINTS_MAX).expect("it is not zero"),
            slow_start: None,
            weighted: WeightedConfig::default(),
            zone: None,
            stale_max: Duration::from_secs(60 * 60),
        }
    }
}

/// The default of `endpoints_max`.
const ENDPOINTS_MAX: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choice_counts_follow_a48() {
        assert!(ChoiceCount::new(0).is_err() && ChoiceCount::new(1).is_err());
        assert_eq!([2, 3, 10, 11, 1000].map(|n| ChoiceCount::new(n).unwrap().get()), [2, 3, 10, 10, 10]);
    }
}
