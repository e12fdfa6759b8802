//! What a reader sees in the figures of the spread, in a sentence each: from this run, or nothing.

use meshless::Policy;

use super::theory;
use crate::drawing::figure::deviation;
use crate::drawing::format::{count, list, ms, percent, plural, ratio};
use crate::facts;
use crate::results::{AroundRotation, Results, SpreadRow};

/// How many backends each reached.
pub(crate) fn share(results: &Results) -> String {
    let rows = results.spread.iter().filter(|row| facts::has_choice(row));
    let (all, some): (Vec<&SpreadRow>, Vec<&SpreadRow>) =
        rows.partition(|row| facts::reached(row) == row.backends);
    let all: Vec<String> = all.iter().map(|row| format!("`{}`", row.strategy)).collect();
    let some: Vec<String> = some
        .iter()
        .map(|row| format!("`{}` only {} of {}", row.strategy, facts::reached(row), row.backends))
        .collect();
    match (all.is_empty(), some.is_empty()) {
        (true, true) => String::new(),
        (false, true) => format!("Every backend was reached by {}.", list(&all)),
        (true, false) => format!("No strategy reached every backend: {}.", list(&some)),
        (false, false) => format!("Every backend was reached by {}; {}.", list(&all), list(&some)),
    }
}

/// Even over the run is not even within a second.
pub(crate) fn per_second(results: &Results) -> String {
    let rows = results.spread.iter().filter(|row| facts::has_choice(row));
    // The row whose seconds differ most from its whole is the one that teaches something.
    let gap = |row: &SpreadRow| row.max_over_mean_per_second.p50 - row.max_over_mean;
    let Some(row) = rows.max_by(|a, b| gap(a).total_cmp(&gap(b))) else { return String::new() };
    let [run, second] = [row.max_over_mean, row.max_over_mean_per_second.p50].map(ratio);
    if gap(row) < 0.1 {
        return format!("Seconds look like the whole run: `{}` has {second} and {run}.", row.strategy);
    }
    format!(
        "What is even over the run need not be even at any time: with `{}` the busiest backend had {run}× the mean over the run, {second}× in a typical second.",
        row.strategy
    )
}

/// Theory against measurement at the end of the run.
pub(crate) fn since_start(results: &Results) -> String {
    let age_s = results.settings.max_connection_age_ms / 1000.0;
    let row = results
        .spread
        .iter()
        .find(|row| facts::kind(&row.strategy) == facts::StrategyKind::Ageing && facts::has_choice(row));
    let Some(row) = row.filter(|_| age_s > 0.0) else { return String::new() };
    let seconds = row.timeline.len() as f64;
    let Some(measured) = deviation(&row.share, row.backends) else { return String::new() };
    let expected = theory::relative_deviation(row.backends, 1.0, seconds / age_s);
    format!(
        "After {seconds:.0} s the calls per backend of `{}` differed by {} (standard deviation over mean); one connection chosen anew every {} is expected at {}, single runs scatter around it.",
        row.strategy,
        percent(measured),
        ms(results.settings.max_connection_age_ms),
        percent(expected)
    )
}

/// What a rotation costs in latency and calls.
pub(crate) fn rotation(results: &Results) -> String {
    let rows = results.spread.iter().filter(|row| !row.around_rotation.is_empty());
    let Some(row) = rows.max_by_key(|row| row.around_rotation.iter().map(|s| s.failed).sum::<u64>()) else {
        return String::new();
    };
    let slices = &row.around_rotation;
    let answered = slices.iter().filter(|s| s.ok > 0);
    let (before, after): (Vec<&AroundRotation>, Vec<&AroundRotation>) =
        answered.partition(|s| s.offset_ms < 0.0);
    let calm = median(before.iter().map(|s| s.p99_ms).collect());
    let worst = after.iter().copied().max_by(|a, b| a.p99_ms.total_cmp(&b.p99_ms));
    let failed: u64 = slices.iter().map(|s| s.failed).sum();
    let mut text = format!("With `{}`, ", row.strategy);
    if let (Some(calm), Some(worst)) = (calm, worst) {
        let (before, after) = (ms(calm), ms(worst.p99_ms));
        text += &format!("the p99 was {before} before a rotation and at most {after} after it; ");
    }
    match failed {
        0 => text += "no call near a rotation failed.",
        _ => {
            text += &format!("{} near {} failed.", plural(failed, "call"), plural(row.rotations, "rotation"))
        }
    }
    text + &lost_at_rotations(results)
}

/// What becomes of calls at rotations is a matter of the client: today's tonic beside whatever else
/// took part.
fn lost_at_rotations(results: &Results) -> String {
    let (mut tonic, mut ours) = (Rotated::default(), Rotated::default());
    for row in results.spread.iter().filter(|row| row.rotations > 0) {
        if facts::kind(&row.strategy) == facts::StrategyKind::Ageing {
            tonic.add(row);
        } else if row.strategy.parse::<Policy>().is_ok() {
            ours.add(row);
        }
    }
    let sentence = |who: &str, Rotated { lost, calls, rotations }: Rotated| match rotations {
        0 => String::new(),
        _ => format!(
            " {who} lost {} of {} over {}.",
            count(lost),
            plural(calls, "call"),
            plural(rotations, "rotation")
        ),
    };
    sentence("In all, today’s tonic client", tonic) + &sentence("The channel of meshless", ours)
}

#[derive(Default)]
struct Rotated {
    lost: u64,
    calls: u64,
    rotations: u64,
}

impl Rotated {
    fn add(&mut self, row: &SpreadRow) {
        self.lost += row.outcome.failed;
        self.calls += row.calls;
        self.rotations += row.rotations;
    }
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}
