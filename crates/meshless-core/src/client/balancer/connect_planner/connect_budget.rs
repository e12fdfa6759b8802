//! How many connections a channel may be making, and how many it may begin in a second.
//!
//! However a resolver flaps or servers hang up, connects per second stay under a bound: a token
//! bucket, kept as the one instant of GCRA (the virtual scheduling algorithm of ITU-T I.371) so
//! that it needs no timer to refill.

use std::time::{Duration, Instant};

use crate::client::balancer::BalancerConfig;

#[derive(Debug)]
pub(super) struct ConnectBudget {
    concurrent_max: usize,
    interval: Duration,
    burst: u32,
    /// When the bucket would be full again; in the past, it is.
    full_at: Option<Instant>,
}

/// Why a connect may not begin now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// It may at that time.
    Until(Instant),
    /// It may when another attempt has ended.
    UntilOneEnds,
}

impl Refused {
    pub(super) fn until(self) -> Option<Instant> {
        match self {
            Self::Until(at) => Some(at),
            Self::UntilOneEnds => None,
        }
    }
}

impl ConnectBudget {
    pub(super) fn new(config: &BalancerConfig) -> Self {
        Self {
            concurrent_max: config.concurrent_connects.get() as usize,
            interval: (Duration::from_secs(1) / config.connects_per_second.get())
                .max(Duration::from_nanos(1)),
            burst: config.connect_burst.get(),
            full_at: None,
        }
    }

    /// Takes an attempt out of the bucket, while `dialing` are under way.
    pub(super) fn take(&mut self, now: Instant, dialing: usize) -> Result<(), Refused> {
        if dialing >= self.concurrent_max {
            return Err(Refused::UntilOneEnds);
        }
        let full_at = self.full_at.map_or(now, |at| at.max(now));
        let tolerance = self.interval * (self.burst - 1);
        if full_at > now + tolerance {
            return Err(Refused::Until(full_at - tolerance));
        }
        self.full_at = Some(full_at + self.interval);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::virtual_time::epoch;
    use std::num::NonZeroU32;

    fn budget(concurrent: u32, per_second: u32, burst: u32) -> ConnectBudget {
        let n = |n| NonZeroU32::new(n).unwrap();
        let config = BalancerConfig::default()
            .concurrent_connects(n(concurrent))
            .connects_per_second(n(per_second), n(burst));
        ConnectBudget::new(&config)
    }

    fn begin_while_allowed(budget: &mut ConnectBudget, now: Instant) -> u32 {
        let mut begun = 0;
        while budget.take(now, 0).is_ok() {
            begun += 1;
        }
        begun
    }

    #[test]
    fn a_burst_and_then_the_rate() {
        let mut budget = budget(1000, 10, 20);
        assert_eq!(begin_while_allowed(&mut budget, epoch()), 20);
        let Err(Refused::Until(at)) = budget.take(epoch(), 0) else { panic!("allowed") };
        assert_eq!(at, epoch() + Duration::from_millis(100));
        assert!(budget.take(at, 0).is_ok(), "the promised time holds");
        assert_eq!(begin_while_allowed(&mut budget, at + Duration::from_secs(1)), 10);
        assert_eq!(begin_while_allowed(&mut budget, at + Duration::from_secs(60)), 20);
    }

    #[test]
    fn attempts_at_a_time_are_bounded() {
        let mut budget = budget(3, 100, 100);
        assert_eq!(budget.take(epoch(), 2), Ok(()));
        assert_eq!(budget.take(epoch(), 3), Err(Refused::UntilOneEnds));
    }
}
