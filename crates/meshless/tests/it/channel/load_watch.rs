//! The stream of load reports on a connection (gRFC A51): what it takes from the calls, and what is
//! said when it fails.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use meshless::balancing::{BalancerConfig, WeightedConfig};
use meshless::{Channel, Policy};
use tokio::io::DuplexStream;
use tokio::time::sleep;
use tonic::Code;

use super::network::*;
use super::orca::report;
use super::out_of_band::{framed, is_stream, out_of_band, report_each_five_seconds};
use crate::log::Log;
use meshless_testkit::raw_peer::{END_HEADERS, END_STREAM, HEADERS, RESET_STREAM, RawPeer, Received, frame};

const SECOND: Duration = Duration::from_secs(1);
const MAX_CONCURRENT_STREAMS: u16 = 3;

#[tokio::test(start_paused = true)]
async fn streams_that_fail_again_and_again_are_said_aloud_once() {
    for reports in [0, 1] {
        let log = Log::default();
        let _guard = log.listen();
        let mut network = Network::new();
        let channel = out_of_band(network.channel(&[backend(1), backend(2)]));
        let switches = network.switches();
        network.serve(100, move |mut call| match (is_stream(&call), reports) {
            (false, _) => call.answer(),
            // As an interceptor does that wants credentials.
            (true, 0) => call.fail(Code::Unauthenticated),
            (true, _) => {
                let response = http::Response::builder().header("content-type", "application/grpc");
                let mut body = call.respond.send_response(response.body(()).unwrap(), false).unwrap();
                body.send_data(framed(&report(0.5, 100.0)), true).unwrap();
            }
        });
        for _ in 0..60 {
            check(&channel).await.unwrap();
            sleep(10 * SECOND).await;
        }
        let dialled = switches.dialled();
        let said: Vec<_> = log.take().into_iter().filter(|line| line.contains("load reports")).collect();
        let warnings: Vec<_> = said.iter().filter(|line| line.starts_with("WARN")).collect();
        assert_eq!((dialled, warnings.len()), (2, 1), "{said:#?}");
        assert!(warnings[0].contains(&format!("reports={reports}")), "{warnings:?}");
        assert!(said.len() > 10, "the others can be seen: {said:#?}");
    }
}

/// Reads the next request, and says whether it asks for reports.
async fn next_request(peer: &mut RawPeer<DuplexStream>) -> (u32, bool) {
    loop {
        match peer.next().await {
            Received::Data { stream, payload } => return (stream, payload == framed(b"\x0a\x02\x08\x05")),
            Received::Closed => panic!("closed instead of a request"),
            _ => {}
        }
    }
}

async fn allow(peer: &mut RawPeer<DuplexStream>, streams: u32) {
    peer.settings(&[(MAX_CONCURRENT_STREAMS, streams)]).await;
    settle().await;
}

/// One call, answered by `peer`, which is asked for nothing else before.
async fn call(channel: &Channel, peer: &mut RawPeer<DuplexStream>) {
    let channel = channel.clone();
    let call = tokio::spawn(async move { check_within(&channel, SECOND).await });
    let (stream, asks) = next_request(peer).await;
    assert!(!asks);
    peer.answer(stream, SERVING).await;
    call.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_was_given_up_for_calls_comes_back_with_the_room() {
    let mut network = Network::new();
    let channel = out_of_band(network.channel(&[backend(1)]));
    let caller = channel.clone();
    let first = tokio::spawn(async move { check_within(&caller, SECOND).await });
    let mut peer = network.accept_raw(&[(MAX_CONCURRENT_STREAMS, 100)]).await;
    let (mut stream, asks) = next_request(&mut peer).await;
    assert!(asks);
    let (of_first, _) = next_request(&mut peer).await;
    peer.answer(of_first, SERVING).await;
    first.await.unwrap().unwrap();
    for _ in 0..3 {
        peer.answer_headers(stream).await;
        allow(&mut peer, 1).await;
        assert_eq!(peer.next().await, Received::Other { kind: RESET_STREAM, stream });
        call(&channel, &mut peer).await;
        allow(&mut peer, 100).await;
        let (again, asks) = next_request(&mut peer).await;
        assert!(asks);
        stream = again;
    }
    // The server says that it has no such service: it is not asked again here.
    let unimplemented = b"\x88\0\x0ccontent-type\x10application/grpc\0\x0bgrpc-status\x0212";
    peer.send(&frame(HEADERS, END_HEADERS | END_STREAM, stream, unimplemented)).await;
    settle().await;
    for streams in [1, 100, 2, 1, 100] {
        allow(&mut peer, streams).await;
        call(&channel, &mut peer).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_reports_nothing_has_its_streams_for_calls() {
    for (limit, checks_health) in [(2, false), (3, true)] {
        let mut network = Network::new();
        let mut builder = network.channel(&[backend(1)]);
        if checks_health {
            builder = builder.health_check("");
        }
        let config =
            BalancerConfig::new(Policy::WeightedRoundRobin).connections_per_endpoint(NonZeroU32::MIN);
        let config = config.weighted(WeightedConfig::default().oob_load_report(true));
        let channel = builder.balancer(config).connect_lazy().unwrap();
        let held = Arc::new(Mutex::new(Vec::new()));
        let status = tokio::sync::watch::Sender::new(Some(1));
        let statuses = status.subscribe();
        network.serve(limit, move |call| {
            if call.request.uri().path().ends_with("/Watch") {
                drop(tokio::spawn(call.answer_statuses(statuses.clone())));
            } else if is_stream(&call) {
                tokio::spawn(async move {
                    sleep(SECOND).await;
                    call.fail(Code::Unimplemented);
                });
            } else {
                // None is answered before two are there.
                let mut held = held.lock().unwrap();
                held.push(call);
                if held.len() == 2 {
                    held.drain(..).for_each(Call::answer);
                }
            }
        });
        // At first while one of them waits for room, and the server has not said anything of its
        // load.
        for _ in 0..3 {
            let both = [(); 2].map(|()| {
                let channel = channel.clone();
                tokio::spawn(async move { check_within(&channel, 2 * SECOND).await })
            });
            for call in both {
                call.await.unwrap().unwrap();
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_only_stream_is_left_to_calls() {
    for (limit, expected) in [(1, 0), (2, 1)] {
        let mut network = Network::new();
        let channel = out_of_band(network.channel(&[backend(1)]));
        let asked = Arc::new(Mutex::new(0));
        let streams = Arc::clone(&asked);
        network.serve(limit, move |call| {
            if !is_stream(&call) {
                return call.answer();
            }
            *streams.lock().unwrap() += 1;
            tokio::spawn(report_each_five_seconds(call, report(0.5, 100.0)));
        });
        for _ in 0..10 {
            check_within(&channel, SECOND).await.unwrap();
            sleep(SECOND).await;
        }
        assert_eq!(*asked.lock().unwrap(), expected, "of {limit} streams");
    }
}
