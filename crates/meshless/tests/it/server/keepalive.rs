//! The server's keepalive, frame by frame, over pipes and under a paused clock.

use std::time::Duration;

use meshless::Server;
use meshless::server::{CloseReason, ConnectionChange, GoAwayReason};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::pipes::{Piped, check};
use crate::raw_peer::{ALL_STREAMS, PING, RawPeer, Received, frame, go_away};

const SECOND: Duration = Duration::from_secs(1);

fn server() -> Server {
    Server::builder().keepalive(SECOND * 10, SECOND * 5)
}

/// Reads a PING, and the ends of calls before it, and tells how many seconds after `since` it came,
/// in tenths.
async fn pinged<T: AsyncRead + AsyncWrite + Unpin>(peer: &mut RawPeer<T>, since: Instant) -> (f64, Received) {
    let mut ping = peer.next().await;
    while matches!(ping, Received::Headers { end: true, .. }) {
        ping = peer.next().await;
    }
    assert!(matches!(ping, Received::Ping { ack: false, .. }), "{ping:?}");
    ((since.elapsed().as_secs_f64() * 10.0).round() / 10.0, ping)
}

async fn closed(server: Piped) -> CloseReason {
    server.shutdown.begin();
    let events = server.ended().await;
    let mut reasons = events.into_iter().filter_map(|event| match event.change {
        ConnectionChange::Closed(reason) => Some(reason),
        _ => None,
    });
    reasons.next().expect("it ended")
}

#[tokio::test(start_paused = true)]
async fn a_silent_client_is_asked_then_told_and_closed() {
    let server = Piped::start(server());
    let start = Instant::now();
    let mut peer = server.connect().await;
    assert_eq!(pinged(&mut peer, start).await.0, 10.0);
    assert_eq!(peer.rest().await, [go_away(0, 0, "keepalive_timeout"), Received::Closed]);
    assert_eq!(start.elapsed().as_secs(), 15);
    drop(peer);
    assert_eq!(closed(server).await, CloseReason::KeepaliveTimeout);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_acknowledges_stays_and_one_that_stops_does_not() {
    let server = Piped::start(server());
    let mut peer = server.connect().await;
    for _ in 0..20 {
        let (silence, ping) = pinged(&mut peer, Instant::now()).await;
        assert_eq!(silence, 10.0);
        peer.acknowledge(ping).await;
    }
    assert_eq!(pinged(&mut peer, Instant::now()).await.0, 10.0);
    assert_eq!(peer.rest().await.last(), Some(&Received::Closed));
    drop(peer);
    assert_eq!(closed(server).await, CloseReason::KeepaliveTimeout);
}

#[tokio::test(start_paused = true)]
async fn whatever_comes_puts_the_ping_off_and_answers_it() {
    let server = Piped::start(server());
    let mut peer = server.connect().await;
    for pause in [300, 600, 950] {
        tokio::time::sleep(SECOND * pause / 100).await;
        peer.window(0, 1).await;
    }
    for _ in 0..3 {
        assert_eq!(pinged(&mut peer, Instant::now()).await.0, 10.0);
        tokio::time::sleep(SECOND * 49 / 10).await;
        peer.window(0, 1).await;
    }
    // That a call is open changes nothing.
    peer.call(1, "/test.Stuck/Unary").await;
    assert_eq!(pinged(&mut peer, Instant::now()).await.0, 10.0);
}

#[tokio::test(start_paused = true)]
async fn calls_go_on_while_an_acknowledgement_is_awaited_and_after_it() {
    let server = Piped::start(server());
    let mut peer = server.connect().await;
    let serving = check(&mut peer, 1).await;
    let (_, ping) = pinged(&mut peer, Instant::now()).await;
    for stream in (3..100).step_by(2) {
        assert_eq!(check(&mut peer, stream).await, serving);
    }
    peer.acknowledge(ping.clone()).await;
    // Nobody asked for this one. It goes to h2, which bears it.
    peer.acknowledge(ping).await;
    for stream in (101..200).step_by(2) {
        assert_eq!(check(&mut peer, stream).await, serving);
    }
    assert_eq!(pinged(&mut peer, Instant::now()).await.0, 10.0);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_pings_too_is_answered_and_draws_no_strike_for_its_acknowledgements() {
    let server = Piped::start(server().ping_enforcement(SECOND * 8, true));
    let mut peer = server.connect().await;
    for _ in 0..10 {
        let (_, ping) = pinged(&mut peer, Instant::now()).await;
        let mine = frame(PING, 0, 0, b"a client");
        peer.send(&mine).await;
        peer.acknowledge(ping).await;
        assert_eq!(peer.next().await, Received::Ping { ack: true, payload: b"a client".to_vec() });
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_whose_socket_takes_no_bytes_is_closed_though_no_ping_can_be_sent() {
    let server = Piped::start(server());
    let mut peer = server.connect().await;
    peer.call(1, "/test.Stuck/Flood").await;
    // The time to linger is 1 s.
    tokio::time::sleep(SECOND * 17).await;
    assert_eq!(closed(server).await, CloseReason::KeepaliveTimeout);
}

#[tokio::test(start_paused = true)]
async fn a_ping_finds_its_place_in_a_stream_that_never_pauses() {
    let server = Piped::start(server());
    let start = Instant::now();
    let mut peer = server.connect().await;
    peer.call(1, "/test.Stuck/Flood").await;
    peer.window(0, 1 << 30).await;
    peer.window(1, 1 << 30).await;
    assert!(matches!(peer.next().await, Received::Headers { stream: 1, .. }));
    for answered in [10, 20, 30] {
        loop {
            match peer.next().await {
                Received::Data { stream: 1, payload } => assert!(payload.iter().all(|byte| *byte == 7)),
                ping @ Received::Ping { ack: false, .. } => {
                    peer.acknowledge(ping).await;
                    break;
                }
                other => panic!("{other:?}"),
            }
            // The pipe is always full.
            tokio::time::sleep(SECOND / 100).await;
        }
        let elapsed = start.elapsed();
        assert!(elapsed >= SECOND * answered && elapsed < SECOND * (answered + 2), "{elapsed:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn keepalive_and_the_two_go_aways_do_not_disturb_each_other() {
    for keepalive_first in [true, false] {
        let server = Piped::start(server().drain_timeout(SECOND * 18));
        let mut peer = server.connect().await;
        peer.call(1, "/test.Stuck/Unary").await;
        let (_, keepalive) = pinged(&mut peer, Instant::now()).await;
        server.shutdown.begin();
        assert_eq!(peer.next().await, go_away(ALL_STREAMS, 0, "graceful_stop"));
        let shutdown = peer.next().await;
        assert_ne!(shutdown, keepalive);
        let (first, second) = if keepalive_first { (keepalive, shutdown) } else { (shutdown, keepalive) };
        peer.acknowledge(first).await;
        // The second GOAWAY must not rule it out.
        peer.call(3, "/test.Stuck/Unary").await;
        peer.acknowledge(second).await;
        let acknowledged = Instant::now();
        assert_eq!(peer.next().await, go_away(3, 0, "graceful_stop"));
        assert!(acknowledged.elapsed() < SECOND, "{:?}", acknowledged.elapsed());
        // It is asked on until the drain timeout cuts its calls.
        let (silence, ping) = pinged(&mut peer, acknowledged).await;
        assert_eq!(silence, 10.0);
        peer.acknowledge(ping).await;
        assert_eq!(peer.rest().await, [Received::Closed]);
        drop(peer);
        let events = server.ended().await;
        assert!(
            events.iter().any(|event| event.change == ConnectionChange::GoingAway(GoAwayReason::Drain)),
            "{events:?}"
        );
        assert!(
            events
                .iter()
                .all(|event| event.change != ConnectionChange::Closed(CloseReason::KeepaliveTimeout)),
            "{events:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn keepalive_can_be_turned_off() {
    let server = Piped::start(Server::builder().keepalive(None, Duration::ZERO));
    let mut peer = server.connect().await;
    tokio::time::sleep(SECOND * 90_000).await;
    check(&mut peer, 1).await;
}

#[cfg(all(feature = "client", feature = "tls"))]
#[tokio::test(start_paused = true)]
async fn a_tls_client_is_asked_too() {
    use super::tls::{handshake, server_tls};
    let server = Piped::start(server().tls(server_tls()));
    let mut peer = RawPeer::connect(handshake(server.pipe(), &["h2"]).await.unwrap()).await;
    for _ in 0..3 {
        let (silence, ping) = pinged(&mut peer, Instant::now()).await;
        assert_eq!(silence, 10.0);
        peer.acknowledge(ping).await;
    }
    assert_eq!(pinged(&mut peer, Instant::now()).await.0, 10.0);
    assert_eq!(peer.rest().await, [go_away(0, 0, "keepalive_timeout"), Received::Closed]);
    drop(peer);
    assert_eq!(closed(server).await, CloseReason::KeepaliveTimeout);
}
