//! The tables of the burst: on the page, as CSV, and in a terminal.

use comfy_table::Table;

use crate::drawing::format::{NBSP, count, ms, percent, short};
use crate::drawing::palette::Palette;
use crate::drawing::{csv, page_table, terminal_table};
use crate::experiment::Tables;
use crate::facts;
use crate::results::{Outcome, Results};

/// How its rows are listed.
pub(super) const TABLES: Tables = Tables { page, csv, in_terminal };

/// Every burst row.
fn page(results: &Results, palette: &Palette) -> String {
    let mut head = vec!["Strategy", "N", "Rounds"];
    head.extend(page_table::OUTCOME);
    head.push("Start spread");
    let mut sorted: Vec<_> = results.burst.iter().collect();
    sorted.sort_by_key(|row| (palette.names().position(|name| name == row.strategy), row.calls));
    let rows = sorted.into_iter().map(|row| {
        let mut cells = vec![count(row.calls), row.rounds.to_string()];
        cells.extend(page_table::outcome(&row.outcome));
        cells.push(ms(row.start_spread_ms));
        (row.strategy.as_str(), cells)
    });
    page_table::boxed("all", "Burst: N calls at once", &head, rows, palette)
}

/// By the names of the files.
fn csv(results: &Results) -> Vec<(&'static str, String)> {
    vec![("burst.csv", rows(results))]
}

fn rows(results: &Results) -> String {
    let mut head = vec!["strategy", "calls", "rounds"];
    head.extend(csv::OUTCOME);
    head.push("start_spread_ms");
    let rows = results.burst.iter().map(|row| {
        let mut cells = vec![row.strategy.clone(), row.calls.to_string(), row.rounds.to_string()];
        cells.extend(csv::outcome(&row.outcome));
        cells.push(row.start_spread_ms.to_string());
        cells
    });
    csv::table(&head, rows)
}

/// A row per strategy, a column per size; the smallest sizes go first where the width does not hold
/// all.
fn in_terminal(results: &Results, width: u16) -> Option<(String, Table)> {
    let facts = facts::bursts(results);
    let mut sizes: Vec<u64> = facts.iter().flat_map(|f| &f.rows).map(|row| row.calls).collect();
    sizes.sort_unstable();
    sizes.dedup();
    let longest = facts.iter().map(|f| f.strategy.chars().count()).max()?;
    let room = (usize::from(width).saturating_sub(longest + 2) / CELL).max(1);
    let left_out = sizes.len().saturating_sub(room);
    sizes.drain(..left_out);
    let mut table = terminal_table::new(width);
    table.set_header(
        ["calls at once".to_owned()]
            .into_iter()
            .chain(sizes.iter().map(|n| short(*n as f64).replace(NBSP, ""))),
    );
    for fact in &facts {
        let cells = sizes.iter().map(|n| {
            let row = fact.rows.iter().find(|row| row.calls == *n);
            row.map_or_else(|| "–".into(), |row| rate(&row.outcome))
        });
        table.add_row([fact.strategy.to_owned()].into_iter().chain(cells));
    }
    terminal_table::align(&mut table);
    let more = if left_out > 0 { ", larger sizes (all in the report)" } else { "" };
    Some((format!("Burst: calls failed{more}"), table))
}

fn rate(outcome: &Outcome) -> String {
    if outcome.failed == 0 { "0".into() } else { percent(outcome.error_rate) }
}

/// Columns of one error rate with its gap.
const CELL: usize = 8;
