//! The tables of the levelling: on the page, as CSV, and in a terminal.

use comfy_table::Table;

use crate::drawing::format::{count, ms, percent, ratio};
use crate::drawing::palette::Palette;
use crate::drawing::{csv, page_table, terminal_table};
use crate::experiment::Tables;
use crate::results::Results;

/// How its rows are listed.
pub(super) const TABLES: Tables = Tables { page, csv, in_terminal };

/// Every levelling row.
fn page(results: &Results, palette: &Palette) -> String {
    let rows = results.levelling.iter().map(|row| {
        let mut cells = vec![if row.exponent > 0 { row.exponent.to_string() } else { "off".into() }];
        cells.extend([row.backends, row.clients].map(|n| count(n as u64)));
        cells.extend([ms(row.max_connection_age_ms), ratio(row.ages), ratio(row.connections)]);
        cells.extend([row.deviation, row.deviation_expected].map(percent));
        cells.extend([row.max_over_mean, row.rotations_per_age].map(ratio));
        cells.extend([row.connections_opened, row.calls, row.failed, row.duplicated].map(count));
        (row.strategy.as_str(), cells)
    });
    page_table::boxed(
        "all",
        "Levelled ages: many clients of one connection each",
        &PAGE_COLUMNS,
        rows,
        palette,
    )
}

/// By the names of the files.
fn csv(results: &Results) -> Vec<(&'static str, String)> {
    vec![("levelling.csv", rows(results)), ("levelling_timeline.csv", timeline(results))]
}

fn rows(results: &Results) -> String {
    let rows = results.levelling.iter().map(|row| {
        let mut cells = vec![row.strategy.clone(), row.exponent.to_string()];
        cells.extend([row.backends, row.clients].map(|v| v.to_string()));
        let numbers = [row.max_connection_age_ms, row.ages, row.connections, row.deviation];
        cells.extend(numbers.map(|v| v.to_string()));
        let numbers = [row.deviation_expected, row.max_over_mean, row.rotations_per_age];
        cells.extend(numbers.map(|v| v.to_string()));
        cells.extend([row.connections_opened, row.calls, row.failed, row.duplicated].map(|v| v.to_string()));
        cells
    });
    csv::table(&CSV_COLUMNS, rows)
}

/// Long form: a row per strategy, exponent, moment and server.
fn timeline(results: &Results) -> String {
    let rows = results.levelling.iter().flat_map(|row| {
        row.timeline.iter().flat_map(move |sample| {
            sample.connections.iter().map(move |(backend, connections)| {
                let names = [row.strategy.clone(), row.exponent.to_string(), sample.at_ms.to_string()];
                names.into_iter().chain([backend.clone(), connections.to_string()]).collect()
            })
        })
    });
    csv::table(&["strategy", "exponent", "at_ms", "backend", "connections"], rows)
}

/// A row per strategy, without levelling and with it.
fn in_terminal(results: &Results, width: u16) -> Option<(String, Table)> {
    let first = results.levelling.first()?;
    let mut table = terminal_table::new(width);
    table.set_header(["strategy", "ages", "deviation", "theory", "max/mean", "rotations", "failed"]);
    for row in &results.levelling {
        table.add_row([
            row.strategy.clone(),
            if row.exponent > 0 { "levelled".into() } else { "plain".into() },
            percent(row.deviation),
            percent(row.deviation_expected),
            ratio(row.max_over_mean),
            ratio(row.rotations_per_age),
            count(row.failed),
        ]);
    }
    terminal_table::align(&mut table);
    let (clients, servers) = (count(first.clients as u64), first.backends);
    Some((format!("Levelled ages: spread of {clients} clients’ connections over {servers} servers"), table))
}

/// Columns of [`page`].
const PAGE_COLUMNS: [&str; 15] = [
    "Strategy",
    "Exponent",
    "Servers",
    "Clients",
    "Age",
    "Ages measured",
    "Connections a server",
    "Deviation",
    "Theory",
    "Fullest × mean",
    "Rotations per age",
    "Connections opened",
    "Calls",
    "Failed",
    "Executed twice",
];

/// Columns of [`levelling`].
const CSV_COLUMNS: [&str; 15] = [
    "strategy",
    "exponent",
    "backends",
    "clients",
    "max_connection_age_ms",
    "ages",
    "connections",
    "deviation",
    "deviation_expected",
    "max_over_mean",
    "rotations_per_age",
    "connections_opened",
    "calls",
    "failed",
    "duplicated",
];
