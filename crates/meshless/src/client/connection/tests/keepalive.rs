//! Half-open sockets are detected; quiet connections stay open.

use meshless_core::{FrameKind, LivenessConfig};

use super::*;

fn every(secs: u64) -> ConnectionConfig {
    ConnectionConfig {
        keepalive: Some(LivenessConfig::keepalive(Duration::from_secs(secs))),
        stall: None,
        ..ConnectionConfig::default()
    }
}

#[tokio::test(start_paused = true)]
async fn a_half_open_connection_is_closed_and_its_calls_are_told_why() {
    let mut rig = Rig::with(&[], every(30)).await;
    let call = rig.call(unary(b"one"));
    rig.peer.expect_request().await;
    let started = tokio::time::Instant::now();
    // The peer keeps the socket and sends nothing.
    let status = call.await.unwrap().0.unwrap_err().into_status();
    assert_eq!(started.elapsed().as_secs(), 50, "30 s of silence, 20 s after the PING");
    assert_eq!(status.code(), tonic::Code::Unavailable);
    assert!(status.message().contains("keepalive: nothing was received within 20s after a PING"), "{status}");
    assert!(matches!(rig.event().await, Event::Closed(CloseReason::Keepalive(_))));
    rig.peer.expect(FrameKind::Ping).await;
}

#[tokio::test(start_paused = true)]
async fn an_answered_ping_keeps_the_connection() {
    let mut rig = Rig::with(&[], every(30)).await;
    let call = rig.call(unary(b"one"));
    rig.peer.expect_request().await;
    let started = tokio::time::Instant::now();
    for round in 1..=5 {
        let ping = rig.peer.expect(FrameKind::Ping).await;
        assert_eq!(started.elapsed().as_secs(), 30 * round);
        rig.peer.pong(&ping).await;
    }
    rig.peer.answer(1, b"hello").await;
    assert_eq!(read(call.await.unwrap().0).await.unwrap().1, "0");
}

#[tokio::test(start_paused = true)]
async fn without_calls_there_are_no_pings_and_the_first_call_after_a_silence_brings_one() {
    let mut rig = Rig::with(&[], every(30)).await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    let started = tokio::time::Instant::now();
    let _call = rig.call(unary(b"one"));
    rig.peer.expect_request().await;
    rig.peer.expect(FrameKind::Ping).await;
    assert_eq!(started.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn pings_without_calls_are_sent_if_asked_for() {
    let keepalive = LivenessConfig::keepalive(Duration::from_secs(30))
        .without_calls(true)
        .timeout(Duration::from_secs(5));
    let config = ConnectionConfig { keepalive: Some(keepalive), ..ConnectionConfig::default() };
    let mut rig = Rig::with(&[], config).await;
    let started = tokio::time::Instant::now();
    assert!(matches!(rig.event().await, Event::Closed(CloseReason::Keepalive(_))));
    assert_eq!(started.elapsed().as_secs(), 35);
}
