//! One CSV per table, raw numbers, for spreadsheets and notebooks. RFC 4180; lines end in `\n`.

use crate::results::{Outcome, Results};

/// File names and contents. A table without rows still has its header.
pub(crate) fn tables(results: &Results) -> Vec<(&'static str, String)> {
    vec![
        ("burst.csv", burst(results)),
        ("spread.csv", spread(results)),
        ("spread_timeline.csv", timeline(results)),
        ("around_rotation.csv", around_rotation(results)),
        ("churn.csv", churn(results)),
        ("churn_timeline.csv", churn_timeline(results)),
        ("levelling.csv", levelling(results)),
        ("levelling_timeline.csv", levelling_timeline(results)),
        ("bounce.csv", bounce(results)),
    ]
}

fn burst(results: &Results) -> String {
    let mut head = vec!["strategy", "calls", "rounds"];
    head.extend(OUTCOME);
    head.push("start_spread_ms");
    let rows = results.burst.iter().map(|row| {
        let mut cells = vec![row.strategy.clone(), row.calls.to_string(), row.rounds.to_string()];
        cells.extend(outcome(&row.outcome));
        cells.push(row.start_spread_ms.to_string());
        cells
    });
    table(&head, rows)
}

fn spread(results: &Results) -> String {
    let mut head = vec!["strategy", "backends", "calls"];
    head.extend(OUTCOME);
    head.extend([
        "max_over_mean",
        "max_over_mean_per_second_p50",
        "max_over_mean_per_second_max",
        "rotations",
        "start_lag_ms_p99",
    ]);
    let rows = results.spread.iter().map(|row| {
        let mut cells = vec![row.strategy.clone(), row.backends.to_string(), row.calls.to_string()];
        cells.extend(outcome(&row.outcome));
        cells.extend(
            [row.max_over_mean, row.max_over_mean_per_second.p50, row.max_over_mean_per_second.max]
                .map(|v| v.to_string()),
        );
        cells.extend([row.rotations.to_string(), row.start_lag_ms_p99.to_string()]);
        cells
    });
    table(&head, rows)
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
    table(&["strategy", "second", "backend", "ok", "failed"], rows)
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
    table(&["strategy", "offset_ms", "ok", "failed", "p50_ms", "p99_ms"], rows)
}

fn churn(results: &Results) -> String {
    let rows = results.churn.iter().map(|row| {
        let statuses: Vec<String> =
            row.statuses.iter().map(|(status, calls)| format!("{status}={calls}")).collect();
        let c = &row.failed_by_cause;
        let mut cells = vec![row.strategy.clone(), row.event.clone()];
        cells.extend([row.calls, row.failed].map(|v| v.to_string()));
        cells.extend([row.error_rate.to_string(), statuses.join(" ")]);
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
    table(&CHURN, rows)
}

fn churn_timeline(results: &Results) -> String {
    let rows = results.churn.iter().flat_map(|row| {
        row.timeline.iter().map(|s| {
            let numbers = [s.ok, s.failed, s.concerned].map(|v| v.to_string());
            let latency = [s.p50_ms, s.p99_ms].map(|v| v.to_string());
            let names = [row.strategy.clone(), row.event.clone(), s.at_ms.to_string()];
            names.into_iter().chain(numbers).chain(latency).collect()
        })
    });
    table(&["strategy", "event", "at_ms", "ok", "failed", "concerned", "p50_ms", "p99_ms"], rows)
}

fn levelling(results: &Results) -> String {
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
    table(&LEVELLING, rows)
}

/// Long form: a row per strategy, exponent, moment and server.
fn levelling_timeline(results: &Results) -> String {
    let rows = results.levelling.iter().flat_map(|row| {
        row.timeline.iter().flat_map(move |sample| {
            sample.connections.iter().map(move |(backend, connections)| {
                let names = [row.strategy.clone(), row.exponent.to_string(), sample.at_ms.to_string()];
                names.into_iter().chain([backend.clone(), connections.to_string()]).collect()
            })
        })
    });
    table(&["strategy", "exponent", "at_ms", "backend", "connections"], rows)
}

fn bounce(results: &Results) -> String {
    let mut head = BOUNCE.to_vec();
    head.extend(OUTCOME);
    let rows = results.bounce.iter().map(|row| {
        let mut cells = vec![row.strategy.clone(), row.bounces.to_string()];
        cells.extend([row.backends, row.workers, row.clients].map(|v| v.to_string()));
        let numbers = [row.service_time_ms, row.service_time_ms_measured, row.load];
        cells.extend(numbers.map(|v| v.to_string()));
        cells.push(row.calls.to_string());
        cells.extend([row.goodput, row.attempts_per_call, row.start_lag_ms_p99].map(|v| v.to_string()));
        cells.extend(outcome(&row.outcome));
        cells
    });
    table(&head, rows)
}

fn outcome(o: &Outcome) -> Vec<String> {
    let statuses: Vec<String> =
        o.statuses.iter().map(|(status, calls)| format!("{status}={calls}")).collect();
    let (l, c) = (&o.latency_ms, &o.causes);
    let mut cells =
        vec![o.ok.to_string(), o.failed.to_string(), o.error_rate.to_string(), statuses.join(" ")];
    cells.extend([c.deadline, c.never_sent, c.sent_not_processed, c.processed].map(|v| v.to_string()));
    cells.extend([o.duplicated, o.executed_though_failed].map(|v| v.to_string()));
    cells.extend([l.mean, l.p50, l.p90, l.p99, l.p999, l.max].map(|v| v.to_string()));
    cells.extend([o.cpu_us_per_call.client, o.cpu_us_per_call.server].map(|v| v.to_string()));
    cells.extend([o.connections_opened, o.goaways_seen].map(|v| v.to_string()));
    cells
}

fn table(head: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
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

/// Columns of [`churn`].
const CHURN: [&str; 24] = [
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

/// Columns of [`levelling`].
const LEVELLING: [&str; 15] = [
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

/// Columns of [`bounce`], before those of [`outcome`].
const BOUNCE: [&str; 12] = [
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

/// Columns of [`outcome`].
const OUTCOME: [&str; 20] = [
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
