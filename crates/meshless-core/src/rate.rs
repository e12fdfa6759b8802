//! A limit on how often something happens: a token bucket. It is stored as the one instant of GCRA
//! (the virtual scheduling algorithm of ITU-T I.371), so it needs no timer to refill.
//!
//! Costs are given as the time in which the bucket refills them: with 10 tokens a second, one token
//! costs 100 ms. All rate limits use it: connects of a channel, connections of a server, frames
//! that cost their sender nothing, lookups, events of a watch.

use std::time::{Duration, Instant};

/// One bucket; full at first.
#[derive(Clone, Debug)]
pub struct Rate {
    capacity: Duration,
    /// When the bucket is full again; it is full if this is in the past.
    full_at: Option<Instant>,
}

impl Rate {
    /// Creates a bucket that refills completely within `capacity`.
    pub fn new(capacity: Duration) -> Self {
        Self { capacity, full_at: None }
    }

    /// Takes `cost` if the bucket holds it.
    ///
    /// # Errors
    /// If it does not hold it: returns when it will. Nothing is taken then.
    pub fn take(&mut self, now: Instant, cost: Duration) -> Result<(), Instant> {
        let full_at = self.full_at(now) + cost;
        match full_at.checked_sub(self.capacity) {
            Some(ready_at) if ready_at > now => Err(ready_at),
            _ => {
                self.full_at = Some(full_at);
                Ok(())
            }
        }
    }

    /// Takes `cost` in any case. Returns true if the bucket held that much.
    pub fn spend(&mut self, now: Instant, cost: Duration) -> bool {
        self.full_at = Some(self.full_at(now) + cost);
        self.is_within(now)
    }

    /// Puts `amount` back, as far as there is room. Returns true if the bucket is not in debt.
    pub fn put_back(&mut self, now: Instant, amount: Duration) -> bool {
        self.full_at = self.full_at(now).checked_sub(amount).map(|at| at.max(now));
        self.is_within(now)
    }

    /// Returns when the bucket is out of debt, since [`spend`](Self::spend) may take more than it
    /// holds. May be in the past.
    pub fn ready_at(&self) -> Option<Instant> {
        self.full_at?.checked_sub(self.capacity)
    }

    fn is_within(&self, now: Instant) -> bool {
        self.ready_at().is_none_or(|at| at <= now)
    }

    fn full_at(&self, now: Instant) -> Instant {
        self.full_at.map_or(now, |at| at.max(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::virtual_time::epoch;

    const TOKEN: Duration = Duration::from_millis(100);

    fn taken(rate: &mut Rate, now: Instant) -> u32 {
        (0..).take_while(|_| rate.take(now, TOKEN).is_ok()).count() as u32
    }

    #[test]
    fn a_burst_and_then_the_rate() {
        let mut rate = Rate::new(TOKEN * 20);
        assert_eq!(taken(&mut rate, epoch()), 20);
        let at = rate.take(epoch(), TOKEN).unwrap_err();
        assert_eq!(at, epoch() + TOKEN);
        assert_eq!(rate.take(at, TOKEN), Ok(()), "the promised time holds");
        assert_eq!(taken(&mut rate, at + Duration::from_secs(1)), 10);
        assert_eq!(taken(&mut rate, at + Duration::from_secs(60)), 20, "no more is saved up");
    }

    #[test]
    fn what_is_spent_beyond_the_bucket_is_owed() {
        let mut rate = Rate::new(TOKEN * 2);
        assert!(rate.spend(epoch(), TOKEN * 2));
        assert!(!rate.spend(epoch(), TOKEN * 3));
        assert_eq!(rate.ready_at(), Some(epoch() + TOKEN * 3));
        assert!(!rate.put_back(epoch(), TOKEN * 2));
        assert!(rate.put_back(epoch(), TOKEN * 100));
        assert_eq!(taken(&mut rate, epoch()), 2, "it does not overflow");
    }

    #[test]
    fn the_largest_amounts_are_amounts() {
        let mut rate = Rate::new(Duration::MAX);
        assert!(rate.spend(epoch(), TOKEN) && rate.put_back(epoch(), Duration::MAX));
        assert_eq!(rate.take(epoch(), TOKEN), Ok(()));
    }
}
