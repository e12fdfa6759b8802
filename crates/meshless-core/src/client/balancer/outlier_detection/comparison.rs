//! Finds outliers: endpoints whose calls fail more often than their peers' (after gRFC A50).
//!
//! This is a pure function of the counts that each endpoint gathered since it was last judged. The
//! balancer calls it at every interval. It ejects nothing itself, and knows no panic threshold.
//!
//! A50's rules do not work for the usual three pods, so three things differ, on purpose:
//!
//! - **Numbers of hosts.** A50 asks for five. Its success rate algorithm needs them: among n values
//!   none lies further from their mean than √(n−1) standard deviations. With three pods a factor of
//!   1.9 therefore never ejects, and with a factor below 1.41 any difference does. Here an endpoint
//!   is compared with the *others*. The deviation has a floor and a term for chance, so two others
//!   suffice.
//! - **Volume.** A50 wants 100 calls within an interval, which a quiet service never has. Here an
//!   endpoint gathers counts until it has enough, for at most ten intervals. A busy endpoint is
//!   judged at every interval, a quiet one less often.
//! - **Enforcement percentages** are left out: detection is on or off.

use std::num::NonZeroU32;
use std::time::Duration;

use super::cause::EjectionCause;
use crate::longest::LONGEST;

/// What counts as an outlier. Setters accept only valid values, so every configuration is valid.
#[derive(Clone, Debug)]
pub struct OutlierConfig {
    pub(super) interval: Duration,
    volume: NonZeroU32,
    hosts: usize,
    failure_percentage: Option<u8>,
    success_deviations: Option<f64>,
}

impl OutlierConfig {
    /// How often endpoints are compared. Default 1 s (A50: 10 s). An outlier fails calls for at
    /// least this time. Below 100 ms counts as that.
    pub fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval.clamp(INTERVAL_MIN, LONGEST);
        self
    }

    /// How many calls of an endpoint must have ended before it is judged. Default 20 (A50: 100 and
    /// 50): one call more or less changes its rate by five points. The counts are gathered over at
    /// most ten intervals, so it is also a minimum rate: two calls a second and endpoint.
    pub fn volume(mut self, calls: NonZeroU32) -> Self {
        self.volume = calls;
        self
    }

    /// How many endpoints must have that volume before any is judged. Default 3 (A50: 5), the
    /// minimum at which "the others" are more than one. With 2, two pods are compared with each
    /// other, and the worse one is found even if it differs little or by chance.
    pub fn hosts(mut self, hosts: usize) -> Self {
        self.hosts = hosts.max(2);
        self
    }

    /// Ejects an endpoint if more than this percentage of its calls failed, without regard to its
    /// peers. Default 50 (A50: 85). `None` turns it off.
    pub fn failure_percentage(mut self, percent: Option<u8>) -> Self {
        self.failure_percentage = percent.map(|percent| percent.min(100));
        self
    }

    /// Ejects an endpoint if its success rate is this many standard deviations below the others'
    /// mean. Default 3 (A50: 1.9, of all). With the floor of five points that is 15 points below
    /// equal peers, and more if they differ. `None`, or a value that is not a positive number,
    /// turns it off.
    pub fn success_deviations(mut self, factor: Option<f64>) -> Self {
        self.success_deviations = factor.filter(|factor| factor.is_finite() && *factor > 0.0);
        self
    }

    /// Returns true if the tally has enough calls.
    pub(super) fn suffices(&self, tally: Tally) -> bool {
        tally.calls() >= u64::from(self.volume.get())
    }

    /// How long counts are gathered at most, so that hour-old failures do not count against an
    /// endpoint.
    pub(super) fn gathered_at_most(&self) -> Duration {
        self.interval * GATHERED_INTERVALS
    }

    /// Returns the outliers among endpoints of sufficient volume, as positions with causes, worst
    /// first.
    pub(super) fn outliers(&self, tallies: &[Tally]) -> Vec<(usize, EjectionCause)> {
        if tallies.len() < self.hosts {
            return Vec::new();
        }
        let mut found: Vec<_> = (0..tallies.len())
            .filter_map(|position| Some((position, self.cause(tallies, position)?)))
            .collect();
        found.sort_by(|(a, _), (b, _)| tallies[*a].success_rate().total_cmp(&tallies[*b].success_rate()));
        found
    }

    fn cause(&self, tallies: &[Tally], position: usize) -> Option<EjectionCause> {
        let rate = tallies[position].success_rate();
        let others =
            || tallies.iter().enumerate().filter(|(other, _)| *other != position).map(|(_, tally)| tally);
        if let Some(factor) = self.success_deviations {
            let n = (tallies.len() - 1) as f64;
            let mean = others().map(Tally::success_rate).sum::<f64>() / n;
            let variance = others().map(|other| (other.success_rate() - mean).powi(2)).sum::<f64>() / n;
            let chance = mean * (1.0 - mean) / tallies[position].calls() as f64;
            let deviation = (variance + chance + DEVIATION_FLOOR * DEVIATION_FLOOR).sqrt();
            if rate < mean - factor * deviation {
                return Some(EjectionCause::SuccessRate((rate * 100.0) as u8));
            }
        }
        let failed = (1.0 - rate) * 100.0;
        let failing = self.failure_percentage.is_some_and(|percent| failed > f64::from(percent));
        failing.then_some(EjectionCause::FailurePercentage(failed as u8))
    }
}

impl Default for OutlierConfig {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(1),
            volume: NonZeroU32::new(20).expect("not zero"),
            hosts: 3,
            failure_percentage: Some(50),
            success_deviations: Some(3.0),
        }
    }
}

/// How the calls of an endpoint ended, over some time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) successes: u64,
    pub(super) failures: u64,
}

impl Tally {
    pub(super) fn since(self, before: Self) -> Self {
        Self {
            successes: self.successes.saturating_sub(before.successes),
            failures: self.failures.saturating_sub(before.failures),
        }
    }

    fn calls(&self) -> u64 {
        self.successes + self.failures
    }

    fn success_rate(&self) -> f64 {
        self.successes as f64 / (self.calls().max(1)) as f64
    }
}

const INTERVAL_MIN: Duration = Duration::from_millis(100);
const GATHERED_INTERVALS: u32 = 10;
/// Peers that never fail have no deviation at all: without a floor, a single failure would be an
/// outlier.
const DEVIATION_FLOOR: f64 = 0.05;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    fn tallies(failed_of_100: &[u64]) -> Vec<Tally> {
        failed_of_100.iter().map(|&failures| Tally { successes: 100 - failures, failures }).collect()
    }

    fn found(config: &OutlierConfig, failed_of_100: &[u64]) -> Vec<usize> {
        config.outliers(&tallies(failed_of_100)).into_iter().map(|(position, _)| position).collect()
    }

    #[test]
    fn one_of_three_that_fails_more_is_found() {
        let config = OutlierConfig::default();
        assert_eq!(found(&config, &[0, 20, 0]), [1]);
        assert_eq!(found(&config, &[0, 0, 10]), [0; 0], "within the floor");
        assert_eq!(found(&config, &[20, 20, 20]), [0; 0], "all alike");
        assert_eq!(found(&config, &[60, 60, 60]), [0, 1, 2], "by the failure percentage");
    }

    #[test]
    fn the_worst_comes_first() {
        assert_eq!(found(&OutlierConfig::default(), &[55, 0, 90, 0, 0]), [2, 0]);
    }

    #[test]
    fn two_are_too_few_to_compare() {
        let config = OutlierConfig::default();
        assert_eq!(found(&config, &[0, 100]), [0; 0]);
        assert_eq!(found(&config.hosts(2), &[0, 100]), [1]);
    }

    #[test]
    fn chance_alone_ejects_nobody() {
        let (config, mut rng) = (OutlierConfig::default(), Rng::new(7, 7));
        let mut ejected = 0;
        for _ in 0..1000 {
            let mut draw = || {
                let failures = (0..100).filter(|_| rng.unit() < 0.1).count() as u64;
                Tally { successes: 100 - failures, failures }
            };
            ejected += config.outliers(&[draw(), draw(), draw()]).len();
        }
        assert_eq!(ejected, 0, "all fail one call in ten");
    }
}
