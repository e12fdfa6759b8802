//! The tables of the spread: on the page, as CSV, and in a terminal.

use comfy_table::Table;

use crate::drawing::format::{count, ms, ratio, short, us};
use crate::drawing::palette::{Palette, strategies};
use crate::drawing::{csv, page_table, terminal_table};
use crate::experiment::Tables;
use crate::facts;
use crate::results::Results;

/// How its rows are listed.
pub(super) const TABLES: Tables = Tables { page, csv, in_terminal };

/// Every spread row.
fn page(results: &Results, palette: &Palette) -> String {
    let mut head = vec![
        "Strategy",
        "Backends",
        "Busiest, run",
        "Busiest, 1\u{a0}s p50",
        "1\u{a0}s max",
        "Rotations",
        "Calls",
    ];
    head.extend(page_table::OUTCOME);
    head.extend(["Start lag p99", "Calls by backend"]);
    let rows = results.spread.iter().map(|row| {
        let mut cells = vec![
            format!("{} of {}", facts::reached(row), row.backends),
            page_table::balance(row, row.max_over_mean),
            page_table::balance(row, row.max_over_mean_per_second.p50),
            page_table::balance(row, row.max_over_mean_per_second.max),
            count(row.rotations),
            count(row.calls),
        ];
        cells.extend(page_table::outcome(&row.outcome));
        let shares: Vec<String> =
            row.share.iter().map(|(b, calls)| format!("{b}: {}", count(*calls))).collect();
        cells.extend([ms(row.start_lag_ms_p99), shares.join(", ")]);
        (row.strategy.as_str(), cells)
    });
    page_table::boxed("all", "Spread: steady load on several backends", &head, rows, palette)
}

/// By the names of the files.
fn csv(results: &Results) -> Vec<(&'static str, String)> {
    vec![
        ("spread.csv", rows(results)),
        ("spread_timeline.csv", timeline(results)),
        ("around_rotation.csv", around_rotation(results)),
    ]
}

fn rows(results: &Results) -> String {
    let mut head = vec!["strategy", "backends", "calls"];
    head.extend(csv::OUTCOME);
    head.extend([
        "max_over_mean",
        "max_over_mean_per_second_p50",
        "max_over_mean_per_second_max",
        "rotations",
        "start_lag_ms_p99",
    ]);
    let rows = results.spread.iter().map(|row| {
        let mut cells = vec![row.strategy.clone(), row.backends.to_string(), row.calls.to_string()];
        cells.extend(csv::outcome(&row.outcome));
        cells.extend(
            [row.max_over_mean, row.max_over_mean_per_second.p50, row.max_over_mean_per_second.max]
                .map(|v| v.to_string()),
        );
        cells.extend([row.rotations.to_string(), row.start_lag_ms_p99.to_string()]);
        cells
    });
    csv::table(&head, rows)
}

/// Long form: a row per strategy, second and backend; failures under the backend's empty name.
fn timeline(results: &Results) -> String {
    let rows = results.spread.iter().flat_map(|row| {
        row.timeline.iter().enumerate().flat_map(move |(i, second)| {
            let answered = second.share.iter().map(|(backend, calls)| (backend.clone(), *calls, 0));
            let failed = (second.failed > 0).then(|| (String::new(), 0, second.failed));
            answered.chain(failed).map(move |(backend, ok, failed)| {
                vec![row.strategy.clone(), i.to_string(), backend, ok.to_string(), failed.to_string()]
            })
        })
    });
    csv::table(&["strategy", "second", "backend", "ok", "failed"], rows)
}

fn around_rotation(results: &Results) -> String {
    let rows = results.spread.iter().flat_map(|row| {
        row.around_rotation.iter().map(|s| {
            let numbers = [
                s.offset_ms.to_string(),
                s.ok.to_string(),
                s.failed.to_string(),
                s.p50_ms.to_string(),
                s.p99_ms.to_string(),
            ];
            [row.strategy.clone()].into_iter().chain(numbers).collect()
        })
    });
    csv::table(&["strategy", "offset_ms", "ok", "failed", "p50_ms", "p99_ms"], rows)
}

fn in_terminal(results: &Results, width: u16) -> Option<(String, Table)> {
    if results.spread.is_empty() {
        return None;
    }
    let wide = width >= 100;
    let mut head = vec!["strategy", "backends", "max/mean", "in 1 s", "lost", "rotations", "p50", "p99"];
    if wide {
        head.extend(["not executed", "CPU/call"]);
    }
    let mut table = terminal_table::new(width);
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
                cells.push(us(o.cpu_us_per_call.client + o.cpu_us_per_call.server));
            }
            table.add_row(cells);
        }
    }
    terminal_table::align(&mut table);
    let calls = results.spread.iter().map(|row| row.calls).max().unwrap_or(0);
    Some((
        format!("Spread: {} calls a strategy, {} per second", count(calls), short(results.settings.rate)),
        table,
    ))
}
