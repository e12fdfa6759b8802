//! Every way in which one backend of three can make its callers' calls fail, as frames: it is found
//! and left alone. And what the caller does itself, or asks for, which is held against nobody.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use meshless::resolver::Address;
use meshless::{Channel, Policy};
use tokio::io::DuplexStream;
use tonic::Code;

use super::network::*;
use meshless_testkit::raw_peer::{
    DATA, END_HEADERS, END_STREAM, HEADERS, RESET_STREAM, RawPeer, Received, frame,
};

/// What the bad backend sends for a call on this stream.
type Answer = Vec<u8>;
type Case = (&'static str, Box<dyn Fn(u32) -> Answer + Send + Sync>);

fn literal(name: &str, value: &str) -> Vec<u8> {
    [&[0, name.len() as u8], name.as_bytes(), &[value.len() as u8], value.as_bytes()].concat()
}

/// HEADERS: this block, and further headers.
fn headers(stream: u32, flags: u8, status: &[u8], rest: &[(&str, &str)]) -> Vec<u8> {
    let rest: Vec<u8> = rest.iter().flat_map(|(name, value)| literal(name, value)).collect();
    frame(HEADERS, END_HEADERS | flags, stream, &[status, &rest].concat())
}

const OK: &[u8] = b"\x88";
const GRPC: (&str, &str) = ("content-type", "application/grpc");

fn http(status: u16) -> Vec<u8> {
    [&[0x08, 3], status.to_string().as_bytes()].concat()
}

fn head(stream: u32) -> Vec<u8> {
    headers(stream, 0, OK, &[GRPC])
}

fn data(stream: u32, bytes: &[u8]) -> Vec<u8> {
    frame(DATA, 0, stream, bytes)
}

fn trailers(stream: u32, status: &str) -> Vec<u8> {
    headers(stream, END_STREAM, b"", &[("grpc-status", status)])
}

fn trailers_only(stream: u32, status: &str) -> Vec<u8> {
    headers(stream, END_STREAM, OK, &[GRPC, ("grpc-status", status)])
}

fn reset(stream: u32, code: u32) -> Vec<u8> {
    frame(RESET_STREAM, 0, stream, &code.to_be_bytes())
}

fn case(name: &'static str, answer: impl Fn(u32) -> Answer + Send + Sync + 'static) -> Case {
    (name, Box::new(answer))
}

/// What makes a caller's call fail.
fn failures() -> Vec<Case> {
    const MESSAGE: &[u8] = b"\0\0\0\0\x02\x08\x01";
    let mut cases = vec![
        case("reset after headers", |s| [head(s), reset(s, 8)].concat()),
        case("reset after a message", |s| [head(s), data(s, MESSAGE), reset(s, 2)].concat()),
        case("a status that is no number", |s| trailers_only(s, "fine")),
        case("no status, headers alone", |s| headers(s, END_STREAM, OK, &[GRPC])),
        case("no status after a message", |s| [head(s), frame(DATA, END_STREAM, s, MESSAGE)].concat()),
        case("trailers without a status", |s| {
            [head(s), data(s, MESSAGE), headers(s, END_STREAM, b"", &[("x", "y")])].concat()
        }),
        case("HTTP 503 without a body", |s| headers(s, END_STREAM, &http(503), &[])),
        case("HTTP 503 with a page", |s| {
            [headers(s, 0, &http(503), &[]), frame(DATA, END_STREAM, s, b"<html>busy</html>")].concat()
        }),
        case("HTTP 404", |s| headers(s, END_STREAM, &http(404), &[])),
        case("a page", |s| {
            let head = headers(s, 0, OK, &[("content-type", "text/html")]);
            [head, frame(DATA, END_STREAM, s, b"<html>hello</html>")].concat()
        }),
        case("the flag 2", |s| [head(s), data(s, b"\x02\0\0\0\0"), trailers(s, "0")].concat()),
        case("compressed without an encoding", |s| {
            [head(s), data(s, b"\x01\0\0\0\x01x"), trailers(s, "0")].concat()
        }),
        case("an encoding that was not offered", |s| {
            let head = headers(s, 0, OK, &[GRPC, ("grpc-encoding", "snappy")]);
            [head, data(s, b"\x01\0\0\0\x01x"), trailers(s, "0")].concat()
        }),
        case("a message of 4 GiB", |s| [head(s), data(s, b"\0\xff\xff\xff\xffxxxx")].concat()),
        case("the end within a message", |s| {
            [head(s), data(s, b"\0\0\0\0\x09\x08"), trailers(s, "0")].concat()
        }),
        case("the end within a prefix", |s| [head(s), data(s, b"\0\0\0"), trailers(s, "0")].concat()),
        case("OK without a message", |s| [head(s), trailers(s, "0")].concat()),
        case("OK alone", |s| trailers_only(s, "0")),
        case("less than content-length", |s| {
            let head = headers(s, 0, OK, &[GRPC, ("content-length", "100")]);
            [head, data(s, MESSAGE), trailers(s, "0")].concat()
        }),
        case("a header in upper case", |s| headers(s, END_STREAM, OK, &[("X-Upper", "1")])),
        case("headers without :status", |s| headers(s, END_STREAM, b"", &[GRPC])),
        case("DATA before HEADERS", |s| data(s, MESSAGE)),
    ];
    for code in [0, 1, 2, 3, 5, 6, 8, 9, 10, 11, 12, 13, 0x4242] {
        cases.push(case("reset", move |s| reset(s, code)));
    }
    for code in [1, 2, 4, 8, 12, 13, 14, 15, 99] {
        cases.push(case("status", move |s| trailers_only(s, &code.to_string())));
        cases.push(case("status in trailers", move |s| [head(s), trailers(s, &code.to_string())].concat()));
    }
    cases
}

/// Three backends, the second of which answers like this; and how many calls that one has seen.
async fn three(
    policy: Policy,
    answer: Box<dyn Fn(u32) -> Answer + Send + Sync>,
) -> (Channel, Arc<AtomicU32>) {
    let mut network = Network::new();
    let builder = network.channel(&[1, 2, 3].map(backend)).policy(policy);
    let (seen, answer) = (Arc::new(AtomicU32::new(0)), Arc::new(answer));
    let counter = Arc::clone(&seen);
    tokio::spawn(async move {
        loop {
            let (address, io) = network.accept().await;
            if address == Address::Tcp(backend(2)) {
                tokio::spawn(serve_badly(io, Arc::clone(&answer), Arc::clone(&counter)));
            } else {
                tokio::spawn(serve(io, address, 1000, Call::answer));
            }
        }
    });
    let channel = builder.connect().await.unwrap();
    let is_connected = async || {
        channel.state().await.endpoints.iter().filter(|endpoint| endpoint.connections_serving > 0).count()
            == 3
    };
    while !is_connected().await {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    (channel, seen)
}

async fn serve_badly(
    io: DuplexStream,
    answer: Arc<Box<dyn Fn(u32) -> Answer + Send + Sync>>,
    seen: Arc<AtomicU32>,
) {
    let mut peer = RawPeer::accept(io, &[]).await;
    loop {
        match peer.next().await {
            Received::Data { stream, .. } => {
                seen.fetch_add(1, Ordering::Relaxed);
                // It may be closed by now.
                let _ = tokio::io::AsyncWriteExt::write_all(&mut peer.io, &answer(stream)).await;
            }
            ping @ Received::Ping { ack: false, .. } => peer.acknowledge(ping).await,
            Received::Closed => return,
            _ => {}
        }
    }
}

async fn is_ejected(channel: &Channel) -> bool {
    let state = channel.state().await;
    state.endpoints.iter().any(|e| e.address == Address::Tcp(backend(2)) && e.ejection.is_some())
}

#[tokio::test(start_paused = true)]
async fn whatever_makes_calls_fail_ejects_the_backend_that_does_it() {
    for (name, answer) in failures() {
        let (channel, seen) = three(Policy::RoundRobin, answer).await;
        let mut failed = 0;
        for _ in 0..60 {
            // A second at most: a call that hangs would end by the deadline, which counts too.
            failed += u32::from(check_within(&channel, Duration::from_secs(1)).await.is_err());
        }
        let seen = seen.load(Ordering::Relaxed);
        assert!(failed <= 5 && seen <= 6, "{name}: {failed} of 60 calls failed, it saw {seen}");
    }
}

#[tokio::test(start_paused = true)]
async fn no_policy_sends_a_backend_that_fails_fast_more_than_its_share() {
    for policy in [Policy::LeastRequest, Policy::PeakEwma, Policy::WeightedRoundRobin] {
        for (name, answer) in failures() {
            let (channel, seen) = three(policy, answer).await;
            for _ in 0..60 {
                let _ = check_within(&channel, Duration::from_secs(1)).await;
            }
            assert!(seen.load(Ordering::Relaxed) <= 12, "{policy}, {name}: {seen:?} of 60");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_request_causes_is_held_against_nobody() {
    for code in [3, 5, 6, 7, 9, 10, 11, 16] {
        let (channel, seen) =
            three(Policy::RoundRobin, Box::new(move |s| trailers_only(s, &code.to_string()))).await;
        for _ in 0..60 {
            if let Err(status) = check(&channel).await {
                assert_eq!(status.code(), Code::from(code));
            }
        }
        assert!(seen.load(Ordering::Relaxed) >= 20 && !is_ejected(&channel).await, "code {code}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_goes_away_is_held_against_nobody() {
    // Headers, half a message, and then nothing.
    let (channel, seen) =
        three(Policy::RoundRobin, Box::new(|s| [head(s), data(s, b"\0\0\0\0\x09\x08")].concat())).await;
    for _ in 0..60 {
        let call = check(&channel);
        let _ = tokio::time::timeout(Duration::from_millis(100), call).await;
    }
    assert!(seen.load(Ordering::Relaxed) >= 20 && !is_ejected(&channel).await);
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_begins_and_does_not_go_on_is_ejected_by_deadlines() {
    let (channel, seen) = three(Policy::RoundRobin, Box::new(head)).await;
    for _ in 0..60 {
        let _ = check_within(&channel, Duration::from_millis(20)).await;
    }
    assert!(seen.load(Ordering::Relaxed) <= 6 && is_ejected(&channel).await, "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn a_method_whose_answers_are_empty_everywhere_is_no_failure() {
    let mut network = Network::new();
    let channel = network.channel(&[1, 2, 3].map(backend)).connect_lazy().unwrap();
    network.serve(1000, |call| call.refuse(Code::Ok, "", None));
    for _ in 0..60 {
        check(&channel).await.unwrap_err();
    }
    assert!(channel.state().await.endpoints.iter().all(|endpoint| endpoint.ejection.is_none()));
    // The first backend to answer so was held to account until the second did: not for five in a
    // row.
}

#[tokio::test(start_paused = true)]
async fn the_error_names_the_backend_and_what_was_wrong() {
    let page = |s| [head(s), frame(DATA, END_STREAM, s, b"<html>")].concat();
    let (channel, _) = three(Policy::RoundRobin, Box::new(page)).await;
    let status = loop {
        if let Err(status) = check(&channel).await {
            break status;
        }
    };
    assert_eq!(status.code(), Code::Internal);
    assert!(status.message().starts_with("10.0.0.2:50051: a message begins with the byte 60"), "{status}");
    let busy = |s| [headers(s, 0, &http(503), &[]), frame(DATA, END_STREAM, s, b"<html>")].concat();
    let (channel, _) = three(Policy::RoundRobin, Box::new(busy)).await;
    let status = loop {
        if let Err(status) = check(&channel).await {
            break status;
        }
    };
    assert_eq!(status.code(), Code::Unavailable, "by the HTTP status");
    assert!(
        status.message().starts_with("10.0.0.2:50051: the answer is not gRPC: HTTP status 503"),
        "{status}"
    );
}
