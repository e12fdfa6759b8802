//! Load reports in a stream apart from the calls (gRFC A51, A58).

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use meshless::balancing::{BalancerConfig, WeightedConfig};
use meshless::orca::LoadReporter;
use meshless::resolver::Address;
use meshless::server::{CloseReason, ConnectionConfig, GoAwayReason, LifetimeConfig};
use meshless::{Channel, ChannelBuilder, Policy, serve_connection};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{Instant, sleep};
use tonic::Code;

use super::network::*;
use super::orca::{answer_with, report};
use crate::log::Log;

const SECOND: Duration = Duration::from_secs(1);

/// Weighs by reports that come each five seconds, apart from the calls.
pub(super) fn out_of_band(builder: ChannelBuilder) -> Channel {
    let weighted = WeightedConfig::default().oob_load_report(true).oob_reporting_period(5 * SECOND);
    let config = BalancerConfig::new(Policy::WeightedRoundRobin).weighted(weighted);
    builder.balancer(config).connect_lazy().unwrap()
}

pub(super) fn is_stream(call: &Call) -> bool {
    call.request.uri().path() == "/xds.service.orca.v3.OpenRcaService/StreamCoreMetrics"
}

/// Answers with this message each five seconds. Returns why the client ended the stream; `None` if
/// the connection went.
pub(super) async fn report_each_five_seconds(mut call: Call, message: Bytes) -> Option<h2::Reason> {
    let response = http::Response::builder().header("content-type", "application/grpc").body(()).unwrap();
    let mut body = call.respond.send_response(response, false).ok()?;
    loop {
        body.send_data(framed(&message), false).ok()?;
        tokio::select! {
            () = sleep(5 * SECOND) => {}
            reset = poll_fn(|cx| body.poll_reset(cx)) => return reset.ok(),
        }
    }
}

pub(super) fn framed(message: &[u8]) -> Bytes {
    [&[0][..], &(message.len() as u32).to_be_bytes(), message].concat().into()
}

fn is_first(call: &Call) -> bool {
    call.backend == Address::Tcp(backend(1))
}

/// Twice as busy as the others, if it is the first.
fn utilization(call: &Call) -> f64 {
    if is_first(call) { 0.8 } else { 0.4 }
}

/// Notes what the call went to.
fn note(calls: &UnboundedSender<Address>, call: &Call) {
    let _ = calls.send(call.backend.clone());
}

/// How many of 100 calls the first backend gets.
async fn share(channel: &Channel, calls: &mut UnboundedReceiver<Address>) -> usize {
    while calls.try_recv().is_ok() {}
    for _ in 0..100 {
        check(channel).await.unwrap();
    }
    std::iter::from_fn(|| calls.try_recv().ok()).filter(|to| *to == Address::Tcp(backend(1))).count()
}

#[tokio::test(start_paused = true)]
async fn shares_follow_the_stream_and_not_the_calls() {
    let mut network = Network::new();
    let config = r#"{"loadBalancingConfig": [{"weighted_round_robin": {
        "enableOobLoadReport": true, "oobReportingPeriod": "5s"
    }}]}"#;
    let builder = network.channel(&[backend(1), backend(2), backend(3)]);
    let channel = builder.service_config(config.parse().unwrap()).connect_lazy().unwrap();
    let (seen, mut calls) = unbounded_channel();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let requests = Arc::clone(&asked);
    network.serve(1000, move |mut call| {
        if !is_stream(&call) {
            note(&seen, &call);
            // What is said with calls is the contrary.
            return answer_with(1.0 - utilization(&call), call);
        }
        let requests = Arc::clone(&requests);
        tokio::spawn(async move {
            let request = call.request.body_mut().data().await.unwrap().unwrap();
            requests.lock().unwrap().push(request);
            let message = report(utilization(&call), 100.0);
            report_each_five_seconds(call, message).await
        });
    });
    assert!(share(&channel, &mut calls).await.abs_diff(33) <= 1, "blackout");
    // { report_interval: { seconds: 5 } }
    assert_eq!(*asked.lock().unwrap(), vec![framed(b"\x0a\x02\x08\x05"); 3]);
    for _ in 0..120 {
        check(&channel).await.unwrap();
        sleep(SECOND / 10).await;
    }
    assert_eq!(share(&channel, &mut calls).await, 20, "one of five");
    assert_eq!(in_flight(&channel).await, 0, "a stream of reports is no call");
}

#[tokio::test(start_paused = true)]
async fn a_server_of_this_crate_ages_its_connections_and_its_reports_go_on() {
    let mut network = Network::new();
    let channel = out_of_band(network.channel(&[backend(1), backend(2)]));
    let (closed, mut reasons) = unbounded_channel();
    let services = [0.8, 0.4].map(|utilization| {
        let load = LoadReporter::new();
        load.set_application_utilization(utilization);
        let health = load.wrap(tonic_health::server::health_reporter().1);
        tonic::service::Routes::new(health).add_service(load.out_of_band().interval_min(SECOND))
    });
    tokio::spawn(async move {
        // No limit to the grace: a stream that did not end would be seen.
        let config = ConnectionConfig::default().lifetime(LifetimeConfig::default().max_age(10 * SECOND));
        loop {
            let (address, io) = network.accept().await;
            let service = services[usize::from(address == Address::Tcp(backend(2)))].clone();
            let (config, closed) = (config.clone(), closed.clone());
            tokio::spawn(async move {
                closed.send(serve_connection(io, service, &config, std::future::pending()).await.reason)
            });
        }
    });
    for _ in 0..1000 {
        check(&channel).await.unwrap();
        sleep(SECOND / 10).await;
    }
    let weights: Vec<_> = channel.state().await.endpoints.iter().map(|endpoint| endpoint.weight).collect();
    assert!(weights[0] < weights[1] && weights[0] != 1.0, "{weights:?}");
    let reasons: Vec<_> = std::iter::from_fn(|| reasons.try_recv().ok()).collect();
    assert!(reasons.len() >= 16, "{reasons:?}");
    let well = [CloseReason::GoneAway(GoAwayReason::MaxAge), CloseReason::Client];
    assert!(reasons.iter().all(|reason| well.contains(reason)), "{reasons:?}");
}

#[tokio::test(start_paused = true)]
async fn a_server_without_the_service_is_asked_once_and_gets_its_calls_in_turn() {
    let log = Log::default();
    let _guard = log.listen();
    let mut network = Network::new();
    let channel = out_of_band(network.channel(&[backend(1), backend(2)]));
    let (seen, mut calls) = unbounded_channel();
    let asked = Arc::new(Mutex::new(0));
    let streams = Arc::clone(&asked);
    network.serve(1000, move |call| {
        if is_stream(&call) {
            *streams.lock().unwrap() += 1;
            return call.fail(Code::Unimplemented);
        }
        note(&seen, &call);
        answer_with(utilization(&call), call);
    });
    for _ in 0..10 {
        assert_eq!(share(&channel, &mut calls).await, 50);
        sleep(60 * SECOND).await;
    }
    assert_eq!(*asked.lock().unwrap(), 2, "once on each connection");
    let said: Vec<_> = log.take().into_iter().filter(|line| line.contains("does not report")).collect();
    let warnings = said.iter().filter(|line| line.starts_with("WARN")).count();
    assert_eq!((said.len(), warnings), (2, 1), "{said:#?}");
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_fails_is_opened_again_with_pauses_and_one_that_lasted_at_once() {
    let mut network = Network::new();
    let channel = out_of_band(network.channel(&[backend(1)]));
    let asked = Arc::new(Mutex::new(Vec::new()));
    let streams = Arc::clone(&asked);
    network.serve(100, move |mut call| {
        if !is_stream(&call) {
            return call.answer();
        }
        let mut streams = streams.lock().unwrap();
        streams.push(Instant::now());
        match streams.len() {
            1 | 2 => call.fail(Code::Internal),
            // An answer and an end are no reason to come back at once, or the two would do nothing
            // else.
            3 => {
                let response = http::Response::builder().header("content-type", "application/grpc");
                let mut body = call.respond.send_response(response.body(()).unwrap(), false).unwrap();
                body.send_data(framed(&report(0.5, 100.0)), true).unwrap();
            }
            // Reports for 20 s.
            _ => drop(tokio::spawn(tokio::time::timeout(
                20 * SECOND,
                report_each_five_seconds(call, report(0.5, 100.0)),
            ))),
        }
    });
    check(&channel).await.unwrap();
    sleep(60 * SECOND).await;
    let at = asked.lock().unwrap().clone();
    let pauses: Vec<_> = at.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64()).collect();
    for (pause, nominal) in pauses.iter().zip([1.0, 1.6, 2.56]) {
        assert!((nominal * 0.8 - 0.01..=nominal * 1.2 + 0.01).contains(pause), "{pauses:?}");
    }
    assert!(pauses.len() >= 5 && pauses[3..].iter().all(|pause| (pause - 20.0).abs() < 0.01), "{pauses:?}");
}

/// Serves each connection for [`AGE`] and sends it away; each call goes to `handler`, with the time
/// at which its connection is that old. Counts the connections that have ended.
fn serve_aging(
    mut network: Network,
    handler: impl Fn(Call, Instant) + Clone + Send + 'static,
) -> Arc<AtomicUsize> {
    let ended = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&ended);
    tokio::spawn(async move {
        loop {
            let (backend, io) = network.accept().await;
            let (handler, count) = (handler.clone(), Arc::clone(&count));
            tokio::spawn(async move {
                let age_at = Instant::now() + AGE;
                serve_for(io, backend, AGE, move |call| handler(call, age_at)).await;
                count.fetch_add(1, SeqCst);
            });
        }
    });
    ended
}

const AGE: Duration = Duration::from_secs(5);

#[tokio::test(start_paused = true)]
async fn a_connection_that_ages_out_takes_its_stream_along_and_the_next_one_has_its_own() {
    let mut network = Network::new();
    let channel = out_of_band(network.channel(&[backend(1), backend(2), backend(3)]));
    let (seen, mut calls) = unbounded_channel();
    let begun = Arc::new(AtomicUsize::new(0));
    let ends = Arc::new(Mutex::new(Vec::new()));
    let (begins, noted) = (Arc::clone(&begun), Arc::clone(&ends));
    let connections_ended = serve_aging(network, move |call, age_at| {
        if !is_stream(&call) {
            note(&seen, &call);
            return call.answer();
        }
        begins.fetch_add(1, SeqCst);
        let noted = Arc::clone(&noted);
        tokio::spawn(async move {
            let message = report(utilization(&call), 100.0);
            let end = report_each_five_seconds(call, message).await;
            noted.lock().unwrap().push((Instant::now() - age_at, end));
        });
    });
    for _ in 0..600 {
        check(&channel).await.unwrap();
        sleep(SECOND / 10).await;
    }
    assert_eq!(share(&channel, &mut calls).await, 20, "one of five, over many connections");
    let (begun, ends) = (begun.load(SeqCst), ends.lock().unwrap());
    assert!(begun >= 36, "{begun}");
    assert_eq!(ends.len(), connections_ended.load(SeqCst), "each goes with its connection");
    assert!((3..=9).contains(&(begun - ends.len())), "none is left behind");
    for (after, end) in ends.iter() {
        assert!(*after < SECOND, "{after:?} after the connection was sent away");
        assert!(matches!(end, None | Some(h2::Reason::CANCEL)), "{end:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_let_go_when_its_connection_goes_away_however_long_that_has_calls() {
    let mut network = Network::new();
    let channel = out_of_band(network.channel(&[backend(1)]));
    let (arrived, mut arrivals) = unbounded_channel();
    serve_aging(network, move |call, _| drop(arrived.send(call)));
    let caller = channel.clone();
    let long = tokio::spawn(async move { check(&caller).await });
    // The stream is opened first: it does not wait for a picker.
    let (stream, call) = (arrivals.recv().await.unwrap(), arrivals.recv().await.unwrap());
    assert!(is_stream(&stream) && !is_stream(&call));
    let begun = Instant::now();
    let end = report_each_five_seconds(stream, report(0.5, 100.0)).await;
    assert_eq!(end, Some(h2::Reason::CANCEL));
    assert!(begun.elapsed() <= AGE, "{:?}", begun.elapsed());
    assert!(is_stream(&arrivals.recv().await.unwrap()), "on its successor");
    sleep(60 * SECOND).await;
    call.answer();
    long.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn reports_without_sense_do_no_harm() {
    let mut network = Network::new();
    let channel = out_of_band(network.channel(&[backend(1), backend(2), backend(3)]));
    let (seen, mut calls) = unbounded_channel();
    let asked = Arc::new(Mutex::new(HashMap::<Address, usize>::new()));
    let streams = Arc::clone(&asked);
    network.serve(1000, move |mut call| {
        if !is_stream(&call) {
            note(&seen, &call);
            return call.answer();
        }
        *streams.lock().unwrap().entry(call.backend.clone()).or_default() += 1;
        if is_first(&call) {
            drop(tokio::spawn(report_each_five_seconds(call, Bytes::from_static(&[0xff; 40]))));
            return;
        }
        // Without pause, and nothing that could be.
        let response = http::Response::builder().header("content-type", "application/grpc").body(()).unwrap();
        let mut body = call.respond.send_response(response, false).unwrap();
        tokio::spawn(async move {
            let wild = [f64::NAN, f64::INFINITY, -1.0, 1e300, f64::MIN_POSITIVE];
            let all: Vec<_> = wild.iter().flat_map(|a| wild.map(|b| framed(&report(*a, b)))).collect();
            for _ in 0..100 {
                body.send_data(all.concat().into(), false).unwrap();
            }
            poll_fn(|cx| body.poll_reset(cx)).await
        });
    });
    for _ in 0..10 {
        assert!(share(&channel, &mut calls).await.abs_diff(33) <= 1);
        sleep(6 * SECOND).await;
    }
    let asked = [1, 2, 3].map(|n| asked.lock().unwrap()[&Address::Tcp(backend(n))]);
    // 60 s of pauses of 1 s × 1.6.
    assert!(asked[0] <= 10 && asked[1..] == [1, 1], "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_reports_keeps_no_idle_channel_connected() {
    let mut network = Network::new();
    let channel = out_of_band(network.channel(&[backend(1)]).idle_timeout(Some(600 * SECOND)));
    let (ended, mut ends) = unbounded_channel();
    network.serve(100, move |call| {
        if !is_stream(&call) {
            return call.answer();
        }
        let ended = ended.clone();
        tokio::spawn(async move { ended.send(report_each_five_seconds(call, report(0.5, 100.0)).await) });
    });
    check(&channel).await.unwrap();
    let begun = Instant::now();
    ends.recv().await.unwrap();
    assert!((600 * SECOND..=1201 * SECOND).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    assert_eq!(channel.state().await.endpoints[0].connections_serving, 0);
    check(&channel).await.unwrap();
}

#[cfg(feature = "otel")]
#[tokio::test(start_paused = true)]
async fn a_stream_of_reports_is_not_measured_as_a_call() {
    let (measured, mut network) = (crate::measured::Measured::new(), Network::new());
    let builder = network.channel(&[backend(1)]).metrics(measured.meter()).metrics_target("one");
    let channel = out_of_band(builder);
    network.serve(100, move |call| match is_stream(&call) {
        true => drop(tokio::spawn(report_each_five_seconds(call, report(0.5, 100.0)))),
        false => call.answer(),
    });
    for _ in 0..3 {
        check(&channel).await.unwrap();
        sleep(10 * SECOND).await;
    }
    let started = measured.sums("grpc.client.attempt.started");
    assert_eq!(started.iter().map(|(_, sum)| *sum).sum::<f64>(), 3.0, "{started:?}");
}
