//! The tables of the bounce: on the page, as CSV, and in a terminal.

use comfy_table::Table;

use crate::drawing::format::{count, ms, percent, ratio, short};
use crate::drawing::palette::Palette;
use crate::drawing::{csv, page_table, terminal_table};
use crate::experiment::Tables;
use crate::results::Results;

/// How its rows are listed.
pub(super) const TABLES: Tables = Tables { page, csv, in_terminal };

/// Every bounce row.
fn page(results: &Results, palette: &Palette) -> String {
    let mut head = PAGE_COLUMNS.to_vec();
    head.extend(page_table::OUTCOME);
    let rows = results.bounce.iter().map(|row| {
        let mut cells = vec![if row.bounces { "bounce" } else { "queue" }.to_owned()];
        cells.extend([row.backends, row.workers, row.clients].map(|n| count(n as u64)));
        cells.extend([ms(row.service_time_ms_measured), percent(row.load), count(row.calls)]);
        cells.extend([short(row.goodput), ratio(row.attempts_per_call), ms(row.start_lag_ms_p99)]);
        cells.extend(page_table::outcome(&row.outcome));
        (row.strategy.as_str(), cells)
    });
    page_table::boxed("all", "Bounce: load near the capacity", &head, rows, palette)
}

/// By the names of the files.
fn csv(results: &Results) -> Vec<(&'static str, String)> {
    vec![("bounce.csv", rows(results))]
}

fn rows(results: &Results) -> String {
    let mut head = CSV_COLUMNS.to_vec();
    head.extend(csv::OUTCOME);
    let rows = results.bounce.iter().map(|row| {
        let mut cells = vec![row.strategy.clone(), row.bounces.to_string()];
        cells.extend([row.backends, row.workers, row.clients].map(|v| v.to_string()));
        let numbers = [row.service_time_ms, row.service_time_ms_measured, row.load];
        cells.extend(numbers.map(|v| v.to_string()));
        cells.push(row.calls.to_string());
        cells.extend([row.goodput, row.attempts_per_call, row.start_lag_ms_p99].map(|v| v.to_string()));
        cells.extend(csv::outcome(&row.outcome));
        cells
    });
    csv::table(&head, rows)
}

/// A row per strategy and kind of server.
fn in_terminal(results: &Results, width: u16) -> Option<(String, Table)> {
    let first = results.bounce.first()?;
    let mut table = terminal_table::new(width);
    table.set_header(["strategy", "servers", "p50", "p99", "p99.9", "failed", "per s", "attempts"]);
    for row in &results.bounce {
        let o = &row.outcome;
        let latency = |v: f64| if o.ok > 0 { ms(v) } else { "–".into() };
        table.add_row([
            row.strategy.clone(),
            if row.bounces { "bounce".into() } else { "queue".into() },
            latency(o.latency_ms.p50),
            latency(o.latency_ms.p99),
            latency(o.latency_ms.p999),
            count(o.failed),
            count(row.goodput.round() as u64),
            ratio(row.attempts_per_call),
        ]);
    }
    terminal_table::align(&mut table);
    Some((format!("Bounce: load at {} of the capacity", percent(first.load)), table))
}

/// Columns of [`page`], before those of [`outcome`].
const PAGE_COLUMNS: [&str; 11] = [
    "Strategy",
    "Servers that",
    "Servers",
    "Workers",
    "Clients",
    "Service time",
    "Load",
    "Calls",
    "Goodput/s",
    "Attempts a call",
    "Start lag p99",
];

/// Columns of [`bounce`], before those of [`outcome`].
const CSV_COLUMNS: [&str; 12] = [
    "strategy",
    "bounces",
    "backends",
    "workers",
    "clients",
    "service_time_ms",
    "service_time_ms_measured",
    "load",
    "calls",
    "goodput",
    "attempts_per_call",
    "start_lag_ms_p99",
];
