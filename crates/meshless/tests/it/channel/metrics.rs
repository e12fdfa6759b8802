//! What a channel measures, as OpenTelemetry's SDK reads it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use bytes::Bytes;
use meshless::resolver::ResolveError;
use meshless::{Channel, Endpoint, HedgingPolicy, RetryPolicy};
use tokio::sync::mpsc;
use tonic::{Code, Request};
use tonic_health::pb::HealthCheckRequest;

use super::network::*;
use crate::measured::Measured;
use meshless_testkit::raw_peer::ALL_STREAMS;

const SECOND: Duration = Duration::from_secs(1);

/// Of calls to one backend that ended with this.
fn call(status: &str) -> String {
    format!("grpc.method={CHECK} grpc.status={status} grpc.target={TARGET}")
}

fn retries(kind: &str) -> String {
    format!("grpc.target={TARGET} meshless.retry_kind={kind}")
}

fn measured(
    change: impl FnOnce(meshless::ChannelBuilder) -> meshless::ChannelBuilder,
) -> (Measured, Network, Channel) {
    let (measured, mut network) = (Measured::new(), Network::new());
    let builder = network.channel(&[backend(1)]).metrics(measured.meter());
    let channel = change(builder).connect_lazy().unwrap();
    (measured, network, channel)
}

/// Does `first` with the first call, and answers the others.
fn at_first(first: fn(Call)) -> impl Fn(Call) + Clone + Send + 'static {
    let calls = Arc::new(AtomicUsize::new(0));
    move |call| if calls.fetch_add(1, SeqCst) == 0 { first(call) } else { call.answer() }
}

#[tokio::test(start_paused = true)]
async fn a_call_is_counted_timed_and_weighed() {
    let (measured, network, channel) = measured(|builder| builder);
    network.serve(100, |call| {
        tokio::spawn(async {
            tokio::time::sleep(2 * SECOND).await;
            call.answer();
        });
    });
    let request = HealthCheckRequest { service: "shop".into() };
    check_with(&channel, Request::new(request)).await.unwrap();
    let of_call = format!("grpc.method={CHECK} grpc.target={TARGET}");
    assert_eq!(measured.sums("grpc.client.attempt.started"), [(of_call, 1.0)]);
    for (name, unit, sum) in [
        ("grpc.client.call.duration", "s", 2.0),
        ("grpc.client.attempt.duration", "s", 2.0),
        // A tag, a length, and four letters; a tag and an enum. The prefixes of messages do not
        // count.
        ("grpc.client.attempt.sent_total_compressed_message_size", "By", 6.0),
        ("grpc.client.attempt.rcvd_total_compressed_message_size", "By", 2.0),
    ] {
        let [point] = &measured.of(name)[..] else { panic!("{name}: {:?}", measured.of(name)) };
        assert_eq!((&*point.unit, &*point.labels), (unit, &*call("OK")), "{name}");
        assert!(point.count == 1 && (point.sum - sum).abs() < 0.01, "{point:?}");
        let bounds = if unit == "s" { (41, 100.0) } else { (14, 4294967296.0) };
        assert_eq!((point.bounds.len(), point.bounds[point.bounds.len() - 1]), bounds, "A66's, {name}");
    }
    let of_channel = || format!("grpc.target={TARGET}");
    for (name, sum) in [
        ("grpc.subchannel.connection_attempts_succeeded", 1.0),
        ("grpc.subchannel.open_connections", 1.0),
        ("meshless.channel.calls_waiting", 0.0),
    ] {
        assert_eq!(measured.sums(name), [(of_channel(), sum)], "{name}");
    }
    assert!(measured.read().iter().all(|point| !point.name.starts_with("grpc.client.call.retr")));
    assert!(measured.read().iter().all(|point| !point.name.contains("hedge")));
    assert_eq!(measured.events("meshless.channel.retries"), []);
}

#[tokio::test(start_paused = true)]
async fn a_retry_shows_in_its_call_and_in_its_attempts() {
    let policy = RetryPolicy::unavailable().with_backoff(10 * SECOND, 10 * SECOND, 1.0).unwrap();
    let (measured, network, channel) = measured(|builder| builder.retry(policy));
    network.serve(100, at_first(|call| call.refuse(Code::Unavailable, "not now", None)));
    check(&channel).await.unwrap();
    let of_call = || format!("grpc.method={CHECK} grpc.target={TARGET}");
    assert_eq!(measured.sums("grpc.client.attempt.started"), [(of_call(), 2.0)]);
    assert_eq!(measured.counts("grpc.client.attempt.duration"), [(call("OK"), 1), (call("UNAVAILABLE"), 1)]);
    assert_eq!(measured.counts("grpc.client.call.duration"), [(call("OK"), 1)]);
    assert_eq!(measured.sums("grpc.client.call.retries"), [(of_call(), 1.0)]);
    assert_eq!(measured.events("meshless.channel.retries"), [(retries("policy"), 1.0)]);
    let [(_, delay)] = measured.sums("grpc.client.call.retry_delay")[..] else { panic!("no delay") };
    assert!((8.0..=12.0).contains(&delay), "{delay}");
    assert_eq!(measured.sums("grpc.client.call.transparent_retries"), []);
}

#[tokio::test(start_paused = true)]
async fn a_transparent_retry_is_none_of_a_policy() {
    let (measured, network, channel) = measured(|builder| builder);
    network.serve(100, at_first(|mut call| call.respond.send_reset(h2::Reason::REFUSED_STREAM)));
    check(&channel).await.unwrap();
    let of_call = format!("grpc.method={CHECK} grpc.target={TARGET}");
    assert_eq!(measured.sums("grpc.client.call.transparent_retries"), [(of_call, 1.0)]);
    assert_eq!(measured.sums("grpc.client.call.retries"), []);
    assert_eq!(measured.events("meshless.channel.retries"), [(retries("transparent"), 1.0)]);
    assert_eq!(measured.counts("grpc.client.attempt.duration"), [(call("OK"), 1), (call("UNAVAILABLE"), 1)]);
}

#[tokio::test(start_paused = true)]
async fn a_hedge_that_is_overtaken_was_cancelled() {
    let (measured, network, channel) =
        measured(|builder| builder.hedging(HedgingPolicy::new(2, SECOND).unwrap()));
    network.serve(100, at_first(std::mem::forget));
    check(&channel).await.unwrap();
    assert_eq!(measured.counts("grpc.client.attempt.duration"), [(call("CANCELLED"), 1), (call("OK"), 1)]);
    let of_call = format!("grpc.method={CHECK} grpc.target={TARGET}");
    assert_eq!(measured.sums("grpc.client.call.hedges"), [(of_call, 1.0)]);
    assert_eq!(measured.counts("grpc.client.call.duration"), [(call("OK"), 1)]);
}

#[tokio::test(start_paused = true)]
async fn every_way_out_of_a_call_has_its_status() {
    let (measured, network, channel) = measured(|builder| builder);
    network.serve(100, std::mem::forget);
    check_within(&channel, SECOND).await.unwrap_err();
    tokio::time::timeout(SECOND, check(&channel)).await.unwrap_err();
    // Before it was made.
    check_within(&channel, Duration::ZERO).await.unwrap_err();
    let calls = measured.of("grpc.client.call.duration");
    let [cancelled, late] = &calls[..] else { panic!("{calls:?}") };
    assert_eq!((&*cancelled.labels, cancelled.count), (&*call("CANCELLED"), 1));
    assert_eq!((&*late.labels, late.count), (&*call("DEADLINE_EXCEEDED"), 2));
    let attempts = measured.counts("grpc.client.attempt.duration");
    assert_eq!(attempts, [(call("CANCELLED"), 1), (call("DEADLINE_EXCEEDED"), 1)]);
}

#[tokio::test(start_paused = true)]
async fn a_response_that_fails_or_is_dropped_ends_its_call_once() {
    let (measured, network, channel) = measured(|builder| builder);
    let calls = Arc::new(AtomicUsize::new(0));
    network.serve(100, move |call| match calls.fetch_add(1, SeqCst) {
        0 => call.fail_after_headers(Code::NotFound),
        1 => call.refuse(Code::PermissionDenied, "not you", None),
        _ => call.answer(),
    });
    check(&channel).await.unwrap_err();
    check(&channel).await.unwrap_err();
    let mut client = tonic_health::pb::health_client::HealthClient::new(channel);
    drop(client.watch(HealthCheckRequest::default()).await.unwrap());
    let watch = format!("grpc.method=grpc.health.v1.Health/Watch grpc.status=CANCELLED grpc.target={TARGET}");
    for name in ["grpc.client.call.duration", "grpc.client.attempt.duration"] {
        let expected = [(call("NOT_FOUND"), 1), (call("PERMISSION_DENIED"), 1), (watch.clone(), 1)];
        assert_eq!(measured.counts(name), expected, "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_method_that_nobody_registered_and_a_target_that_is_named_otherwise() {
    let (measured, network, channel) = measured(|builder| builder.metrics_target("other"));
    network.serve(100, Call::answer);
    let parts = vec![Bytes::from_static(b"\0\0\0\0\x03ab"), Bytes::from_static(b"c\0\0\0\0\x01d")];
    streaming(&channel, parts).await.unwrap().unwrap();
    let labels = "grpc.method=other grpc.status=OK grpc.target=other".to_owned();
    let sent = measured.sums("grpc.client.attempt.sent_total_compressed_message_size");
    assert_eq!(sent, [(labels, 4.0)], "however frames cut the messages");
}

#[tokio::test(start_paused = true)]
async fn connections_come_fail_and_go_for_a_reason() {
    let (measured, mut network, channel) = measured(|builder| builder);
    let first = tokio::spawn({
        let channel = channel.clone();
        async move { check(&channel).await }
    });
    let mut peer = network.accept_raw(&[]).await;
    let stream = peer.expect_request().await;
    peer.answer(stream, SERVING).await;
    first.await.unwrap().unwrap();
    network.set(backend(1), Dial::Refuse);
    peer.go_away(ALL_STREAMS, 0, b"max_age").await;
    peer.rest().await;
    settle().await;
    check(&channel).await.unwrap_err();
    network.set(backend(1), Dial::Open);
    network.serve(100, Call::answer);
    tokio::time::sleep(5 * SECOND).await;
    check(&channel).await.unwrap();
    let of_channel = || format!("grpc.target={TARGET}");
    assert_eq!(measured.sums("grpc.subchannel.open_connections"), [(of_channel(), 1.0)]);
    assert_eq!(measured.sums("grpc.subchannel.connection_attempts_succeeded"), [(of_channel(), 2.0)]);
    let [(_, failed)] = measured.sums("grpc.subchannel.connection_attempts_failed")[..] else {
        panic!("none")
    };
    assert!(failed >= 1.0, "{failed}");
    drop(channel);
    settle().await;
    assert_eq!(measured.sums("grpc.subchannel.open_connections"), [(of_channel(), 0.0)]);
    let gone = |error| (format!("grpc.disconnect_error={error} grpc.target={TARGET}"), 1.0);
    let disconnections = measured.events("grpc.subchannel.disconnections");
    assert_eq!(disconnections, [gone("GOAWAY NO_ERROR"), gone("subchannel shutdown")]);
}

#[tokio::test(start_paused = true)]
async fn a_silent_connection_has_timed_out() {
    let (measured, network, channel) = measured(|builder| builder);
    let switches = network.switches();
    network.serve(100, Call::answer);
    check(&channel).await.unwrap();
    switches.cut(backend(1));
    switches.set(backend(1), Dial::Refuse);
    check_within(&channel, 20 * SECOND).await.unwrap_err();
    let gone = format!("grpc.disconnect_error=connection timed out grpc.target={TARGET}");
    assert_eq!(measured.events("grpc.subchannel.disconnections"), [(gone, 1.0)]);
}

#[tokio::test(start_paused = true)]
async fn an_ejection_is_counted_by_what_found_it() {
    let (measured, mut network) = (Measured::new(), Network::new());
    let builder = network.channel(&[backend(1), backend(2)]).metrics(measured.meter()).metrics_target("two");
    let channel = builder.connect_lazy().unwrap();
    network.serve(100, |call| {
        if call.backend == meshless::resolver::Address::Tcp(backend(2)) {
            call.fail(Code::Unavailable);
        } else {
            call.answer();
        }
    });
    for _ in 0..20 {
        let _ = check(&channel).await;
    }
    let ejections =
        |by: &str, n| (format!("grpc.lb.outlier_detection.detection_method={by} grpc.target=two"), n);
    let enforced = || measured.events("grpc.lb.outlier_detection.ejections_enforced");
    assert_eq!(enforced(), [ejections("consecutive_failures", 1.0)]);
    tokio::time::sleep(10 * SECOND).await;
    for _ in 0..4 {
        let _ = check(&channel).await;
    }
    assert_eq!(enforced(), [ejections("consecutive_failures", 1.0), ejections("probe_failed", 1.0)]);
}

#[tokio::test(start_paused = true)]
async fn answers_of_the_resolver_and_calls_that_wait_are_seen() {
    let (measured, mut network) = (Measured::new(), Network::new());
    let (updates, resolver) = mpsc::channel(1);
    let builder = network.channel_to("dns:///echo:1").resolver(resolver).metrics(measured.meter());
    let channel = builder.connect_lazy().unwrap();
    network.serve(100, Call::answer);
    let waiting = tokio::spawn({
        let channel = channel.clone();
        async move { check(&channel).await }
    });
    settle().await;
    let labels = || "grpc.target=dns:///echo:1".to_owned();
    assert_eq!(measured.sums("meshless.channel.calls_waiting"), [(labels(), 1.0)]);
    assert_eq!(measured.sums("meshless.resolver.resolved_at"), []);
    updates.send(Ok(vec![Endpoint::new(backend(1))])).await.unwrap();
    waiting.await.unwrap().unwrap();
    assert_eq!(measured.sums("meshless.channel.calls_waiting"), [(labels(), 0.0)]);
    let [(_, resolved_at)] = measured.sums("meshless.resolver.resolved_at")[..] else { panic!("none") };
    assert!(resolved_at > 1.7e9, "a time in this decade: {resolved_at}");
    updates.send(Err(ResolveError::other("no"))).await.unwrap();
    settle().await;
    assert_eq!(measured.sums("meshless.resolver.failures"), [(labels(), 1.0)]);
    let stale_since = || measured.sums("meshless.resolver.stale_since")[0].1;
    let since = stale_since();
    assert!(since > 1.7e9, "a time in this decade: {since}");
    updates.send(Err(ResolveError::other("still"))).await.unwrap();
    settle().await;
    assert_eq!(stale_since(), since, "since the first failure");
    updates.send(Ok(vec![Endpoint::new(backend(1))])).await.unwrap();
    settle().await;
    assert_eq!(stale_since(), 0.0);
}

#[tokio::test(start_paused = true)]
async fn what_can_happen_is_counted_from_the_start() {
    let (measured, _network, _channel) = measured(|builder| builder);
    settle().await;
    for (name, series) in [
        ("grpc.subchannel.connection_attempts_succeeded", 1),
        ("grpc.subchannel.connection_attempts_failed", 1),
        ("grpc.subchannel.open_connections", 1),
        ("grpc.subchannel.disconnections", 5),
        ("grpc.lb.outlier_detection.ejections_enforced", 4),
        ("grpc.lb.outlier_detection.ejections_unenforced", 4),
        ("grpc.lb.wrr.rr_fallback", 1),
        ("grpc.lb.wrr.endpoint_weight_not_yet_usable", 1),
        ("grpc.lb.wrr.endpoint_weight_stale", 1),
        ("meshless.channel.calls_waiting", 1),
        ("meshless.channel.retries", 3),
        ("meshless.resolver.failures", 1),
        ("meshless.resolver.stale_since", 1),
    ] {
        let sums = measured.sums(name);
        assert!(sums.len() == series && sums.iter().all(|(_, sum)| *sum == 0.0), "{name}: {sums:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn endpoints_are_counted_by_their_state() {
    let (measured, mut network) = (Measured::new(), Network::new());
    // Of four, since at most half may be out of service.
    let backends = [backend(1), backend(2), backend(3), backend(4)];
    let builder = network.channel(&backends).metrics(measured.meter()).metrics_target("four");
    let channel = builder.connect_lazy().unwrap();
    network.set(backend(3), Dial::Silent);
    network.serve(100, |call| match call.backend == meshless::resolver::Address::Tcp(backend(2)) {
        true => call.fail(Code::Unavailable),
        false => call.answer(),
    });
    let counts = |connecting: i32, ejected: i32, listed: i32, ready: i32| {
        let states = [("connecting", connecting), ("ejected", ejected), ("listed", listed), ("ready", ready)];
        let label = |state| format!("grpc.target=four meshless.endpoint_state={state}");
        states.map(|(state, count)| (label(state), f64::from(count)))
    };
    let endpoints = || measured.sums("meshless.channel.endpoints");
    settle().await;
    assert_eq!(endpoints(), counts(0, 0, 4, 0), "nobody has called");
    for _ in 0..30 {
        let _ = check(&channel).await;
    }
    settle().await;
    assert_eq!(endpoints(), counts(1, 1, 4, 3));
    drop(channel);
    settle().await;
    assert_eq!(endpoints(), counts(0, 0, 0, 0), "they went with the channel");
}

const CHECK: &str = "grpc.health.v1.Health/Check";
const TARGET: &str = "ipv4:10.0.0.1:50051";
