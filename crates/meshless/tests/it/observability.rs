//! The dashboard and the alerts in `deploy/observability/` ask only for metrics that channels and
//! servers have, by the names and labels that Prometheus gives them.

mod promql;
mod recorder;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use meshless::resolver::ResolveError;
use meshless::retry::Code;
use meshless::{Channel, Server, Shutdown};
use serde_json::Value;
use tokio::sync::mpsc;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use promql::{Query, queries_label};
use recorder::{Recorder, Series};

/// Labels of Prometheus itself.
const OF_SCRAPE: [&str; 2] = ["instance", "job"];

#[tokio::test]
async fn the_dashboard_asks_for_metrics_that_exist() {
    let series = measured().await;
    let dashboard: Value = serde_json::from_str(&read("dashboard.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let mut ids = BTreeSet::new();
    for panel in panels {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "two panels have the id {}", panel["id"]);
        for target in panel["targets"].as_array().into_iter().flatten() {
            let query = Query::parse(target["expr"].as_str().unwrap());
            check(&query, &series);
            for label in legend_labels(target["legendFormat"].as_str().unwrap()) {
                assert!(query.grouped_by.contains(label), "{} loses {label}", query.text);
            }
        }
    }
    let used = panels.iter().filter(|panel| panel["targets"].is_array()).count();
    assert!(used >= 20, "only {used} panels were found");
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        if variable["type"] == "query" {
            let (query, label) = queries_label(variable["definition"].as_str().unwrap());
            check(&query, &series);
            assert!(carries(&query, &series, &label), "{}: no label {label}", query.text);
        }
    }
}

#[tokio::test]
async fn the_alerts_ask_for_metrics_that_exist() {
    let series = measured().await;
    let file: Value = serde_saphyr::from_str(&read("alerts.yaml")).unwrap();
    let groups = file["groups"].as_array().unwrap();
    let rules: Vec<_> = groups.iter().flat_map(|group| group["rules"].as_array().unwrap()).collect();
    assert!(rules.len() >= 10, "only {} alerts were found", rules.len());
    let mut names = BTreeSet::new();
    for rule in rules {
        assert!(names.insert(rule["alert"].as_str().unwrap()), "two alerts are {}", rule["alert"]);
        let query = Query::parse(rule["expr"].as_str().unwrap());
        check(&query, &series);
        let summary = rule["annotations"]["summary"].as_str().unwrap();
        for label in named_in(summary, "$labels.") {
            let kept = query.grouped_by.is_empty() || query.grouped_by.contains(label);
            assert!(kept && carries(&query, &series, label), "{summary}: {} has no {label}", query.text);
        }
    }
}

#[tokio::test]
async fn a_name_that_does_not_exist_is_noticed() {
    let series = measured().await;
    for (wrong, what) in [
        ("rate(grpc_client_call_seconds_count[5m])", "metric"),
        ("meshless_channel_endpoints_total", "a counter's name for a gauge"),
        ("grpc_client_attempt_started", "a counter without its ending"),
        ("sum by (grpc_state) (meshless_channel_calls_waiting)", "grouping"),
        ("meshless_channel_calls_waiting{method=\"a\"}", "label"),
        ("meshless_channel_endpoints{meshless_endpoint_state=\"dead\"}", "value"),
        ("meshless_channel_retries_total{meshless_retry_kind=~\"policy|none\"}", "one value of several"),
        ("grpc_client_call_duration_seconds_count{grpc_status!=\"FINE\"}", "status"),
    ] {
        let query = Query::parse(wrong);
        assert!(fault(&query, &series).is_some(), "{what}: {wrong}");
    }
    let right = Query::parse("sum by (le, job) (rate(grpc_server_call_duration_seconds_bucket[5m])) / 2e3");
    assert_eq!(fault(&right, &series), None);
}

/// What a channel and a server measure, with calls that succeed and fail, a failing resolver, and
/// connections that end.
async fn measured() -> Vec<Series> {
    let recorder = Recorder::new();
    let listener = meshless::server::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let endpoint = meshless::Endpoint::new(listener.local_addr().unwrap());
    let shutdown = Shutdown::new();
    let stop = shutdown.handle();
    let server = Server::builder().metrics(recorder.meter());
    let server = tokio::spawn(server.serve_with_incoming_shutdown([listener], shutdown));

    let (updates, resolver) = mpsc::channel(1);
    updates.send(Ok(vec![endpoint])).await.unwrap();
    let builder = Channel::builder("test:///echo").resolver(resolver).metrics(recorder.meter());
    let channel = builder.connect().await.unwrap();
    let mut client = HealthClient::new(channel.clone());
    client.check(HealthCheckRequest::default()).await.unwrap();
    client.check(HealthCheckRequest { service: "unknown".into() }).await.unwrap_err();
    updates.send(Err(ResolveError::NoAddresses { name: "echo".into() })).await.unwrap();
    stop.begin();
    server.await.unwrap().unwrap();
    recorder.series()
}

fn check(query: &Query, series: &[Series]) {
    if let Some(fault) = fault(query, series) {
        panic!("{fault}, in {}", query.text);
    }
}

/// What the query asks for in vain.
fn fault(query: &Query, series: &[Series]) -> Option<String> {
    if query.metrics.is_empty() {
        return Some("no metric".to_owned());
    }
    for metric in &query.metrics {
        let Some(known) = series.iter().find(|series| series.name == metric.name) else {
            return Some(format!("there is no metric {}", metric.name));
        };
        for (label, values) in &metric.labels {
            let Some(seen) = known.labels.get(label) else {
                if OF_SCRAPE.contains(&label.as_str()) {
                    continue;
                }
                return Some(format!("{} has no label {label}", metric.name));
            };
            let is_known = |value: &String| match label.as_str() {
                // Calls end with any of them, and only some did here.
                "grpc_status" => Code::ALL.iter().any(|code| code.as_str() == value),
                _ => seen.contains(value),
            };
            if let Some(value) = values.iter().find(|value| !is_known(value)) {
                return Some(format!("{label} is never {value}"));
            }
        }
    }
    let lost = query.grouped_by.iter().find(|label| !carries(query, series, label));
    lost.map(|label| format!("no metric here has the label {label}"))
}

/// Returns true if a metric of the query has this label.
fn carries(query: &Query, series: &[Series], label: &str) -> bool {
    let named = |series: &&Series| query.metrics.iter().any(|metric| metric.name == series.name);
    OF_SCRAPE.contains(&label) || series.iter().filter(named).any(|series| series.labels.contains_key(label))
}

/// The labels in a legend such as `p99 of {{grpc_target}}`.
fn legend_labels(legend: &str) -> Vec<&str> {
    legend.split("{{").skip(1).map(|rest| rest.split("}}").next().unwrap_or_default().trim()).collect()
}

/// The words that follow each `before`.
fn named_in<'a>(text: &'a str, before: &str) -> Vec<&'a str> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.split(before).skip(1).map(|rest| rest.split(|c| !is_word(c)).next().unwrap_or_default()).collect()
}

fn read(file: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/observability");
    fs::read_to_string(folder.join(file)).unwrap()
}
