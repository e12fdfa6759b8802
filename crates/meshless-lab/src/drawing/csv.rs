//! One CSV per table, raw numbers, for spreadsheets and notebooks. RFC 4180; lines end in `\n`.

use std::collections::BTreeMap;

use crate::results::Outcome;

pub(crate) fn outcome(o: &Outcome) -> Vec<String> {
    let (l, c) = (&o.latency_ms, &o.causes);
    let mut cells =
        vec![o.ok.to_string(), o.failed.to_string(), o.error_rate.to_string(), statuses(&o.statuses)];
    cells.extend([c.deadline, c.never_sent, c.sent_not_processed, c.processed].map(|v| v.to_string()));
    cells.extend([o.duplicated, o.executed_though_failed].map(|v| v.to_string()));
    cells.extend([l.mean, l.p50, l.p90, l.p99, l.p999, l.max].map(|v| v.to_string()));
    cells.extend([o.cpu_us_per_call.client, o.cpu_us_per_call.server].map(|v| v.to_string()));
    cells.extend([o.connections_opened, o.goaways_seen].map(|v| v.to_string()));
    cells
}

/// Failed calls by their status, in one cell.
pub(crate) fn statuses(statuses: &BTreeMap<String, u64>) -> String {
    let named: Vec<String> = statuses.iter().map(|(status, calls)| format!("{status}={calls}")).collect();
    named.join(" ")
}

pub(crate) fn table(head: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut text = head.join(",");
    text.push('\n');
    for row in rows {
        debug_assert_eq!(row.len(), head.len(), "a cell per column");
        let cells: Vec<String> = row.iter().map(|cell| quoted(cell)).collect();
        text.push_str(&cells.join(","));
        text.push('\n');
    }
    text
}

fn quoted(cell: &str) -> String {
    if cell.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", cell.replace('"', "\"\""))
    } else {
        cell.to_owned()
    }
}

/// The columns of [`outcome`].
pub(crate) const OUTCOME: [&str; 20] = [
    "ok",
    "failed",
    "error_rate",
    "statuses",
    "cause_deadline",
    "cause_never_sent",
    "cause_sent_not_processed",
    "cause_processed",
    "duplicated",
    "executed_though_failed",
    "latency_mean_ms",
    "latency_p50_ms",
    "latency_p90_ms",
    "latency_p99_ms",
    "latency_p999_ms",
    "latency_max_ms",
    "cpu_client_us_per_call",
    "cpu_server_us_per_call",
    "connections_opened",
    "goaways_seen",
];
