//! Tables on the page: one row per strategy or more, in a box that scrolls by itself.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::figure::strategy_swatch;
use super::format::{count, ms, percent, ratio, us};
use super::palette::Palette;
use super::svg::escape;
use crate::facts;
use crate::results::{Outcome, SpreadRow};

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
    let (l, c) = (&o.latency_ms, &o.causes);
    let mut cells = vec![count(o.ok), count(o.failed), percent(o.error_rate)];
    cells.extend([l.mean, l.p50, l.p90, l.p99, l.p999, l.max].map(|v| latency(o, v)));
    cells.extend([c.deadline, c.never_sent, c.sent_not_processed, c.processed].map(count));
    cells.extend([o.duplicated, o.executed_though_failed].map(count));
    cells.extend([o.cpu_us_per_call.client, o.cpu_us_per_call.server].map(us));
    cells.extend([o.connections_opened, o.goaways_seen].map(count));
    cells.push(statuses(&o.statuses));
    cells
}

/// Failed calls by their status; a dash where none failed.
pub(crate) fn statuses(statuses: &BTreeMap<String, u64>) -> String {
    let named: Vec<String> =
        statuses.iter().map(|(status, calls)| format!("{status} {}", count(*calls))).collect();
    if named.is_empty() { dash() } else { named.join(", ") }
}

/// A latency of answered calls; a dash where none was.
pub(crate) fn latency(o: &Outcome, value: f64) -> String {
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
