//! The tables of the page: a summary of one row per strategy, and every number.

use std::fmt::Write as _;

use super::super::figures::strategy_swatch;
use super::super::format::{count, ms, percent, ratio, short, us};
use super::super::palette::Palette;
use super::super::svg::escape;
use super::facts;
use crate::results::{Outcome, Results, SpreadRow};

/// One row per strategy: what a reader compares first.
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

/// Every burst row.
pub(super) fn burst(results: &Results, palette: &Palette) -> String {
    let mut head = vec!["Strategy", "N", "Rounds"];
    head.extend(OUTCOME);
    head.push("Start spread");
    let mut sorted: Vec<_> = results.burst.iter().collect();
    sorted.sort_by_key(|row| (palette.names().position(|name| name == row.strategy), row.calls));
    let rows = sorted.into_iter().map(|row| {
        let mut cells = vec![count(row.calls), row.rounds.to_string()];
        cells.extend(outcome(&row.outcome));
        cells.push(ms(row.start_spread_ms));
        (row.strategy.as_str(), cells)
    });
    boxed("all", "Burst: N calls at once", &head, rows, palette)
}

/// Every spread row.
pub(super) fn spread(results: &Results, palette: &Palette) -> String {
    let mut head = vec![
        "Strategy",
        "Backends",
        "Busiest, run",
        "Busiest, 1\u{a0}s p50",
        "1\u{a0}s max",
        "Rotations",
        "Calls",
    ];
    head.extend(OUTCOME);
    head.extend(["Start lag p99", "Calls by backend"]);
    let rows = results.spread.iter().map(|row| {
        let mut cells = vec![
            format!("{} of {}", facts::reached(row), row.backends),
            balance(row, row.max_over_mean),
            balance(row, row.max_over_mean_per_second.p50),
            balance(row, row.max_over_mean_per_second.max),
            count(row.rotations),
            count(row.calls),
        ];
        cells.extend(outcome(&row.outcome));
        let shares: Vec<String> =
            row.share.iter().map(|(b, calls)| format!("{b}: {}", count(*calls))).collect();
        cells.extend([ms(row.start_lag_ms_p99), shares.join(", ")]);
        (row.strategy.as_str(), cells)
    });
    boxed("all", "Spread: steady load on several backends", &head, rows, palette)
}

/// Every churn row.
pub(super) fn churn(results: &Results, palette: &Palette) -> String {
    let rows = results.churn.iter().map(|row| {
        let causes = facts::causes(&row.failed_by_cause).map(|(_, calls)| count(calls));
        let statuses: Vec<String> =
            row.statuses.iter().map(|(status, calls)| format!("{status} {}", count(*calls))).collect();
        let mut cells = vec![row.event.clone(), count(row.calls), count(row.failed), percent(row.error_rate)];
        cells.push(match (row.converges, row.converged_ms) {
            (false, _) => dash(),
            (true, Some(after)) => ms(after),
            (true, None) => "never".into(),
        });
        cells.extend(causes);
        cells.extend([row.duplicated, row.executed_though_failed].map(count));
        cells.push(row.attempts_per_call.map_or_else(dash, ratio));
        cells.push(row.connections_per_client.map_or_else(dash, |n| count(n.round() as u64)));
        cells.push(ms(row.start_lag_ms_p99));
        for latency in [&row.latency_ms.before, &row.latency_ms.after] {
            cells.extend([latency.p50, latency.p99, latency.p999, latency.max].map(ms));
        }
        cells.push(if statuses.is_empty() { dash() } else { statuses.join(", ") });
        (row.strategy.as_str(), cells)
    });
    boxed("all", "Churn: steady load while things break", &CHURN, rows, palette)
}

/// Every levelling row.
pub(super) fn levelling(results: &Results, palette: &Palette) -> String {
    let rows = results.levelling.iter().map(|row| {
        let mut cells = vec![if row.exponent > 0 { row.exponent.to_string() } else { "off".into() }];
        cells.extend([row.backends, row.clients].map(|n| count(n as u64)));
        cells.extend([ms(row.max_connection_age_ms), ratio(row.ages), ratio(row.connections)]);
        cells.extend([row.deviation, row.deviation_expected].map(percent));
        cells.extend([row.max_over_mean, row.rotations_per_age].map(ratio));
        cells.extend([row.connections_opened, row.calls, row.failed, row.duplicated].map(count));
        (row.strategy.as_str(), cells)
    });
    boxed("all", "Levelled ages: many clients of one connection each", &LEVELLING, rows, palette)
}

/// Every bounce row.
pub(super) fn bounce(results: &Results, palette: &Palette) -> String {
    let mut head = BOUNCE.to_vec();
    head.extend(OUTCOME);
    let rows = results.bounce.iter().map(|row| {
        let mut cells = vec![if row.bounces { "bounce" } else { "queue" }.to_owned()];
        cells.extend([row.backends, row.workers, row.clients].map(|n| count(n as u64)));
        cells.extend([ms(row.service_time_ms_measured), percent(row.load), count(row.calls)]);
        cells.extend([short(row.goodput), ratio(row.attempts_per_call), ms(row.start_lag_ms_p99)]);
        cells.extend(outcome(&row.outcome));
        (row.strategy.as_str(), cells)
    });
    boxed("all", "Bounce: load near the capacity", &head, rows, palette)
}

/// What the events are, and when a client has got over them.
pub(super) fn events(results: &Results) -> String {
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

/// A table in a box that scrolls sideways by itself; the strategies stay in sight.
fn boxed<'a>(
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

fn outcome(o: &Outcome) -> Vec<String> {
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

/// A latency of answered calls; a dash where none was.
fn latency(o: &Outcome, value: f64) -> String {
    if o.ok == 0 { dash() } else { ms(value) }
}

/// A ratio between backends; a dash where there is nothing to choose.
fn balance(row: &SpreadRow, value: f64) -> String {
    if facts::has_choice(row) { format!("{}×", ratio(value)) } else { dash() }
}

fn dash() -> String {
    "–".into()
}

/// Columns of [`churn`].
const CHURN: [&str; 24] = [
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

/// Columns of [`levelling`].
const LEVELLING: [&str; 15] = [
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

/// Columns of [`bounce`], before those of [`outcome`].
const BOUNCE: [&str; 11] = [
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

/// Columns of [`outcome`].
const OUTCOME: [&str; 20] = [
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
