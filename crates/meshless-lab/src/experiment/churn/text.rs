//! What a reader sees in the figures of the churn, in a sentence each: from this run, or nothing.

use crate::drawing::format::{list, percent, ratio};
use crate::facts;
use crate::results::Results;

/// Which event cost most, which strategies lost nothing to which, and who sent calls again how
/// often.
pub(crate) fn losses(results: &Results) -> String {
    let mut text = hardest_blow(results);
    if let Some((row, attempts)) = facts::most_attempts(results) {
        let attempts = ratio(attempts);
        text += &format!(
            " Most was sent again by `{}` in `{}`: {attempts} attempts a call.",
            row.strategy, row.event
        );
    }
    text
}

fn hardest_blow(results: &Results) -> String {
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
pub(crate) fn got_over(results: &Results) -> String {
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

/// A tenth of what another lost is worth a word.
const MUCH_LESS: f64 = 0.1;
