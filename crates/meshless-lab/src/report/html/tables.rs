//! The tables of the page: a summary of one row per strategy, and every number.

use std::fmt::Write as _;

use super::super::figures::strategy_swatch;
use super::super::format::{count, ms, percent, ratio, us};
use super::super::palette::Palette;
use super::super::svg::escape;
use super::facts;
use crate::results::{Outcome, Results, SpreadRow};

/// One row per strategy, with the most important numbers.
pub(super) fn summary(results: &Results, palette: &Palette) -> String {
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
            cells.push(burst.map_or_else(dash, |b| match b.onset() {
                Some(row) => count(row.calls),
                None => format!("none to {}", count(b.largest().calls)),
            }));
            cells.push(burst.map_or_else(dash, |b| percent(b.largest().outcome.error_rate)));
        }
        if !results.spread.is_empty() {
            cells.extend(match results.spread.iter().find(|row| row.strategy == name) {
                Some(row) => vec![
                    format!("{} of {}", facts::reached(row), row.backends),
                    balance(row, row.max_over_mean),
                    balance(row, row.max_over_mean_per_second.p50),
                    lost(&row.outcome),
                    latency(&row.outcome, row.outcome.latency_ms.p99),
                ],
                None => vec![dash(); 5],
            });
        }
        if !results.churn.is_empty() {
            let lost = churned.iter().find(|fact| fact.strategy == name);
            cells.push(lost.map_or_else(dash, |fact| percent(fact.error_rate())));
        }
        (name, cells)
    });
    boxed("summary", "", &head, rows, palette)
}

/// Returns a table in a box that scrolls sideways; the strategies' column stays visible.
pub(crate) fn boxed<'a>(
    class: &str,
    caption: &str,
    head: &[&str],
    rows: impl Iterator<Item = (&'a str, Vec<String>)>,
    palette: &Palette,
) -> String {
    let mut body = String::new();
    let mut before = "";
    for (name, cells) in rows {
        let begins = if name == before { "" } else { " class=\"first\"" };
        before = name;
        let swatch = strategy_swatch(palette.slot(name));
        let _ = write!(body, "<tr{begins}><th scope=\"row\">{swatch}{}</th>", escape(name));
        for cell in cells {
            let _ = write!(body, "<td>{}</td>", escape(&cell));
        }
        body += "</tr>\n";
    }
    if body.is_empty() {
        return String::new();
    }
    let head: String = head.iter().map(|h| format!("<th scope=\"col\">{}</th>", escape(h))).collect();
    let label = if caption.is_empty() { "Summary" } else { caption };
    let heading = if caption.is_empty() { String::new() } else { format!("<h3>{}</h3>\n", escape(caption)) };
    format!(
        "{heading}<div class=\"scroll\" role=\"region\" tabindex=\"0\" aria-label=\"{}\"><table class=\"{class}\">\n\
         <thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody></table></div>\n",
        escape(label)
    )
}

pub(crate) fn outcome(o: &Outcome) -> Vec<String> {
    let statuses: Vec<String> =
        o.statuses.iter().map(|(status, calls)| format!("{status} {}", count(*calls))).collect();
    let (l, c) = (&o.latency_ms, &o.causes);
    let mut cells = vec![count(o.ok), count(o.failed), percent(o.error_rate)];
    cells.extend([l.mean, l.p50, l.p90, l.p99, l.p999, l.max].map(|v| latency(o, v)));
    cells.extend([c.deadline, c.never_sent, c.sent_not_processed, c.processed].map(count));
    cells.extend([o.duplicated, o.executed_though_failed].map(count));
    cells.extend([o.cpu_us_per_call.client, o.cpu_us_per_call.server].map(us));
    cells.extend([o.connections_opened, o.goaways_seen].map(count));
    cells.push(if statuses.is_empty() { dash() } else { statuses.join(", ") });
    cells
}

fn lost(o: &Outcome) -> String {
    if o.failed == 0 { "0".into() } else { format!("{} ({})", count(o.failed), percent(o.error_rate)) }
}

/// Formats a latency of answered calls; a dash if there were none.
fn latency(o: &Outcome, value: f64) -> String {
    if o.ok == 0 { dash() } else { ms(value) }
}

/// Formats a ratio between backends; a dash if there was only one backend to choose.
pub(crate) fn balance(row: &SpreadRow, value: f64) -> String {
    if facts::has_choice(row) { format!("{}×", ratio(value)) } else { dash() }
}

pub(crate) fn dash() -> String {
    "–".into()
}

/// The columns of [`outcome`].
pub(crate) const OUTCOME: [&str; 20] = [
    "Ok",
    "Failed",
    "Error rate",
    "Mean",
    "p50",
    "p90",
    "p99",
    "p99.9",
    "Max",
    "Deadline passed",
    "Never sent",
    "Sent, not executed",
    "Executed, answer lost",
    "Executed twice",
    "Executed though failed",
    "CPU/call, client",
    "CPU/call, server",
    "Connections",
    "GOAWAYs seen",
    "Statuses of the failed",
];
