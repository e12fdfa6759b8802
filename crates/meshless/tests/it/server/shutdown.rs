//! The order of a shutdown, its deadline, and what is left of it: nothing.

use std::time::Duration;

use meshless::Server;
use meshless::server::{CloseReason, ConnectionChange, ServingStatus};
use tokio::time::Instant;

use super::pipes::{Piped, check};
use crate::raw_peer::{ALL_STREAMS, Received, go_away};

const SECOND: Duration = Duration::from_secs(1);
const SERVING: u8 = 1;
const NOT_SERVING: u8 = 2;

#[tokio::test(start_paused = true)]
async fn health_turns_then_the_lame_duck_serves_and_accepts_then_clients_are_sent_away() {
    let server = Piped::start(Server::builder().lame_duck(SECOND * 10));
    let mut old = server.connect().await;
    assert_eq!(check(&mut old, 1).await, SERVING);
    let begun = Instant::now();
    server.shutdown.begin();
    tokio::time::sleep(SECOND * 9).await;
    assert!(server.is_listening());
    let mut new = server.connect().await;
    assert_eq!((check(&mut old, 3).await, check(&mut new, 1).await), (NOT_SERVING, NOT_SERVING));
    for peer in [&mut old, &mut new] {
        let frame = loop {
            match peer.next().await {
                Received::Headers { .. } => {}
                other => break other,
            }
        };
        assert_eq!(frame, go_away(ALL_STREAMS, 0, "graceful_stop"));
    }
    assert_eq!(begun.elapsed(), SECOND * 10);
    assert!(!server.is_listening());
}

#[tokio::test(start_paused = true)]
async fn without_a_signal_there_is_no_lame_duck_unless_it_is_set() {
    let server = Piped::start(Server::builder());
    let mut peer = server.connect().await;
    check(&mut peer, 1).await;
    let begun = Instant::now();
    server.shutdown.begin();
    assert!(peer.rest().await.contains(&go_away(ALL_STREAMS, 0, "graceful_stop")));
    server.ended().await;
    // Five seconds for the PING that the peer does not acknowledge, and one for the FIN that it
    // does not return.
    assert_eq!(begun.elapsed(), SECOND * 6);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_that_began_before_the_server_ran_is_heeded() {
    let shutdown = meshless::Shutdown::new();
    assert!(!shutdown.handle().is_begun());
    shutdown.handle().begin();
    assert!(shutdown.handle().is_begun());
    let listener = meshless::server::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    Server::builder().serve_with_incoming_shutdown([listener], shutdown).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_hurried_lame_duck_cuts_at_once_and_says_goodbye() {
    let server = Piped::start(Server::builder().lame_duck(SECOND * 10));
    let mut peer = server.connect().await;
    peer.call(1, "/test.Stuck/Unary").await;
    tokio::time::sleep(SECOND).await;
    let begun = Instant::now();
    server.shutdown.begin();
    tokio::time::sleep(SECOND).await;
    server.shutdown.hurry();
    let client = tokio::spawn(async move { peer.rest().await });
    let events = server.ended().await;
    assert_eq!(begun.elapsed(), SECOND);
    let frames = client.await.unwrap();
    assert!(matches!(frames[..], [.., Received::GoAway { code: 0, .. }, Received::Closed]), "{frames:?}");
    assert_eq!(events.last().unwrap().change, ConnectionChange::Closed(CloseReason::Hurried));
}

#[tokio::test(start_paused = true)]
async fn a_hurried_drain_waits_no_longer_for_calls() {
    let server = Piped::start(Server::builder().drain_timeout(SECOND * 1000));
    let mut peer = server.connect().await;
    peer.call(1, "/test.Stuck/Stream").await;
    assert!(matches!(peer.next().await, Received::Headers { stream: 1, .. }));
    let begun = Instant::now();
    server.shutdown.begin();
    tokio::time::sleep(SECOND * 50).await;
    server.shutdown.hurry();
    let client = tokio::spawn(async move { peer.rest().await });
    let events = server.ended().await;
    assert_eq!(begun.elapsed(), SECOND * 50);
    assert_eq!(client.await.unwrap().last(), Some(&Received::Closed));
    assert_eq!(events.last().unwrap().change, ConnectionChange::Closed(CloseReason::Hurried));
}

#[tokio::test(start_paused = true)]
async fn a_thousand_connections_with_endless_streams_and_deaf_clients_end_by_the_deadline() {
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    let server = Piped::start(Server::builder().lame_duck(SECOND * 5).drain_timeout(SECOND * 20));
    let mut peers = Vec::new();
    for number in 0..1000 {
        let mut peer = server.connect().await;
        let path = ["/test.Stuck/Unary", "/test.Stuck/Stream", "/test.Stuck/Flood"][number % 3];
        // As much as HTTP/2 allows, so that a flood stops at the transport and not at a window.
        peer.window(0, i32::MAX as u32 - (1 << 16)).await;
        peer.call(1, path).await;
        peer.window(1, i32::MAX as u32 - (1 << 16)).await;
        peers.push(peer);
    }
    tokio::time::sleep(SECOND).await;
    let begun = Instant::now();
    server.shutdown.begin();
    // Nobody reads, nobody acknowledges, nobody closes.
    let events = server.ended().await;
    assert!(begun.elapsed() >= SECOND * 25, "{:?}", begun.elapsed());
    assert!(begun.elapsed() <= SECOND * 26, "{:?}", begun.elapsed());
    let closed = events.iter().filter(|event| matches!(event.change, ConnectionChange::Closed(_)));
    assert_eq!(closed.count(), 1000);
    // A cancelled task is gone when the runtime has seen it once more.
    tokio::task::yield_now().await;
    assert_eq!(tasks(), before);
    for mut peer in peers {
        // What was on its way can be read; then there is an end, in a frame's middle perhaps.
        let mut rest = Vec::new();
        tokio::io::AsyncReadExt::read_to_end(&mut peer.io, &mut rest).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_dropped_server_leaves_nothing_either() {
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    let server = Piped::start(Server::builder());
    let mut peer = server.connect().await;
    peer.call(1, "/test.Stuck/Stream").await;
    assert!(matches!(peer.next().await, Received::Headers { stream: 1, .. }));
    server.task.abort();
    assert_eq!(peer.rest().await.last(), Some(&Received::Closed));
    while tasks() > before {
        tokio::task::yield_now().await;
    }
    assert_eq!(server.health.status(""), Some(ServingStatus::Serving), "an abort is no shutdown");
}
