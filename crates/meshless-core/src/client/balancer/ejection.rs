//! Ejection: what can be set about it, and where one endpoint stands.
//!
//! ```text
//!             fails in a row, or far more than its peers          time is over
//!   Admitted ────────────────────────────────────────▶ Ejected ────────────────▶ Probation
//!      ▲                                                  ▲                       │      │
//!      │                                                  └──── the probe fails, ─┘      │
//!      │                                                            longer               │
//!      └──────────────────────── the probe succeeds ─────────────────────────────────────┘
//! ```
//!
//! Times follow gRFC A50: each ejection lasts one base time longer than the one before, and a base time of good standing
//! takes one back. The end differs: A50 admits all calls again at once, here one goes ahead (Linkerd's breakers), so that a backend
//! that is still broken costs one call and not a burst. Ejected endpoints keep their connections.
//!
//! Kept by the balancer, one [`Health`] per endpoint; which endpoints are ejected is decided in `judge.rs`.

use std::fmt;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use crate::client::outlier::OutlierConfig;
use crate::rng::Rng;

/// When endpoints that fail are taken out of the picker, and for how long. `pick_first` ejects nothing.
///
/// [`Ending::outcome`](crate::Ending::outcome) says which ends of a call are failures. An endpoint that is silent until
/// every deadline counts like one that fails at once.
///
/// The breaker is on by default. It looks at one endpoint, acts within a call, and errs rarely: it does not act if such a run
/// would be more than one in a million among the endpoint's peers, as in an overload, when all of them fail calls. Comparing endpoints at intervals
/// ([`outlier_detection`](Self::outlier_detection)) finds those that fail now and then; it is off by default, since what is
/// unlike its peers need not be broken (a shard, a canary), and since it wakes the channel every interval.
#[derive(Clone, Debug)]
pub struct EjectionConfig {
    pub(super) consecutive_failures: Option<NonZeroU32>,
    pub(super) outliers: Option<OutlierConfig>,
    pub(super) base_time: Duration,
    pub(super) max_time: Duration,
    pub(super) panic_percent: u8,
}

impl EjectionConfig {
    /// Ejects nothing.
    pub fn off() -> Self {
        Self { consecutive_failures: None, outliers: None, ..Self::default() }
    }

    /// The breaker: how many calls in a row must fail for an endpoint to be ejected at once. Default 5; `None` never ejects for
    /// this. If its peers fail calls too, it takes more: six if they fail one in ten, twenty if every other. Linkerd's default is 7: fewer lose fewer calls to a dead backend, more forgive a worse one.
    pub fn consecutive_failures(mut self, failures: Option<NonZeroU32>) -> Self {
        self.consecutive_failures = failures;
        self
    }

    /// Compares endpoints with their peers at intervals, and ejects those that fail more (gRFC A50). Default `None`.
    pub fn outlier_detection(mut self, outliers: Option<OutlierConfig>) -> Self {
        self.outliers = outliers;
        self
    }

    /// How long the first ejection lasts, ±20 % so that clients do not return together; the next ones two, three, … times as long.
    /// Default 5 s; below 100 ms counts as that.
    ///
    /// A50's 30 s suit large fleets: of three pods, one that is out for half a minute after a hiccup is a third of the capacity.
    /// Much shorter, and probes of a dead backend become a loss of their own: one call per client and ejection.
    pub fn base_time(mut self, time: Duration) -> Self {
        self.base_time = time.max(BASE_TIME_MIN);
        self
    }

    /// How long an ejection lasts at most. Default 60 s (A50: 300 s), the time that a pod which has recovered may have to wait
    /// for its share. Below the base time counts as that.
    pub fn max_time(mut self, time: Duration) -> Self {
        self.max_time = time;
        self
    }

    /// The panic threshold: if more than this share of the listed endpoints cannot be reached, is ejected or would be, the trouble is
    /// not with single endpoints, and calls go to all that are ready. Default 50, Envoy's. Above 100 counts as 100.
    ///
    /// Shares are rounded down, but not to none: of two or three endpoints one may be ejected, of four two. At 0 none is, and a single
    /// one never. However high, the last endpoint that is ready is used.
    pub fn panic_percent(mut self, percent: u8) -> Self {
        self.panic_percent = percent.min(100);
        self
    }

    /// How many of `listed` endpoints may be out of service without a panic.
    pub(super) fn tolerated(&self, listed: usize) -> usize {
        // "Will eject at least one host regardless of the value" (Envoy), as A50's check before each ejection does, too.
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

/// Why an endpoint was ejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EjectionCause {
    /// So many calls in a row failed.
    ConsecutiveFailures(u32),
    /// The call that went ahead after an ejection failed, too.
    ProbeFailed,
    /// So many in a hundred of its calls failed.
    FailurePercentage(u8),
    /// So many in a hundred of its calls succeeded, far fewer than its peers'.
    SuccessRate(u8),
}

/// The ejection of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ejection {
    /// Why.
    pub cause: EjectionCause,
    /// Until when it gets no call; after that, one at a time goes ahead until one has ended.
    pub until: Instant,
}

/// Endpoints that were found wanting since the balancer was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EjectionCounts {
    /// They were ejected.
    pub enforced: CountsByCause,
    /// A comparison found them, and they stayed, since enough endpoints were out of service already.
    pub unenforced: CountsByCause,
}

/// Counts by [`EjectionCause`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CountsByCause {
    /// [`EjectionCause::ConsecutiveFailures`].
    pub consecutive_failures: u64,
    /// [`EjectionCause::ProbeFailed`].
    pub probe_failed: u64,
    /// [`EjectionCause::FailurePercentage`].
    pub failure_percentage: u64,
    /// [`EjectionCause::SuccessRate`].
    pub success_rate: u64,
}

impl CountsByCause {
    pub(super) fn of(&mut self, cause: EjectionCause) -> &mut u64 {
        match cause {
            EjectionCause::ConsecutiveFailures(_) => &mut self.consecutive_failures,
            EjectionCause::ProbeFailed => &mut self.probe_failed,
            EjectionCause::FailurePercentage(_) => &mut self.failure_percentage,
            EjectionCause::SuccessRate(_) => &mut self.success_rate,
        }
    }
}

impl fmt::Display for EjectionCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ConsecutiveFailures(n) => write!(f, "{n} calls in a row failed"),
            Self::ProbeFailed => f.write_str("the call that tried it again failed"),
            Self::FailurePercentage(percent) => write!(f, "{percent} % of its calls failed"),
            Self::SuccessRate(percent) => write!(f, "{percent} % of its calls succeeded, unlike its peers'"),
        }
    }
}

/// What the balancer remembers of how an endpoint did.
#[derive(Debug, Default)]
pub(crate) struct Health {
    standing: Standing,
    /// A50's multiplier: how many base times the last ejection lasted, as of when good standing began.
    strikes: u32,
    /// When the endpoint came back, and its strikes began to be forgiven.
    admitted_at: Option<Instant>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Standing {
    #[default]
    Admitted,
    Ejected(Ejection),
    /// One call may go ahead; it or another that began since `since` decides. If none has ended by `patience_until`, one more may.
    Probation {
        ejection: Ejection,
        since: Instant,
        patience_until: Instant,
    },
}

impl Health {
    pub(super) fn eject(
        &mut self,
        now: Instant,
        cause: EjectionCause,
        config: &EjectionConfig,
        rng: &mut Rng,
    ) {
        self.strikes = self.strikes_left(now, config).saturating_add(1);
        // "The minimum of base_ejection_time × multiplier and max(base_ejection_time, max_ejection_time)" (A50).
        let time = config.base_time.saturating_mul(self.strikes).min(config.base_time.max(config.max_time));
        let until = now + rng.jittered(time, JITTER);
        self.standing = Standing::Ejected(Ejection { cause, until });
    }

    /// Begins the probation, or renews it, if it is time; says whether a call may go ahead from now on.
    pub(super) fn begin_probation(&mut self, now: Instant, config: &EjectionConfig) -> bool {
        let (ejection, since) = match self.standing {
            Standing::Ejected(ejection) if ejection.until <= now => (ejection, now),
            Standing::Probation { ejection, since, patience_until } if patience_until <= now => {
                (ejection, since)
            }
            _ => return false,
        };
        self.standing = Standing::Probation { ejection, since, patience_until: now + config.base_time };
        true
    }

    /// A call that began at `started` has ended; says whether it was one that decides.
    pub(super) fn decides(&self, started: Instant) -> bool {
        matches!(self.standing, Standing::Probation { since, .. } if started >= since)
    }

    pub(super) fn admit(&mut self, now: Instant) {
        self.standing = Standing::Admitted;
        self.admitted_at = Some(now);
    }

    pub(crate) fn is_admitted(&self) -> bool {
        self.standing == Standing::Admitted
    }

    pub(crate) fn is_on_probation(&self) -> bool {
        matches!(self.standing, Standing::Probation { .. })
    }

    pub(crate) fn ejection(&self) -> Option<Ejection> {
        match self.standing {
            Standing::Admitted => None,
            Standing::Ejected(ejection) | Standing::Probation { ejection, .. } => Some(ejection),
        }
    }

    /// When [`begin_probation`](Self::begin_probation) has something to do.
    pub(super) fn next_change(&self) -> Option<Instant> {
        match self.standing {
            Standing::Admitted => None,
            Standing::Ejected(ejection) => Some(ejection.until),
            Standing::Probation { patience_until, .. } => Some(patience_until),
        }
    }

    /// A50 forgives one at every interval in good standing, a third of its base time. A channel that has nothing to do keeps no
    /// timer here, so it is computed when it counts; and our interval is short, so the step is the base time.
    fn strikes_left(&self, now: Instant, config: &EjectionConfig) -> u32 {
        let Some(at) = self.admitted_at.filter(|_| self.is_admitted()) else { return self.strikes };
        let steps = now.saturating_duration_since(at).as_secs_f64() / config.base_time.as_secs_f64();
        // A cast of a float saturates.
        self.strikes.saturating_sub(steps as u32)
    }
}

/// Below it, a dead backend would be probed by every client ten times a second.
const BASE_TIME_MIN: Duration = Duration::from_millis(100);
const JITTER: f64 = 0.2;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::virtual_time::epoch;

    const CAUSE: EjectionCause = EjectionCause::ProbeFailed;

    fn ejected_for(health: &mut Health, now: Instant, config: &EjectionConfig) -> f64 {
        health.eject(now, CAUSE, config, &mut Rng::new(3, 3));
        (health.ejection().unwrap().until - now).as_secs_f64()
    }

    #[test]
    fn each_ejection_is_longer_up_to_the_maximum_and_good_standing_is_rewarded() {
        let (config, mut health, mut now) = (EjectionConfig::default(), Health::default(), epoch());
        for turn in 1..=20u32 {
            let expected = f64::from(5 * turn).min(60.0);
            let time = ejected_for(&mut health, now, &config);
            assert!((expected * 0.8..=expected * 1.2).contains(&time), "{turn}: {time}");
            now += Duration::from_secs(80);
            assert!(health.begin_probation(now, &config));
        }
        health.admit(now);
        // 20 strikes, of which 18 are forgiven.
        let time = ejected_for(&mut health, now + Duration::from_secs(90), &config);
        assert!((12.0..=18.0).contains(&time), "{time}");
    }

    #[test]
    fn a_probe_without_an_end_is_followed_by_another() {
        let (config, mut health, now) = (EjectionConfig::default(), Health::default(), epoch());
        health.eject(now, CAUSE, &config, &mut Rng::new(1, 1));
        assert!(!health.begin_probation(now, &config));
        let over = health.next_change().unwrap();
        assert!(health.begin_probation(over, &config));
        assert!(!health.begin_probation(over, &config), "one at a time");
        assert!(health.decides(over) && !health.decides(over - Duration::from_nanos(1)));
        assert!(health.begin_probation(over + config.base_time, &config));
        assert!(health.decides(over), "the first may still end");
    }

    #[test]
    fn half_may_be_out_rounded_down_to_one_at_least() {
        let of =
            |percent| [2, 3, 4, 5, 10].map(|n| EjectionConfig::default().panic_percent(percent).tolerated(n));
        assert_eq!(of(50), [1, 1, 2, 2, 5]);
        assert_eq!(of(10), [1; 5]);
        assert_eq!(of(0), [0; 5]);
    }
}
