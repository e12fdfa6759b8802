//! The tables of the churn: on the page, as CSV, and in a terminal.

use std::fmt::Write as _;

use comfy_table::Table;

use crate::drawing::format::{count, ms, percent, ratio};
use crate::drawing::palette::Palette;
use crate::drawing::svg::escape;
use crate::drawing::{csv, page_table, terminal_table};
use crate::experiment::Tables;
use crate::facts;
use crate::results::Results;

/// How its rows are listed.
pub(super) const TABLES: Tables = Tables { page, csv, in_terminal };

/// Every churn row, and what the events are.
fn page(results: &Results, palette: &Palette) -> String {
    let rows = results.churn.iter().map(|row| {
        let causes = facts::causes(&row.failed_by_cause).map(|(_, calls)| count(calls));
        let mut cells = vec![row.event.clone(), count(row.calls), count(row.failed), percent(row.error_rate)];
        cells.push(match (row.converges, row.converged_ms) {
            (false, _) => page_table::dash(),
            (true, Some(after)) => ms(after),
            (true, None) => "never".into(),
        });
        cells.extend(causes);
        cells.extend([row.duplicated, row.executed_though_failed].map(count));
        cells.push(row.attempts_per_call.map_or_else(page_table::dash, ratio));
        cells.push(row.connections_per_client.map_or_else(page_table::dash, |n| count(n.round() as u64)));
        cells.push(ms(row.start_lag_ms_p99));
        for latency in [&row.latency_ms.before, &row.latency_ms.after] {
            cells.extend([latency.p50, latency.p99, latency.p999, latency.max].map(ms));
        }
        cells.push(page_table::statuses(&row.statuses));
        (row.strategy.as_str(), cells)
    });
    page_table::boxed("all", "Churn: steady load while things break", &PAGE_COLUMNS, rows, palette)
        + &events(results)
}

/// What the events are, and when a client has got over them.
fn events(results: &Results) -> String {
    let mut body = String::new();
    for event in &results.events {
        let [name, story, converged] =
            [&event.event, &event.story, &event.converged_when].map(|text| escape(text));
        let _ = writeln!(body, "<tr><th scope=\"row\">{name}</th><td>{story}</td><td>{converged}</td></tr>");
    }
    if body.is_empty() {
        return String::new();
    }
    format!(
        "<h3>Churn: the events</h3>\n<div class=\"scroll\" role=\"region\" tabindex=\"0\" aria-label=\"The events\">\
         <table class=\"all events\">\n<thead><tr><th scope=\"col\">Event</th><th scope=\"col\">What happens</th>\
         <th scope=\"col\">Got over it</th></tr></thead>\n<tbody>\n{body}</tbody></table></div>\n"
    )
}

/// By the names of the files.
fn csv(results: &Results) -> Vec<(&'static str, String)> {
    vec![("churn.csv", rows(results)), ("churn_timeline.csv", timeline(results))]
}

fn rows(results: &Results) -> String {
    let rows = results.churn.iter().map(|row| {
        let c = &row.failed_by_cause;
        let mut cells = vec![row.strategy.clone(), row.event.clone()];
        cells.extend([row.calls, row.failed].map(|v| v.to_string()));
        cells.extend([row.error_rate.to_string(), csv::statuses(&row.statuses)]);
        cells.extend([c.deadline, c.never_sent, c.sent_not_processed, c.processed].map(|v| v.to_string()));
        cells.extend([row.duplicated, row.executed_though_failed].map(|v| v.to_string()));
        // Empty where it is not known, or did not happen.
        let per = [row.attempts_per_call, row.connections_per_client];
        cells.extend(per.map(|v| v.map_or_else(String::new, |v| v.to_string())));
        cells.push(row.start_lag_ms_p99.to_string());
        cells.push(row.converged_ms.map_or_else(String::new, |v| v.to_string()));
        for l in [&row.latency_ms.before, &row.latency_ms.after] {
            cells.extend([l.p50, l.p99, l.p999, l.max].map(|v| v.to_string()));
        }
        cells
    });
    csv::table(&CSV_COLUMNS, rows)
}

fn timeline(results: &Results) -> String {
    let rows = results.churn.iter().flat_map(|row| {
        row.timeline.iter().map(|s| {
            let numbers = [s.ok, s.failed, s.concerned].map(|v| v.to_string());
            let latency = [s.p50_ms, s.p99_ms].map(|v| v.to_string());
            let names = [row.strategy.clone(), row.event.clone(), s.at_ms.to_string()];
            names.into_iter().chain(numbers).chain(latency).collect()
        })
    });
    csv::table(&["strategy", "event", "at_ms", "ok", "failed", "concerned", "p50_ms", "p99_ms"], rows)
}

/// A row per event, a column per strategy; what a client had not got over has a mark.
fn in_terminal(results: &Results, width: u16) -> Option<(String, Table)> {
    let events = facts::events(results);
    let churned = facts::churned(results);
    let longest = events.iter().map(|event| event.name.chars().count()).max()?;
    // At least as wide as a name's longest part, so that headers break at their joints only.
    let room = (usize::from(width).saturating_sub(longest + 2) / CHURN_CELL).max(1);
    let shown: Vec<&str> = churned.iter().map(|fact| fact.strategy).take(room).collect();
    let mut table = terminal_table::new(width);
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
    terminal_table::align(&mut table);
    let starred = churned.iter().any(|fact| !fact.not_over.is_empty());
    let star = if starred { "; * not got over when the watch ended" } else { "" };
    let more = if shown.len() < churned.len() { "; more strategies in the report" } else { "" };
    let attempts = facts::most_attempts(results).map_or_else(String::new, |(row, attempts)| {
        let attempts = ratio(attempts);
        format!("; up to {attempts} attempts a call ({}, {})", row.strategy, row.event)
    });
    Some((format!("Churn: calls failed{star}{attempts}{more}"), table))
}

/// A name in lines, broken behind its joints.
fn broken(name: &str) -> String {
    name.replace('-', "-\n").replace('_', "_\n").replace('+', "\n+")
}

/// Columns of [`page`].
const PAGE_COLUMNS: [&str; 24] = [
    "Strategy",
    "Event",
    "Calls",
    "Failed",
    "Error rate",
    "Got over it after",
    "Deadline passed",
    "Never sent",
    "Sent, not executed",
    "Executed, answer lost",
    "Executed twice",
    "Executed though failed",
    "Attempts a call",
    "Connections opened by a client",
    "Start lag p99",
    "p50 before",
    "p99 before",
    "p99.9 before",
    "Max before",
    "p50 after",
    "p99 after",
    "p99.9 after",
    "Max after",
    "Statuses of the failed",
];

/// Columns of [`churn`].
const CSV_COLUMNS: [&str; 24] = [
    "strategy",
    "event",
    "calls",
    "failed",
    "error_rate",
    "statuses",
    "cause_deadline",
    "cause_never_sent",
    "cause_sent_not_processed",
    "cause_processed",
    "duplicated",
    "executed_though_failed",
    "attempts_per_call",
    "connections_per_client",
    "start_lag_ms_p99",
    "converged_ms",
    "before_p50_ms",
    "before_p99_ms",
    "before_p999_ms",
    "before_max_ms",
    "after_p50_ms",
    "after_p99_ms",
    "after_p999_ms",
    "after_max_ms",
];

/// Columns of one strategy in the churn with its gap.
const CHURN_CELL: usize = 13;
