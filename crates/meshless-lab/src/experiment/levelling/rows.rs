//! The row of a levelling run: how unevenly the connections of many clients lay on the servers,
//! beside the closed form.

use std::time::Duration;

use crate::results::{LevellingRow, LevellingSample};
use crate::stats::{Round, Sample, milliseconds, outcome, ratio};
use crate::strategy::Strategy;

/// What a row must know beside what was measured.
#[derive(Clone, Debug)]
pub(crate) struct LevellingSettings {
    /// Names of the backends, in the order of the samples' numbers.
    pub(crate) backends: Vec<String>,
    pub(crate) clients: usize,
    /// The a of (n/n̄)ᵃ; 0 without levelling.
    pub(crate) exponent: u32,
    pub(crate) age: Duration,
    /// What comes before this is not counted: connections that were made together must forget it,
    /// servers learn what is usual.
    pub(crate) warm_up: Duration,
}

/// The row of one run.
pub(crate) fn levelling_row(
    strategy: Strategy,
    settings: &LevellingSettings,
    mut round: Round,
) -> LevellingRow {
    let LevellingSettings { backends, clients, exponent, age, warm_up } = settings;
    let since_start = |at_ns: u64| at_ns.checked_sub(round.totals.start_ns);
    let warm_up_ns = warm_up.as_nanos() as u64;
    let samples: Vec<(u64, &Sample)> = round
        .samples
        .iter()
        .filter_map(|sample| Some((since_start(sample.at_ns)?, sample)))
        .filter(|(at, sample)| *at >= warm_up_ns && sample.connections.iter().any(|n| *n > 0))
        .collect();
    let mean = |of: &dyn Fn(&[u64]) -> f64| {
        ratio(samples.iter().map(|(_, sample)| of(&sample.connections)).sum(), samples.len() as f64)
    };
    let length = samples.last().map_or(0, |(at, _)| at - warm_up_ns);
    let rotations = round.rotations_ns.iter().filter_map(|at| since_start(*at));
    let rotations = rotations.filter(|at| (warm_up_ns..=warm_up_ns + length).contains(at)).count() as u64;
    let ages = length as f64 / age.as_nanos() as f64;
    let timeline = samples.iter().map(|(at, sample)| LevellingSample {
        at_ms: milliseconds(*at),
        connections: backends.iter().cloned().zip(sample.connections.iter().copied()).collect(),
    });
    let timeline = timeline.collect();
    let (connections, deviation) = (mean(&mean_of), mean(&relative_variance).sqrt());
    let max_over_mean = mean(&|n| ratio(n.iter().copied().max().unwrap_or(0) as f64, mean_of(n)));
    drop(samples);
    round.calls.retain(|call| call.scheduled_ns >= warm_up_ns);
    let opened = round.totals.connections_opened;
    let outcome = outcome(&[round]);
    LevellingRow {
        strategy: strategy.name().into(),
        exponent: *exponent,
        backends: backends.len(),
        clients: *clients,
        max_connection_age_ms: age.as_secs_f64() * 1e3,
        ages,
        connections,
        deviation,
        deviation_expected: expected(backends.len(), connections, *exponent),
        max_over_mean,
        rotations_per_age: ratio(rotations as f64, connections * backends.len() as f64 * ages),
        connections_opened: opened,
        calls: outcome.ok + outcome.failed,
        failed: outcome.failed,
        duplicated: outcome.duplicated,
        timeline,
    }
}

/// Relative standard deviation of binomial numbers of connections, n̄(1 − 1/M), over 1 + a −
/// a/(W+1) for servers that level with exponent a and look back over W = 3 ages (`meshless-core`,
/// `lifetime/levelling.rs`).
fn expected(backends: usize, connections: f64, exponent: u32) -> f64 {
    let a = f64::from(exponent);
    let binomial = ratio(1.0 - ratio(1.0, backends as f64), connections);
    (binomial / (1.0 + a - a / (MEAN_AGES + 1.0))).sqrt()
}

fn mean_of(connections: &[u64]) -> f64 {
    ratio(connections.iter().sum::<u64>() as f64, connections.len() as f64)
}

/// Around the mean of the moment: a client between two connections is on no server, and no server's
/// fault.
fn relative_variance(connections: &[u64]) -> f64 {
    let mean = mean_of(connections);
    let squares: f64 = connections.iter().map(|n| (*n as f64 - mean).powi(2)).sum();
    ratio(squares, connections.len() as f64 * mean * mean)
}

/// The W of the server's own average.
const MEAN_AGES: f64 = 3.0;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::RunTotals;

    const MS: u64 = 1_000_000;

    fn row(samples: &[(u64, [u64; 3])], rotations_ms: &[u64]) -> LevellingRow {
        let settings = LevellingSettings {
            backends: ["a", "b", "c"].map(String::from).to_vec(),
            clients: 30,
            exponent: 3,
            age: Duration::from_secs(1),
            warm_up: Duration::from_secs(2),
        };
        let sample = |(at_ms, connections): &(u64, [u64; 3])| Sample {
            at_ns: (5000 + at_ms) * MS,
            connections: connections.to_vec(),
        };
        let round = Round {
            samples: samples.iter().map(sample).collect(),
            rotations_ns: rotations_ms.iter().map(|at| (5000 + at) * MS).collect(),
            totals: RunTotals { start_ns: 5000 * MS, ..RunTotals::default() },
            ..Round::default()
        };
        levelling_row(Strategy::PickFirst, &settings, round)
    }

    #[test]
    fn the_spread_is_that_of_all_samples_after_the_warm_up() {
        let row =
            row(&[(1999, [30, 0, 0]), (2000, [10, 10, 10]), (3000, [13, 7, 10]), (4000, [0, 0, 0])], &[]);
        // Squares of 0.3, 0.3 and 0 in one of two samples.
        assert!((row.deviation - (0.18f64 / 3.0 / 2.0).sqrt()).abs() < 1e-9, "{}", row.deviation);
        assert_eq!((row.connections, row.timeline.len(), row.ages), (10.0, 2, 1.0));
        assert!((row.max_over_mean - 1.15).abs() < 1e-9);
        assert_eq!(row.timeline[1].connections["a"], 13);
    }

    #[test]
    fn rotations_count_per_connection_and_age() {
        let row = row(&[(2000, [1, 1, 1]), (4000, [1, 1, 1])], &[1000, 2500, 3000, 3500, 9000]);
        assert_eq!(row.rotations_per_age, 0.5);
    }

    #[test]
    fn levelling_is_expected_to_take_the_spread_to_0_55() {
        assert!((expected(3, 10.0, 0) - (2.0f64 / 3.0 / 10.0).sqrt()).abs() < 1e-9);
        assert!((expected(3, 10.0, 3) / expected(3, 10.0, 0) - 0.555).abs() < 0.001);
    }

    #[test]
    fn nothing_measured_is_zero_and_not_nan() {
        let row = row(&[], &[]);
        let numbers = [row.deviation, row.deviation_expected, row.max_over_mean, row.rotations_per_age];
        assert_eq!(numbers, [0.0; 4]);
    }
}
