//! What a reader sees in the figures of the burst, in a sentence each: from this run, or nothing.

use crate::drawing::format::{count, list, ms};
use crate::facts;
use crate::results::Results;

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
pub(crate) fn latency(results: &Results) -> String {
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
