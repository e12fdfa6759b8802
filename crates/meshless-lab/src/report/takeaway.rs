//! One line per figure: what you see. Each is computed from the run, and is empty where there is nothing to say.

use meshless::Policy;

use super::facts;
use super::format::{count, list, ms, percent, plural, ratio};
use crate::experiment::spread::theory;
use crate::results::{AroundRotation, Results, SpreadRow};

/// Where failures begin.
pub(crate) fn error_rate(results: &Results) -> String {
    let bursts = facts::bursts(results);
    let name = |s: &str| format!("`{s}`");
    let failing: Vec<String> = bursts
        .iter()
        .filter_map(|b| b.onset().map(|row| format!("{} at {}", name(b.strategy), count(row.calls))))
        .collect();
    let clean: Vec<String> =
        bursts.iter().filter(|b| b.onset().is_none()).map(|b| name(b.strategy)).collect();
    match (failing.is_empty(), clean.is_empty()) {
        (true, true) => String::new(),
        (true, false) => "No call failed in any burst.".into(),
        (false, true) => format!("First failures: {}.", list(&failing)),
        (false, false) if clean.len() > 4 => {
            format!("First failures: {}; none with the other {}.", list(&failing), clean.len())
        }
        (false, false) => format!("First failures: {}; none with {}.", list(&failing), list(&clean)),
    }
}

/// Who was slowest at the largest burst that was answered at all.
pub(crate) fn burst_latency(results: &Results) -> String {
    let answered = results.burst.iter().filter(|row| row.outcome.ok > 0);
    let Some(calls) = answered.clone().map(|row| row.calls).max() else { return String::new() };
    let mut rows: Vec<_> = answered.filter(|row| row.calls == calls).collect();
    rows.sort_by(|a, b| a.outcome.latency_ms.p99.total_cmp(&b.outcome.latency_ms.p99));
    let part = |row: &crate::results::BurstRow| {
        let latency = &row.outcome.latency_ms;
        format!("{} (p50 {}) with `{}`", ms(latency.p99), ms(latency.p50), row.strategy)
    };
    match rows.as_slice() {
        [] => String::new(),
        [one] => format!("At {} calls at once the p99 of what was answered was {}.", count(calls), part(one)),
        [first, .., last] if ms(first.outcome.latency_ms.p99) == ms(last.outcome.latency_ms.p99) => format!(
            "At {} calls at once the p99 of what was answered was {} with every strategy.",
            count(calls),
            ms(first.outcome.latency_ms.p99)
        ),
        [best, .., worst] => format!(
            "At {} calls at once the p99 of what was answered lay between {} and {}.",
            count(calls),
            part(best),
            part(worst)
        ),
    }
}

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
        .find(|row| facts::kind(&row.strategy) == facts::Kind::Ageing && facts::has_choice(row));
    let Some(row) = row.filter(|_| age_s > 0.0) else { return String::new() };
    let seconds = row.timeline.len() as f64;
    let Some(measured) = super::figures::deviation(&row.share, row.backends) else { return String::new() };
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

/// What becomes of calls at rotations is a matter of the client: today's tonic beside whatever else took part.
fn lost_at_rotations(results: &Results) -> String {
    let (mut tonic, mut ours) = (Rotated::default(), Rotated::default());
    for row in results.spread.iter().filter(|row| row.rotations > 0) {
        if facts::kind(&row.strategy) == facts::Kind::Ageing {
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

/// Which event cost most, which strategies lost nothing to which, and who sent calls again how often.
pub(crate) fn churn(results: &Results) -> String {
    let mut text = churn_losses(results);
    if let Some((row, attempts)) = facts::most_attempts(results) {
        let attempts = ratio(attempts);
        text += &format!(
            " Most was sent again by `{}` in `{}`: {attempts} attempts a call.",
            row.strategy, row.event
        );
    }
    text
}

fn churn_losses(results: &Results) -> String {
    let events = facts::events(results);
    let untouched: Vec<String> = events
        .iter()
        .filter(|event| event.rows.iter().all(|row| row.failed == 0))
        .map(|event| format!("`{}`", event.name))
        .collect();
    let rows = events.iter().flat_map(|event| event.rows.iter().map(move |row| (event, *row)));
    // Of equals the first: `max_by` gives the last.
    let rows: Vec<_> = rows.collect();
    let worst = rows.into_iter().rev().max_by(|(_, a), (_, b)| a.error_rate.total_cmp(&b.error_rate));
    let Some((event, row)) = worst.filter(|(_, row)| row.failed > 0) else {
        return if events.is_empty() { String::new() } else { "No call failed in any event.".into() };
    };
    let spared: Vec<String> = event
        .rows
        .iter()
        .filter(|other| other.error_rate <= row.error_rate * MUCH_LESS)
        .map(|other| format!("`{}` {}", other.strategy, percent(other.error_rate)))
        .collect();
    let mut text = format!(
        "The hardest blow was `{}` for `{}`, which lost {} of its calls",
        event.name,
        row.strategy,
        percent(row.error_rate)
    );
    if !spared.is_empty() {
        text += &format!("; in the same event {}", list(&spared));
    }
    text.push('.');
    if !untouched.is_empty() {
        text += &format!(" Nobody lost a call to {}.", list(&untouched));
    }
    text
}

/// Who had not got over what.
pub(crate) fn churn_time(results: &Results) -> String {
    let facts = facts::churned(results);
    let over: Vec<String> =
        facts.iter().filter(|f| f.not_over.is_empty()).map(|f| format!("`{}`", f.strategy)).collect();
    let not: Vec<String> = facts
        .iter()
        .filter(|f| !f.not_over.is_empty())
        .map(|f| format!("`{}` ({})", f.strategy, f.not_over.join(", ")))
        .collect();
    match (over.is_empty(), not.is_empty()) {
        (true, true) => String::new(),
        (false, true) => "Every client had got over every event when the watch ended.".into(),
        (true, false) => format!("Not got over when the watch ended: {}.", list(&not)),
        (false, false) => {
            format!("Got over every event: {}. Not when the watch ended: {}.", list(&over), list(&not))
        }
    }
}

/// What failures were, and whether they were safe to repeat.
pub(crate) fn causes(results: &Results) -> String {
    let part = |place: &str, (_, failed, causes): (u64, u64, crate::results::Causes)| {
        let (name, most) = facts::causes(&causes).into_iter().max_by_key(|(_, calls)| *calls)?;
        (failed > 0 && most > 0).then(|| {
            let safe = facts::safe_to_repeat(&causes) as f64 / failed as f64;
            format!(
                "{place}, {} of {} failed with the cause “{name}”; {} of them are known not to have been executed, so safe to send again",
                count(most),
                plural(failed, "call"),
                percent(safe)
            )
        })
    };
    let burst = part("In bursts", facts::sum(results.burst.iter().map(|r| &r.outcome)));
    let spread = part("Under steady load", facts::sum(results.spread.iter().map(|r| &r.outcome)));
    let parts: Vec<String> = burst.into_iter().chain(spread).collect();
    if parts.is_empty() { "No call failed.".into() } else { format!("{}.", parts.join(". ")) }
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// A tenth of what another lost is worth a word.
const MUCH_LESS: f64 = 0.1;

/// What levelling does to the spread of connections, and its price.
pub(crate) fn levelling(results: &Results) -> String {
    let said: Vec<String> = facts::levelled(results)
        .into_iter()
        .map(|(without, with)| {
            // Not rotations: a channel that replaces connections ahead of their age sees to some of them itself.
            let price = with.connections_opened as f64 / without.connections_opened as f64;
            format!(
                "with `{}` from {} to {} of the mean, {} of it, for {}\u{a0}× the new connections",
                with.strategy,
                percent(without.deviation),
                percent(with.deviation),
                ratio(with.deviation / without.deviation),
                ratio(price),
            )
        })
        .collect();
    match said.is_empty() {
        true => String::new(),
        false => format!(
            "Levelled ages took the spread of connections {}; the closed form says 0.55.",
            list(&said)
        ),
    }
}

/// What bouncing does to the slowest calls, and its price.
pub(crate) fn bounce(results: &Results) -> String {
    let said: Vec<String> = facts::bounced(results)
        .into_iter()
        .map(|(queue, bounce)| {
            let (before, after) = (queue.outcome.latency_ms.p999, bounce.outcome.latency_ms.p999);
            format!(
                "from {} to {} with `{}` ({} of it, {} attempts a call)",
                ms(before),
                ms(after),
                bounce.strategy,
                ratio(after / before),
                ratio(bounce.attempts_per_call),
            )
        })
        .collect();
    match (said.is_empty(), facts::bounced(results).first()) {
        (false, Some((queue, _))) => {
            format!("At {} of the capacity, bouncing took p99.9 {}.", percent(queue.load), list(&said))
        }
        _ => String::new(),
    }
}
