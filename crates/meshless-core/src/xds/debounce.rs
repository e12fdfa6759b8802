//! How long changes are gathered before they are told to everybody.
//!
//! A control plane sends each client the whole of what changed, so a rolling restart of a thousand
//! pods must not become a thousand messages to each client. The first change after a quiet time is
//! told soon; under churn the wait doubles up to a bound. Called by the control plane's registry.

use std::time::{Duration, Instant};

/// Gathers changes. It holds none of them, only when they are due.
#[derive(Clone, Debug)]
pub struct Debounce {
    shortest: Duration,
    longest: Duration,
    wait: Duration,
    due: Option<Instant>,
    flushed: Option<Instant>,
}

impl Debounce {
    /// The first change after a quiet time waits `shortest`, a change under churn at most `longest`.
    pub fn new(shortest: Duration, longest: Duration) -> Self {
        let longest = longest.max(shortest);
        Self { shortest, longest, wait: shortest, due: None, flushed: None }
    }

    /// Something has changed.
    pub fn handle_change(&mut self, now: Instant) {
        if self.due.is_some() {
            return;
        }
        let is_quiet =
            self.flushed.is_none_or(|flushed| now.saturating_duration_since(flushed) >= self.longest);
        self.wait = if is_quiet { self.shortest } else { (self.wait * 2).min(self.longest) };
        self.due = Some(now + self.wait);
    }

    /// When the changes are to be told; `None` if there is none.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.due
    }

    /// Returns true if changes are due, and regards them as told.
    pub fn take_due(&mut self, now: Instant) -> bool {
        if self.due.is_none_or(|due| due > now) {
            return false;
        }
        self.due = None;
        self.flushed = Some(now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::virtual_time::epoch;

    const MS: Duration = Duration::from_millis(1);

    /// When changes are told that come each `interval` for `lasts`, after the start.
    fn told(interval: Duration, lasts: Duration) -> Vec<Duration> {
        let start = epoch();
        let mut debounce = Debounce::new(50 * MS, 1000 * MS);
        let mut told = Vec::new();
        let mut now = start;
        while now < start + lasts {
            if (now - start).as_millis().is_multiple_of(interval.as_millis()) {
                debounce.handle_change(now);
            }
            if debounce.take_due(now) {
                told.push(now - start);
            }
            now += MS;
        }
        told
    }

    #[test]
    fn a_single_change_waits_fifty_milliseconds() {
        assert_eq!(told(5000 * MS, 2000 * MS), [50 * MS]);
        assert_eq!(told(1500 * MS, 4000 * MS), [50 * MS, 1550 * MS, 3050 * MS], "each after a quiet time");
    }

    #[test]
    fn churn_is_told_once_a_second_in_the_end() {
        let told = told(MS, 20_000 * MS);
        assert!((22..=26).contains(&told.len()), "{told:?}");
        let gaps: Vec<_> = told.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(gaps.is_sorted() && gaps.last() <= Some(&(1001 * MS)), "{gaps:?}");
    }
}
