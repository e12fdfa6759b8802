//! A server that goes away: no call starts, and no call is lost.

use std::future::{Future, poll_fn};

use meshless_core::FrameKind;

use super::peer::{ALL_STREAMS, ENHANCE_YOUR_CALM, NO_ERROR, frame, goaway_payload};
use super::*;

#[tokio::test(start_paused = true)]
async fn calls_below_the_last_id_finish_and_those_above_were_not_processed() {
    let mut rig = Rig::new().await;
    let first = rig.call(unary(b"one"));
    assert_eq!(rig.peer.expect_request().await, 1);
    let second = rig.call(unary(b"two"));
    assert_eq!(rig.peer.expect_request().await, 3);

    rig.peer.goaway(1, NO_ERROR, b"").await;
    let (answer, outgoing) = second.await.unwrap();
    let failure = answer.unwrap_err();
    assert_eq!(failure.fate(), AttemptFate::LeftBehind, "{failure:?}");
    assert!(outgoing.can_replay(), "the request is still here");
    assert!(rig.connection.try_reserve().is_none());
    assert!(!first.is_finished());

    rig.peer.answer(1, b"hello").await;
    assert_eq!(read(first.await.unwrap().0).await.unwrap(), (Bytes::from("hello"), "0".to_owned()));
    rig.peer.expect_close().await;
    assert!(matches!(rig.event().await, Event::GoingAway(_)));
    assert!(matches!(rig.event().await, Event::Closed(_)));
}

#[tokio::test(start_paused = true)]
async fn the_first_goaway_of_two_stops_new_calls_and_spares_the_open_ones() {
    let mut rig = Rig::new().await;
    let first = rig.call(unary(b"one"));
    assert_eq!(rig.peer.expect_request().await, 1);
    rig.peer.goaway(ALL_STREAMS, NO_ERROR, b"max_age").await;
    match rig.event().await {
        Event::GoingAway(GoingAway::Server { debug_data, too_many_pings, .. }) => {
            assert_eq!(debug_data, "max_age");
            assert!(!too_many_pings);
        }
        other => panic!("{other:?}"),
    }
    assert!(!rig.connection.is_accepting());
    rig.peer.goaway(1, NO_ERROR, b"").await;
    settle().await;
    rig.no_event();
    rig.peer.answer(1, b"hello").await;
    assert_eq!(read(first.await.unwrap().0).await.unwrap().1, "0");
    rig.peer.expect_close().await;
}

#[tokio::test(start_paused = true)]
async fn a_goaway_turns_the_next_call_away_in_the_same_wake_up() {
    let mut rig = Rig::new().await;
    // Reserved before the GOAWAY, started after it: in this window hyper loses calls.
    let slot = rig.connection.try_reserve().unwrap();
    let mut outgoing = unary(b"one");
    // Only the frame's header: h2 does not know yet that a GOAWAY is coming.
    let goaway = peer::frame(0x7, 0, 0, &peer::goaway_payload(ALL_STREAMS, NO_ERROR, b""));
    rig.peer.raw(&goaway[..9]).await;
    settle().await;
    let failure = attempt(slot, &mut outgoing).await.map(|_| ()).unwrap_err();
    assert_eq!(failure.fate(), AttemptFate::NeverSent, "{failure:?}");
    assert!(outgoing.can_replay());

    rig.peer.raw(&goaway[9..]).await;
    assert!(matches!(rig.event().await, Event::GoingAway(GoingAway::Server { .. })));
    while let Some(frame) = rig.peer.try_next().await {
        assert_ne!(frame.header.kind, meshless_core::FrameKind::Headers, "nothing of the call was sent");
    }
}

#[tokio::test(start_paused = true)]
async fn too_many_pings_is_told_apart() {
    let mut rig = Rig::new().await;
    rig.peer.goaway(0, ENHANCE_YOUR_CALM, b"too_many_pings").await;
    match rig.event().await {
        Event::GoingAway(GoingAway::Server { too_many_pings, .. }) => assert!(too_many_pings),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_goaway_is_told_in_the_server_s_words_and_not_in_h2_s() {
    let long = "x".repeat(2000);
    for (code, debug, words) in [
        (NO_ERROR, &b"graceful_stop"[..], "the server sent GOAWAY: NO_ERROR \"graceful_stop\""),
        (NO_ERROR, b"", "the server sent GOAWAY: NO_ERROR"),
        (0x2, b"a\r\n\x1b[31m\xff", "the server sent GOAWAY: INTERNAL_ERROR \"a\\r\\n\\x1b[31m\\xff\""),
        (0x2, long.as_bytes(), "the server sent GOAWAY: INTERNAL_ERROR \"xxx"),
    ] {
        let mut rig = Rig::new().await;
        let call = rig.call(unary(b"one"));
        rig.peer.expect_request().await;
        rig.peer.goaway(0, code, debug).await;
        let status = call.await.unwrap().0.unwrap_err().into_status();
        let expected = format!("unix:/test: the server did not process the call: {words}");
        assert!(status.message().starts_with(&expected), "{status}");
        assert!(status.message().len() < 400, "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_cut_before_the_headers_were_written_never_sent_the_call() {
    let mut rig = Rig::new().await;
    let slot = rig.connection.try_reserve().unwrap();
    let mut outgoing = unary(b"one");
    {
        let mut call = std::pin::pin!(attempt(slot, &mut outgoing));
        // Queues the request. The connection's task does not run between this and the cut.
        let polled = poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx))).await;
        assert!(polled.is_pending());
        drop(rig.peer);
        let failure = call.await.map(|_| ()).unwrap_err();
        assert_eq!(failure.fate(), AttemptFate::NeverSent, "{failure:?}");
    }
    assert!(outgoing.can_replay());
    assert!(matches!(rig.events.recv().await, Some(Event::Closed(_))));
}

#[tokio::test(start_paused = true)]
async fn a_connection_cut_after_the_request_was_written_may_have_processed_it() {
    let mut rig = Rig::new().await;
    let call = rig.call(unary(b"one"));
    rig.peer.expect_request().await;
    drop(rig.peer);
    let failure = call.await.unwrap().0.unwrap_err();
    assert_eq!(failure.fate(), AttemptFate::MaybeProcessed, "{failure:?}");
    let status = failure.into_status();
    assert_eq!(status.code(), tonic::Code::Unavailable);
    assert!(status.message().starts_with("unix:/test: the connection was lost: "), "{status}");
}

#[test]
fn a_connection_whose_runtime_is_gone_turns_calls_away() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let first = runtime();
    let rig = first.block_on(Rig::new());
    drop(first);
    let slot = rig.connection.try_reserve().expect("nobody has said that it ended");
    let failure =
        runtime().block_on(async { attempt(slot, &mut unary(b"one")).await.map(|_| ()).unwrap_err() });
    assert_eq!(failure.fate(), AttemptFate::NeverSent, "{failure:?}");
    assert!(rig.connection.try_reserve().is_none(), "the next call would fail there too, and the next");
}

#[tokio::test(start_paused = true)]
async fn a_call_at_the_last_id_that_breaks_after_the_goaway_may_have_been_processed() {
    let mut rig = Rig::new().await;
    let call = rig.call(unary(b"one"));
    rig.peer.expect_request().await;
    rig.peer.goaway(1, NO_ERROR, b"").await;
    rig.event().await;
    drop(rig.peer);
    let failure = call.await.unwrap().0.unwrap_err();
    assert_eq!(failure.fate(), AttemptFate::MaybeProcessed, "{failure:?}");
    assert_eq!(failure.code(), tonic::Code::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn draining_lets_the_call_finish_and_then_says_goaway_and_closes() {
    let mut rig = Rig::new().await;
    let call = rig.call(unary(b"one"));
    rig.peer.expect_request().await;
    rig.connection.drain();
    assert!(rig.connection.try_reserve().is_none());
    rig.peer.answer(1, b"hello").await;
    assert_eq!(read(call.await.unwrap().0).await.unwrap().1, "0");
    rig.peer.expect(meshless_core::FrameKind::GoAway).await;
    rig.peer.expect_close().await;
    assert!(matches!(rig.event().await, Event::Closed(CloseReason::Drained)));
}

#[tokio::test(start_paused = true)]
async fn dropping_the_last_handle_drains() {
    let mut rig = Rig::new().await;
    drop(rig.connection);
    rig.peer.expect_close().await;
    assert!(matches!(rig.events.recv().await, Some(Event::Closed(CloseReason::Drained))));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_read_cannot_hold_up_the_close() {
    let (io, far) = tokio::io::duplex(128);
    let (report, mut events) = reporter();
    let connecting = tokio::spawn(dial(io, ConnectionConfig::default(), report));
    let mut peer = Peer::accept(far).await;
    peer.settings(&[]).await;
    let connection = connecting.await.unwrap().unwrap();
    // More than the pipe holds, and cancelled: the RST_STREAM cannot leave.
    let slot = connection.try_reserve().unwrap();
    let call = call_in(slot, unary(&[7; 4096]));
    settle().await;
    call.abort();
    let started = tokio::time::Instant::now();
    connection.drain();
    assert!(matches!(events.recv().await, Some(Event::Closed(_))));
    assert!(started.elapsed() <= Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn aborting_fails_the_calls_with_the_reason() {
    let mut rig = Rig::new().await;
    let call = rig.call(unary(b"one"));
    rig.peer.expect_request().await;
    rig.connection.abort();
    let status = call.await.unwrap().0.unwrap_err().into_status();
    assert_eq!(status.message(), "unix:/test: the connection was lost: closed by the client");
    assert!(matches!(rig.event().await, Event::Closed(CloseReason::Aborted)));
}

#[tokio::test(start_paused = true)]
async fn what_is_queued_when_a_goaway_arrives_is_written_before_its_ping_is_answered() {
    // The server takes the answer to mean that no call is on the way, and refuses later ones.
    let mut rig = Rig::new().await;
    let call = rig.call(unary(b"one"));
    let farewell =
        [frame(0x7, 0, 0, &goaway_payload(ALL_STREAMS, NO_ERROR, b"max_age")), frame(0x6, 0, 0, b"graceful")];
    rig.peer.raw(&farewell.concat()).await;
    let stream = rig.peer.expect_request().await;
    assert_eq!(rig.peer.expect(FrameKind::Ping).await.payload, b"graceful");
    rig.peer.goaway(stream, NO_ERROR, b"max_age").await;
    rig.peer.answer(stream, b"hello").await;
    assert_eq!(read(call.await.unwrap().0).await.unwrap().1, "0");
}
