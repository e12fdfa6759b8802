//! The table at the top of the page: one row per strategy, from all experiments.

use crate::drawing::format::{count, percent};
use crate::drawing::page_table;
use crate::drawing::palette::Palette;
use crate::facts;
use crate::results::{Outcome, Results};

/// One row per strategy: what a reader compares first.
pub(crate) fn summary(results: &Results, palette: &Palette) -> String {
    let bursts = facts::bursts(results);
    let mut head: Vec<&str> = vec!["Strategy"];
    if !bursts.is_empty() {
        head.extend(["First failures at", "Failed at largest"]);
    }
    if !results.spread.is_empty() {
        head.extend(["Backends reached", "Busiest, run", "Busiest, 1\u{a0}s", "Calls lost", "p99"]);
    }
    if !results.churn.is_empty() {
        head.push("Lost in churn");
    }
    if head.len() == 1 {
        return String::new();
    }
    let churned = facts::churned(results);
    let rows = palette.names().map(|name| {
        let mut cells = Vec::new();
        if !bursts.is_empty() {
            let burst = bursts.iter().find(|b| b.strategy == name);
            cells.push(burst.map_or_else(page_table::dash, |b| match b.onset() {
                Some(row) => count(row.calls),
                None => format!("none to {}", count(b.largest().calls)),
            }));
            cells.push(burst.map_or_else(page_table::dash, |b| percent(b.largest().outcome.error_rate)));
        }
        if !results.spread.is_empty() {
            cells.extend(match results.spread.iter().find(|row| row.strategy == name) {
                Some(row) => vec![
                    format!("{} of {}", facts::reached(row), row.backends),
                    page_table::balance(row, row.max_over_mean),
                    page_table::balance(row, row.max_over_mean_per_second.p50),
                    lost(&row.outcome),
                    page_table::latency(&row.outcome, row.outcome.latency_ms.p99),
                ],
                None => vec![page_table::dash(); 5],
            });
        }
        if !results.churn.is_empty() {
            let lost = churned.iter().find(|fact| fact.strategy == name);
            cells.push(lost.map_or_else(page_table::dash, |fact| percent(fact.error_rate())));
        }
        (name, cells)
    });
    page_table::boxed("summary", "", &head, rows, palette)
}

fn lost(o: &Outcome) -> String {
    if o.failed == 0 { "0".into() } else { format!("{} ({})", count(o.failed), percent(o.error_rate)) }
}
