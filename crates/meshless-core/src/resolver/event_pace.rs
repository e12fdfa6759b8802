//! How fast events of a watch are read: as fast as an API server sends them, but not as fast as a
//! broken one could.
//!
//! What is not read waits in the server's socket. Whoever reads waits as long as it is told.

use std::time::{Duration, Instant};

use crate::rate::Rate;

/// The reading of one watch.
#[derive(Debug)]
pub struct EventPace(Rate);

impl EventPace {
    /// Nothing has been read.
    #[must_use]
    pub fn new() -> Self {
        Self(Rate::new(BURST))
    }

    /// The next event may be read from then on; `None` for now.
    #[must_use]
    pub fn ready_at(&self) -> Option<Instant> {
        self.0.ready_at()
    }

    /// An event of so many bytes was read.
    pub fn spend(&mut self, now: Instant, bytes: usize) {
        let bytes = u32::try_from(bytes.max(EVENT_BYTES_MIN)).unwrap_or(u32::MAX);
        self.0.spend(now, Duration::from_secs(1) * bytes / BYTES_PER_SECOND);
    }
}

impl Default for EventPace {
    fn default() -> Self {
        Self::new()
    }
}

/// Full slices have 50 KB, and controllers write ten a second for all Services of a cluster
/// together. It takes some 7 % of a core to read as much JSON (24 KB in 80 µs).
const BYTES_PER_SECOND: u32 = 20 << 20;
/// Small events cost more than their bytes: with this, 5 120 a second are read.
const EVENT_BYTES_MIN: usize = 4 << 10;
/// What has gathered while a connection was broken is read at once: 10 MiB, or 2 560 events.
const BURST: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::virtual_time::epoch;

    #[test]
    fn a_burst_is_read_at_once_and_a_flood_at_the_pace() {
        let begin = epoch();
        for (bytes, burst, per_second) in [(40, 2_560, 5_120), (50_000, 210, 420), (4 << 20, 3, 5)] {
            let mut pace = EventPace::new();
            let (mut now, mut at_once, mut read) = (begin, 0, 0);
            while now < begin + Duration::from_secs(10) {
                if pace.ready_at().is_none_or(|at| at <= now) {
                    pace.spend(now, bytes);
                    read += 1;
                    at_once += usize::from(now == begin);
                } else {
                    now = pace.ready_at().unwrap();
                }
            }
            assert!((burst..=burst + 1).contains(&at_once), "{bytes}: {at_once}");
            let most = per_second * 10 + burst + 2;
            assert!((per_second * 10..=most).contains(&read), "{bytes}: {read} of {most}");
        }
    }

    #[test]
    fn silence_is_not_saved_up() {
        let begin = epoch();
        let mut pace = EventPace::new();
        let later = begin + Duration::from_secs(3600);
        for _ in 0..3_000 {
            pace.spend(later, 40);
        }
        assert!(pace.ready_at().unwrap() > later);
    }
}
