//! The ejection state of one endpoint.
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
//! Times follow gRFC A50: each ejection lasts one base time longer than the one before, and each
//! base time without ejection takes one back. The end differs. A50 admits all calls again at once;
//! here one test call goes ahead (as in Linkerd's breakers). A backend that is still broken then
//! costs one call and not a burst. Ejected endpoints keep their connections.
//!
//! The outlier detection decides which endpoints are ejected. It keeps one [`EjectionState`] for
//! each endpoint that ever was.

use std::time::Instant;

use super::cause::{Ejection, EjectionCause};
use super::config::EjectionConfig;
use crate::rng::Rng;

/// The ejection history of an endpoint.
#[derive(Debug, Default)]
pub(super) struct EjectionState {
    standing: Standing,
    /// A50's multiplier: how many base times the last ejection lasted, when the endpoint came back.
    strikes: u32,
    /// When the endpoint came back; its strikes decrease from then on.
    admitted_at: Option<Instant>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Standing {
    #[default]
    Admitted,
    Ejected(Ejection),
    /// One test call may go ahead. It decides, or another call that began since `since`. If none
    /// has ended by `patience_until`, one more may go.
    Probation {
        ejection: Ejection,
        since: Instant,
        patience_until: Instant,
    },
}

impl EjectionState {
    pub(super) fn eject(
        &mut self,
        now: Instant,
        cause: EjectionCause,
        config: &EjectionConfig,
        rng: &mut Rng,
    ) {
        self.strikes = self.strikes_left(now, config).saturating_add(1);
        // "The minimum of base_ejection_time × multiplier and max(base_ejection_time,
        // max_ejection_time)" (A50).
        let time = config.base_time.saturating_mul(self.strikes).min(config.base_time.max(config.max_time));
        let until = now + rng.jittered(time, JITTER);
        self.standing = Standing::Ejected(Ejection { cause, until });
    }

    /// Begins or renews the probation if it is time. Returns true if a test call may go ahead from
    /// now on.
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

    /// Returns true if a call that began at `started` and has ended decides the probation.
    pub(super) fn decides(&self, started: Instant) -> bool {
        matches!(self.standing, Standing::Probation { since, .. } if started >= since)
    }

    pub(super) fn admit(&mut self, now: Instant) {
        self.standing = Standing::Admitted;
        self.admitted_at = Some(now);
    }

    pub(super) fn is_admitted(&self) -> bool {
        self.standing == Standing::Admitted
    }

    pub(super) fn is_on_probation(&self) -> bool {
        matches!(self.standing, Standing::Probation { .. })
    }

    pub(super) fn ejection(&self) -> Option<Ejection> {
        match self.standing {
            Standing::Admitted => None,
            Standing::Ejected(ejection) | Standing::Probation { ejection, .. } => Some(ejection),
        }
    }

    /// Returns when [`begin_probation`](Self::begin_probation) has something to do.
    pub(super) fn next_change(&self) -> Option<Instant> {
        match self.standing {
            Standing::Admitted => None,
            Standing::Ejected(ejection) => Some(ejection.until),
            Standing::Probation { patience_until, .. } => Some(patience_until),
        }
    }

    /// A50 takes one back at every interval without ejection, a third of its base time. Here the
    /// step is the base time, since our interval is short. An idle channel keeps no timer for it,
    /// so it is computed when needed.
    fn strikes_left(&self, now: Instant, config: &EjectionConfig) -> u32 {
        let Some(at) = self.admitted_at.filter(|_| self.is_admitted()) else { return self.strikes };
        let steps = now.saturating_duration_since(at).as_secs_f64() / config.base_time.as_secs_f64();
        // A cast of a float saturates.
        self.strikes.saturating_sub(steps as u32)
    }
}

const JITTER: f64 = 0.2;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::virtual_time::epoch;
    use std::time::Duration;

    const CAUSE: EjectionCause = EjectionCause::ProbeFailed;

    fn ejected_for(health: &mut EjectionState, now: Instant, config: &EjectionConfig) -> f64 {
        health.eject(now, CAUSE, config, &mut Rng::new(3, 3));
        (health.ejection().unwrap().until - now).as_secs_f64()
    }

    #[test]
    fn each_ejection_is_longer_up_to_the_maximum_and_good_standing_is_rewarded() {
        let (config, mut health, mut now) = (EjectionConfig::default(), EjectionState::default(), epoch());
        for turn in 1..=20u32 {
            let expected = f64::from(5 * turn).min(60.0);
            let time = ejected_for(&mut health, now, &config);
            assert!((expected * 0.8..=expected * 1.2).contains(&time), "{turn}: {time}");
            now += Duration::from_secs(80);
            assert!(health.begin_probation(now, &config));
        }
        health.admit(now);
        // 20 strikes, minus 18 for 18 base times without ejection.
        let time = ejected_for(&mut health, now + Duration::from_secs(90), &config);
        assert!((12.0..=18.0).contains(&time), "{time}");
    }

    #[test]
    fn a_probe_without_an_end_is_followed_by_another() {
        let (config, mut health, now) = (EjectionConfig::default(), EjectionState::default(), epoch());
        health.eject(now, CAUSE, &config, &mut Rng::new(1, 1));
        assert!(!health.begin_probation(now, &config));
        let over = health.next_change().unwrap();
        assert!(health.begin_probation(over, &config));
        assert!(!health.begin_probation(over, &config), "one at a time");
        assert!(health.decides(over) && !health.decides(over - Duration::from_nanos(1)));
        assert!(health.begin_probation(over + config.base_time, &config));
        assert!(health.decides(over), "the first may still end");
    }
}
