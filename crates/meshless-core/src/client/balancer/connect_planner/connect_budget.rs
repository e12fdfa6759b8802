//! Limits how many connections a channel makes at a time, and how many it begins per second.
//!
//! Connects per second stay below a bound even if a resolver flaps or servers keep closing
//! connections.

use std::time::{Duration, Instant};

use crate::client::balancer::BalancerConfig;
use crate::rate::Rate;

#[derive(Debug)]
pub(super) struct ConnectBudget {
    concurrent_max: usize,
    /// The time that one connect uses up.
    interval: Duration,
    rate: Rate,
}

impl ConnectBudget {
    pub(super) fn new(config: &BalancerConfig) -> Self {
        let interval = Duration::from_secs(1) / config.connects_per_second.get();
        let interval = interval.max(Duration::from_nanos(1));
        Self {
            concurrent_max: config.concurrent_connects.get() as usize,
            interval,
            rate: Rate::new(interval * config.connect_burst.get()),
        }
    }

    /// Begins an attempt, while `dialing` are under way.
    ///
    /// # Errors
    /// If none may begin now: returns when one may, if that is known. Without a time, another
    /// attempt has to end first.
    pub(super) fn begin(&mut self, now: Instant, dialing: usize) -> Result<(), Option<Instant>> {
        if dialing >= self.concurrent_max {
            return Err(None);
        }
        self.rate.take(now, self.interval).map_err(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::virtual_time::epoch;
    use std::num::NonZeroU32;

    #[test]
    fn attempts_are_bounded_at_a_time_and_in_a_second() {
        let n = |n| NonZeroU32::new(n).unwrap();
        let config = BalancerConfig::default().concurrent_connects(n(3)).connects_per_second(n(10), n(2));
        let mut budget = ConnectBudget::new(&config);
        assert_eq!(budget.begin(epoch(), 3), Err(None));
        assert_eq!(budget.begin(epoch(), 2), Ok(()));
        assert_eq!(budget.begin(epoch(), 2), Ok(()));
        assert_eq!(budget.begin(epoch(), 2), Err(Some(epoch() + Duration::from_millis(100))));
    }
}
