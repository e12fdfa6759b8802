//! What a server measures, as OpenTelemetry's SDK reads it.

use std::time::Duration;

use meshless::{CallLimit, Server};
use tokio::io::DuplexStream;

use super::pipes::Piped;
use crate::measured::Measured;
use crate::raw_peer::{DATA, END_STREAM, RawPeer, Received, frame, request};

const SECOND: Duration = Duration::from_secs(1);

/// What every gRPC client sends.
const GRPC: (&str, &str) = ("content-type", "application/grpc");

fn start(change: impl FnOnce(Server) -> Server) -> (Measured, Piped) {
    let measured = Measured::new();
    let server = Piped::start(change(Server::builder().metrics(measured.meter())));
    (measured, server)
}

/// Calls a method with these messages, and waits for the end of the answer.
async fn call(peer: &mut RawPeer<DuplexStream>, stream: u32, path: &str, messages: &[u8]) {
    peer.send(&request(stream, path, &[GRPC], 0)).await;
    peer.send(&frame(DATA, END_STREAM, stream, messages)).await;
    loop {
        match peer.next().await {
            Received::Headers { stream: of, end: true, .. } if of == stream => return,
            Received::Closed => panic!("closed instead of an answer"),
            _ => {}
        }
    }
}

fn labels(method: &str, status: &str) -> String {
    format!("grpc.method={method} grpc.status={status}")
}

#[tokio::test(start_paused = true)]
async fn calls_are_counted_and_weighed_by_method_and_status() {
    let (measured, server) = start(|server| server);
    let mut peer = server.connect().await;
    call(&mut peer, 1, "/grpc.health.v1.Health/Check", &[0; 5]).await;
    // A message of four bytes: field 1, two letters.
    call(&mut peer, 3, "/grpc.health.v1.Health/Check", b"\0\0\0\0\x04\x0a\x02no").await;
    call(&mut peer, 5, "/made.Up/Name", &[0; 5]).await;
    let (check, made_up) = ("grpc.health.v1.Health/Check", "other");
    let (ok, none) = (labels(check, "OK"), labels(check, "NOT_FOUND"));
    let unknown = labels(made_up, "UNIMPLEMENTED");
    let started = measured.sums("grpc.server.call.started");
    assert_eq!(started, [(format!("grpc.method={check}"), 2.0), (format!("grpc.method={made_up}"), 1.0)]);
    let ended = [(none.clone(), 1), (ok.clone(), 1), (unknown.clone(), 1)];
    assert_eq!(measured.counts("grpc.server.call.duration"), ended);
    // SERVING is a tag and an enum.
    let sent = measured.sums("grpc.server.call.sent_total_compressed_message_size");
    assert_eq!(sent, [(none.clone(), 0.0), (ok.clone(), 2.0), (unknown.clone(), 0.0)]);
    let received = measured.sums("grpc.server.call.rcvd_total_compressed_message_size");
    assert_eq!(received, [(none, 4.0), (ok, 0.0), (unknown, 0.0)]);
}

#[tokio::test(start_paused = true)]
async fn calls_that_the_client_or_the_clock_ends_have_a_status_too() {
    let (measured, server) = start(|server| server);
    let mut peer = server.connect().await;
    peer.send(&request(1, "/test.Stuck/Unary", &[GRPC, ("grpc-timeout", "2S")], END_STREAM)).await;
    assert!(matches!(peer.next().await, Received::Headers { stream: 1, end: true, .. }));
    peer.send(&request(3, "/test.Stuck/Stream", &[GRPC], END_STREAM)).await;
    assert!(matches!(peer.next().await, Received::Headers { stream: 3, end: false, .. }));
    peer.reset(3, 8).await;
    drop(peer);
    tokio::time::sleep(SECOND).await;
    let ended = measured.of("grpc.server.call.duration");
    let [cancelled, late] = &ended[..] else { panic!("{ended:?}") };
    assert_eq!((&*cancelled.labels, cancelled.count), (&*labels("test.Stuck/Stream", "CANCELLED"), 1));
    assert_eq!((&*late.labels, late.count), (&*labels("test.Stuck/Unary", "DEADLINE_EXCEEDED"), 1));
    assert!((late.sum - 2.0).abs() < 0.01, "{late:?}");
}

#[tokio::test(start_paused = true)]
async fn connections_are_counted_from_the_start() {
    let (measured, _server) = start(|server| server);
    for (name, series) in [
        ("meshless.server.open_connections", 1),
        ("meshless.server.connections_opened", 1),
        ("meshless.server.connections_closed", 13),
    ] {
        let sums = measured.sums(name);
        assert!(sums.len() == series && sums.iter().all(|(_, sum)| *sum == 0.0), "{name}: {sums:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_shed_is_counted() {
    let (measured, server) = start(|server| server.max_concurrent_calls(CallLimit::new(1).queue(0)));
    let mut peer = server.connect().await;
    peer.send(&request(1, "/test.Stuck/Unary", &[GRPC], END_STREAM)).await;
    call(&mut peer, 3, "/test.Stuck/Unary", &[0; 5]).await;
    let shed = labels("test.Stuck/Unary", "RESOURCE_EXHAUSTED");
    assert_eq!(measured.counts("grpc.server.call.duration"), [(shed, 1)]);
}

#[tokio::test(start_paused = true)]
async fn connections_are_counted_and_their_ends_explained() {
    let (measured, server) = start(|server| server.max_connection_age(10 * SECOND));
    let mut peer = server.connect().await;
    let other = server.connect().await;
    call(&mut peer, 1, "/grpc.health.v1.Health/Check", &[0; 5]).await;
    assert_eq!(measured.sums("meshless.server.open_connections"), [(String::new(), 2.0)]);
    drop(other);
    while !matches!(peer.next().await, Received::Closed) {}
    drop(peer);
    tokio::time::sleep(2 * SECOND).await;
    assert_eq!(measured.sums("meshless.server.open_connections"), [(String::new(), 0.0)]);
    assert_eq!(measured.sums("meshless.server.connections_opened"), [(String::new(), 2.0)]);
    let closed = measured.events("meshless.server.connections_closed");
    let by = |reason: &str| (format!("meshless.close_reason={reason}"), 1.0);
    assert_eq!(closed, [by("client"), by("max_age")]);
    let ages = measured.sums("meshless.server.connection.age");
    assert!(ages[0].1 < 1.0 && (9.0..17.0).contains(&ages[1].1), "{ages:?}");
    let [calls] = &measured.of("meshless.server.connection.calls")[..] else { panic!("none") };
    assert_eq!((calls.count, calls.sum), (2, 1.0));
}
