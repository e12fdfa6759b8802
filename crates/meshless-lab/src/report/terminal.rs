//! The run in a terminal: a table per experiment, and the verdict wrapped to the width.

use comfy_table::{CellAlignment, ContentArrangement, Table};

use super::facts;
use super::format::{NBSP, count, ms, percent, ratio, short};
use super::palette::strategies;
use super::verdict::verdict;
use crate::results::{Outcome, Results};

/// Everything, as lines no longer than `width` where the words allow.
pub(crate) fn text(results: &Results, width: u16, colour: bool) -> String {
    let style = Style { colour };
    let width = width.clamp(MIN_WIDTH, MAX_WIDTH);
    let mut out = String::new();
    if !results.complete {
        out += &style.warning("Interrupted: what follows was measured until then.");
        out += "\n\n";
    }
    let tables = [
        burst(results, width),
        spread(results, width),
        churn(results, width),
        levelling(results, width),
        bounce(results, width),
    ];
    for (title, table) in tables.into_iter().flatten() {
        out += &style.bold(&title);
        out.push('\n');
        out += &style.table(&table);
        out.push('\n');
    }
    for sentence in verdict(results) {
        out += &style.bold(&wrap(&sentence.replace('`', ""), width));
        out.push('\n');
    }
    for note in &results.notes {
        out += &wrap(&format!("Note: {note}"), width);
        out.push('\n');
    }
    out.replace([NBSP, '\u{202f}'], " ")
}

/// A row per strategy, a column per size; the smallest sizes go first where the width does not hold all.
fn burst(results: &Results, width: u16) -> Option<(String, Table)> {
    let facts = facts::bursts(results);
    let mut sizes: Vec<u64> = facts.iter().flat_map(|f| &f.rows).map(|row| row.calls).collect();
    sizes.sort_unstable();
    sizes.dedup();
    let longest = facts.iter().map(|f| f.strategy.chars().count()).max()?;
    let room = (usize::from(width).saturating_sub(longest + 2) / CELL).max(1);
    let left_out = sizes.len().saturating_sub(room);
    sizes.drain(..left_out);
    let mut table = table(width);
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
    align(&mut table);
    let more = if left_out > 0 { ", larger sizes (all in the report)" } else { "" };
    Some((format!("Burst: calls failed{more}"), table))
}

fn spread(results: &Results, width: u16) -> Option<(String, Table)> {
    if results.spread.is_empty() {
        return None;
    }
    let wide = width >= 100;
    let mut head = vec!["strategy", "backends", "max/mean", "in 1 s", "lost", "rotations", "p50", "p99"];
    if wide {
        head.extend(["not executed", "CPU/call"]);
    }
    let mut table = table(width);
    table.set_header(head);
    for name in strategies(results) {
        for row in results.spread.iter().filter(|row| row.strategy == name) {
            let o = &row.outcome;
            let latency = |v: f64| if o.ok > 0 { ms(v) } else { "–".into() };
            let balance = |v: f64| if facts::has_choice(row) { ratio(v) } else { "–".into() };
            let mut cells = vec![
                name.clone(),
                format!("{} of {}", facts::reached(row), row.backends),
                balance(row.max_over_mean),
                balance(row.max_over_mean_per_second.p50),
                count(o.failed),
                count(row.rotations),
                latency(o.latency_ms.p50),
                latency(o.latency_ms.p99),
            ];
            if wide {
                cells.push(count(facts::safe_to_repeat(&o.causes)));
                cells.push(super::format::us(o.cpu_us_per_call.client + o.cpu_us_per_call.server));
            }
            table.add_row(cells);
        }
    }
    align(&mut table);
    let calls = results.spread.iter().map(|row| row.calls).max().unwrap_or(0);
    Some((
        format!("Spread: {} calls a strategy, {} per second", count(calls), short(results.settings.rate)),
        table,
    ))
}

/// A row per event, a column per strategy; what a client had not got over has a mark.
fn churn(results: &Results, width: u16) -> Option<(String, Table)> {
    let events = facts::events(results);
    let churned = facts::churned(results);
    let longest = events.iter().map(|event| event.name.chars().count()).max()?;
    // At least as wide as a name's longest part, so that headers break at their joints only.
    let room = (usize::from(width).saturating_sub(longest + 2) / CHURN_CELL).max(1);
    let shown: Vec<&str> = churned.iter().map(|fact| fact.strategy).take(room).collect();
    let mut table = table(width);
    table.set_header(["failed".to_owned()].into_iter().chain(shown.iter().map(|name| broken(name))));
    for event in &events {
        let cells = shown.iter().map(|name| {
            event.row(name).map_or_else(
                || "–".into(),
                |row| {
                    let failed = if row.failed == 0 { "0".into() } else { percent(row.error_rate) };
                    let mark = if row.converges && row.converged_ms.is_none() { "*" } else { " " };
                    failed + mark
                },
            )
        });
        table.add_row([event.name.to_owned()].into_iter().chain(cells));
    }
    align(&mut table);
    let starred = churned.iter().any(|fact| !fact.not_over.is_empty());
    let star = if starred { "; * not got over when the watch ended" } else { "" };
    let more = if shown.len() < churned.len() { "; more strategies in the report" } else { "" };
    let attempts = facts::most_attempts(results).map_or_else(String::new, |(row, attempts)| {
        let attempts = ratio(attempts);
        format!("; up to {attempts} attempts a call ({}, {})", row.strategy, row.event)
    });
    Some((format!("Churn: calls failed{star}{attempts}{more}"), table))
}

/// A row per strategy, without levelling and with it.
fn levelling(results: &Results, width: u16) -> Option<(String, Table)> {
    let first = results.levelling.first()?;
    let mut table = table(width);
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
    align(&mut table);
    let (clients, servers) = (count(first.clients as u64), first.backends);
    Some((format!("Levelled ages: spread of {clients} clients’ connections over {servers} servers"), table))
}

/// A row per strategy and kind of server.
fn bounce(results: &Results, width: u16) -> Option<(String, Table)> {
    let first = results.bounce.first()?;
    let mut table = table(width);
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
    align(&mut table);
    Some((format!("Bounce: load at {} of the capacity", percent(first.load)), table))
}

/// A name in lines, broken behind its joints.
fn broken(name: &str) -> String {
    name.replace('-', "-\n").replace('_', "_\n").replace('+', "\n+")
}

fn rate(outcome: &Outcome) -> String {
    if outcome.failed == 0 { "0".into() } else { percent(outcome.error_rate) }
}

fn table(width: u16) -> Table {
    let mut table = Table::new();
    table
        .load_style(comfy_table::presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(width);
    table
}

/// Names to the left, numbers to the right.
fn align(table: &mut Table) {
    for (i, column) in table.column_iter_mut().enumerate() {
        column.set_padding(if i == 0 { (0, 0) } else { (2, 0) });
        if i > 0 {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}

fn wrap(text: &str, width: u16) -> String {
    let mut out = String::new();
    let mut column = 0;
    for word in text.split(' ') {
        let length = word.chars().count();
        if column > 0 && column + 1 + length > usize::from(width) {
            out.push('\n');
            column = 0;
        } else if column > 0 {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += length;
    }
    out
}

/// ANSI sequences, or none. The table crate's own styling would ask the terminal; here the caller has decided.
struct Style {
    colour: bool,
}

impl Style {
    fn bold(&self, text: &str) -> String {
        self.wrap("1", text)
    }

    fn warning(&self, text: &str) -> String {
        self.wrap("1;33", text)
    }

    fn table(&self, table: &Table) -> String {
        let header = table.header().map_or(0, |_| 1);
        let mut text = String::new();
        for (i, line) in table.lines().enumerate() {
            let line = line.trim_end();
            text += &if i < header { self.wrap("2", line) } else { line.to_owned() };
            text.push('\n');
        }
        text
    }

    fn wrap(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// Columns of one error rate with its gap.
const CELL: usize = 8;
/// Columns of one strategy in the churn with its gap.
const CHURN_CELL: usize = 13;
/// Narrower, a table is no table.
const MIN_WIDTH: u16 = 60;
/// Wider, sentences are hard to read.
const MAX_WIDTH: u16 = 140;
