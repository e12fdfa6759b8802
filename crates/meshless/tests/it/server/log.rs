//! What a server says through `tracing` about its connections: everyday traffic at DEBUG, the rest
//! at INFO, once.

use std::time::Duration;

use meshless::Server;

use super::pipes::{Piped, check};
use crate::log::Log;
use crate::raw_peer::{DATA, END_STREAM, PING, RawPeer, Received, frame, request};

fn told(log: &Log) -> Vec<String> {
    log.take().into_iter().filter(|line| !line.starts_with("DEBUG")).collect()
}

/// A call that is answered, if only with UNIMPLEMENTED.
async fn call(peer: &mut RawPeer<tokio::io::DuplexStream>) {
    peer.send(&request(1, "/shop.Orders/Place", &[], END_STREAM)).await;
    while !matches!(peer.next().await, Received::Headers { stream: 1, end: true, .. }) {}
}

#[tokio::test(start_paused = true)]
async fn probes_and_connections_that_carry_nothing_are_not_worth_a_word() {
    let log = Log::default();
    let _guard = log.listen();
    let server = Piped::start(Server::builder().max_connection_age(Duration::from_secs(10)));
    for _ in 0..3 {
        let mut probe = server.connect().await;
        check(&mut probe, 1).await;
        drop(probe);
        // A port that somebody looked at.
        drop(server.pipe());
    }
    // A watch that lives until its connection ages.
    let mut watch = server.connect().await;
    watch.send(&request(1, "/grpc.health.v1.Health/Watch", &[], 0)).await;
    watch.send(&frame(DATA, END_STREAM, 1, &[0; 5])).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    let lines = log.take();
    assert!(lines.iter().all(|line| line.starts_with("DEBUG")), "{lines:#?}");
    let closed = lines.iter().filter(|line| line.contains("closed: closed by the client")).count();
    assert!(closed >= 3, "each is there for who looks for it: {lines:#?}");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_without_a_word_when_it_has_its_answers_has_not_failed() {
    let log = Log::default();
    let _guard = log.listen();
    let server = Piped::start(Server::builder());
    let mut peer = server.connect().await;
    call(&mut peer).await;
    // The server answers the PING into a pipe that nobody holds.
    peer.send(&frame(PING, 0, 0, &[7; 8])).await;
    drop(peer);
    tokio::time::sleep(Duration::from_secs(10)).await;
    let lines = log.take();
    let closed = lines.iter().find(|line| line.contains("connection closed")).expect("it has ended");
    assert!(closed.starts_with("DEBUG connection closed: closed by the client"), "{closed}");
}

#[tokio::test(start_paused = true)]
async fn a_rotation_and_a_drain_are_told_once() {
    let log = Log::default();
    let _guard = log.listen();
    let server = Piped::start(
        Server::builder().max_connection_age(Duration::from_secs(100)).drain_timeout(Duration::from_secs(5)),
    );
    let mut peer = server.connect().await;
    call(&mut peer).await;
    while !matches!(peer.next().await, Received::Closed) {}
    drop(peer);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let rotation = told(&log);
    let [rotation] = &rotation[..] else { panic!("{rotation:#?}") };
    assert!(rotation.starts_with("INFO connection told to go: max age"), "{rotation}");
    assert!(rotation.contains(" calls=1 health_checks=0"), "{rotation}");
    let mut peers = Vec::new();
    for _ in 0..3 {
        let mut peer = server.connect().await;
        call(&mut peer).await;
        peers.push(peer);
    }
    server.shutdown.begin();
    drop(peers);
    server.ended().await;
    let drain = told(&log);
    let [begun, sent_away] = &drain[..] else { panic!("{drain:#?}") };
    assert!(begun.starts_with("INFO shutdown has begun"), "{begun}");
    assert!(sent_away.starts_with("INFO connections are sent away"), "{sent_away}");
}
