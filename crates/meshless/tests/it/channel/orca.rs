//! Load reports, from a server's trailers to the shares of its peers.

use std::time::Duration;

use bytes::Bytes;
use meshless::Policy;
use meshless::orca::LoadReporter;
use meshless::resolver::Address;
use tonic::metadata::BinaryMetadataValue;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use super::network::{Call, Network, backend, check};

const TRAILER: &str = "endpoint-load-metrics-bin";

#[tokio::test(start_paused = true)]
async fn a_wrapped_service_ends_its_responses_with_a_report() {
    let load = LoadReporter::new();
    let mut client = HealthClient::new(load.wrap(tonic_health::server::health_reporter().1));
    let first = client.check(HealthCheckRequest::default()).await.unwrap();
    assert!(first.metadata().get_bin(TRAILER).is_none(), "nothing is known yet");
    load.set_application_utilization(0.5);
    for _ in 0..2 {
        tokio::time::advance(Duration::from_secs(2)).await;
        let unknown = HealthCheckRequest { service: "no.such.Service".to_owned() };
        let status = client.check(unknown).await.unwrap_err();
        let report = status.metadata().get_bin(TRAILER).expect("errors carry it too").to_bytes().unwrap();
        // Tag 9, a double: application_utilization.
        let expected = [&[0x49][..], &0.5f64.to_le_bytes()].concat();
        assert!(report.windows(9).any(|window| window == expected), "{report:?}");
    }
    let report = load.report();
    assert!(
        report.errors_per_second > 0.0 && report.calls_per_second >= report.errors_per_second,
        "{report:?}"
    );
}

/// A report as the wire has it: `cpu_utilization` and `rps_fractional`.
pub(super) fn report(utilization: f64, calls_per_second: f64) -> Bytes {
    [&[0x09][..], &utilization.to_le_bytes(), &[0x31], &calls_per_second.to_le_bytes()].concat().into()
}

/// Answers, with a utilization at 100 calls a second.
pub(super) fn answer_with(utilization: f64, mut call: Call) {
    let report = BinaryMetadataValue::from_bytes(&report(utilization, 100.0));
    let response = http::Response::builder().header("content-type", "application/grpc").body(()).unwrap();
    let mut body = call.respond.send_response(response, false).unwrap();
    body.send_data(Bytes::from_static(b"\0\0\0\0\x02\x08\x01"), false).unwrap();
    let mut trailers = http::HeaderMap::new();
    trailers.insert("grpc-status", "0".parse().unwrap());
    trailers.insert(TRAILER, http::HeaderValue::from_bytes(report.as_encoded_bytes()).unwrap());
    body.send_trailers(trailers).unwrap();
}

#[tokio::test(start_paused = true)]
async fn weighted_round_robin_follows_the_reports() {
    let mut network = Network::new();
    let channel = network
        .channel(&[backend(1), backend(2), backend(3)])
        .policy(Policy::WeightedRoundRobin)
        .connect_lazy()
        .unwrap();
    let (seen, mut calls) = tokio::sync::mpsc::unbounded_channel();
    network.serve(1000, move |call| {
        let is_first = call.backend == Address::Tcp(backend(1));
        let _ = seen.send(is_first);
        answer_with(if is_first { 0.8 } else { 0.4 }, call);
    });
    for _ in 0..120 {
        check(&channel).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    while calls.try_recv().is_ok() {}
    for _ in 0..100 {
        check(&channel).await.unwrap();
    }
    let mut on_first = 0;
    while let Ok(is_first) = calls.try_recv() {
        on_first += u32::from(is_first);
    }
    assert!((18..=22).contains(&on_first), "one of five: {on_first}");
}

#[cfg(feature = "otel")]
#[tokio::test(start_paused = true)]
async fn what_shares_are_made_of_is_measured() {
    let (measured, mut network) = (crate::measured::Measured::new(), Network::new());
    let builder = network.channel(&[backend(1), backend(2)]).metrics(measured.meter()).metrics_target("two");
    let channel = builder.policy(Policy::WeightedRoundRobin).connect_lazy().unwrap();
    network.serve(1000, move |call| answer_with(0.5, call));
    let fallbacks = || measured.sums("grpc.lb.wrr.rr_fallback")[0].1;
    let weights = || measured.of("grpc.lb.wrr.endpoint_weights")[0].clone();
    let seconds = async |n: u32| {
        for _ in 0..n * 10 {
            check(&channel).await.unwrap();
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    seconds(9).await;
    assert_eq!(weights().sum, 0.0, "blackout");
    seconds(3).await;
    let (before, fell_back) = (weights(), fallbacks());
    seconds(5).await;
    let after = weights();
    // 100 calls a second at a utilization of 0.5.
    let mean = (after.sum - before.sum) / (after.count - before.count) as f64;
    assert!((mean - 200.0).abs() < 0.1, "{before:?} {after:?}");
    assert_eq!(fallbacks(), fell_back, "no more of them");
    assert_eq!(after.labels, "grpc.target=two");
    assert!(measured.sums("grpc.lb.wrr.endpoint_weight_not_yet_usable")[0].1 > 0.0);
}
