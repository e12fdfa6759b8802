//! Peers that keep the socket and send nothing are left within seconds; slow peers are not.

use meshless_core::FrameKind;
use tokio::time::{Instant, sleep};

use super::*;

const MS: Duration = Duration::from_millis(1);

#[tokio::test(start_paused = true)]
async fn a_silent_peer_is_suspected_and_then_left_and_its_calls_are_told_why() {
    let mut rig = Rig::new().await;
    let started = Instant::now();
    let call = rig.call(unary(b"one"));
    rig.peer.expect_request().await;
    rig.peer.expect(FrameKind::Ping).await;
    assert_eq!(started.elapsed(), 1000 * MS);
    assert!(matches!(rig.event().await, Event::Silent(true)));
    assert_eq!(started.elapsed(), 1250 * MS);
    let status = call.await.unwrap().0.unwrap_err().into_status();
    assert_eq!(started.elapsed(), 5000 * MS);
    assert_eq!(status.code(), tonic::Code::Unavailable);
    assert!(status.message().contains("silent: nothing was received within 5s after a call"), "{status}");
    assert!(matches!(rig.event().await, Event::Closed(CloseReason::Silent(_))));
}

#[tokio::test(start_paused = true)]
async fn calls_whose_deadline_has_passed_are_evidence_too() {
    let mut rig = Rig::new().await;
    for _ in 0..4 {
        let call = rig.call(unary(b"one"));
        sleep(300 * MS).await;
        call.abort();
        settle().await;
    }
    sleep(60 * MS).await;
    assert!(matches!(rig.events.try_recv(), Ok(Event::Silent(true))), "after 1.25 s");
}

#[tokio::test(start_paused = true)]
async fn a_slow_handler_costs_one_ping_and_nothing_else() {
    let mut rig = Rig::new().await;
    let call = rig.call(unary(b"one"));
    let stream = rig.peer.expect_request().await;
    let ping = rig.peer.expect(FrameKind::Ping).await;
    rig.peer.pong(&ping).await;
    // Less than keepalive would wait.
    sleep(18_000 * MS).await;
    rig.no_event();
    rig.peer.answer(stream, b"hello").await;
    assert_eq!(read(call.await.unwrap().0).await.unwrap().1, "0");
    let next = rig.call(unary(b"two"));
    assert_eq!(rig.peer.expect_request().await, 3, "no further PING came before it");
    rig.peer.answer(3, b"hello").await;
    assert_eq!(read(next.await.unwrap().0).await.unwrap().1, "0");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_stood_still_for_a_while_keeps_its_calls() {
    let mut rig = Rig::new().await;
    let call = rig.call(unary(b"one"));
    let stream = rig.peer.expect_request().await;
    let ping = rig.peer.expect(FrameKind::Ping).await;
    sleep(3900 * MS).await;
    assert!(matches!(rig.event().await, Event::Silent(true)));
    rig.peer.pong(&ping).await;
    rig.peer.answer(stream, b"hello").await;
    assert_eq!(read(call.await.unwrap().0).await.unwrap().1, "0");
    assert!(matches!(rig.event().await, Event::Silent(false)));
    rig.no_event();
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_rests_is_not_asked_about() {
    let mut rig = Rig::new().await;
    let (_sender, outgoing) = streaming();
    let call = rig.call(outgoing);
    rig.peer.expect(FrameKind::Headers).await;
    rig.peer.headers(1).await;
    let _response = call.await.unwrap().0.unwrap();
    let far = tokio::time::timeout(Duration::from_secs(3600), rig.peer.expect(FrameKind::Ping)).await;
    assert!(far.is_err(), "an hour without a PING");
    rig.no_event();
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_takes_no_more_bytes_is_left_too() {
    let mut rig = Rig::new().await;
    let started = Instant::now();
    // More than the pipe holds, so the peer's windows do not limit it.
    rig.peer.settings(&[(peer::INITIAL_WINDOW_SIZE, (1 << 31) - 1)]).await;
    rig.peer.window(0, 1 << 30).await;
    settle().await;
    let big: &'static [u8] = Box::leak(vec![0; PIPE * 2].into_boxed_slice());
    let blocked = rig.call(unary(big));
    settle().await;
    let behind = rig.call(unary(b"two"));
    assert!(blocked.await.unwrap().0.is_err());
    assert!(behind.await.unwrap().0.is_err());
    assert_eq!(started.elapsed(), 5000 * MS);
}

#[tokio::test(start_paused = true)]
async fn the_watch_can_be_switched_off() {
    let config = ConnectionConfig { stall: None, ..ConnectionConfig::default() };
    let mut rig = Rig::with(&[], config).await;
    let _call = rig.call(unary(b"one"));
    sleep(Duration::from_secs(600)).await;
    rig.no_event();
}
