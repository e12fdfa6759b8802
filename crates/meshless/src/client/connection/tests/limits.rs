//! MAX_CONCURRENT_STREAMS: never exceeded, whenever it changes.

use meshless_core::FrameKind;

use super::peer::{CANCEL, MAX_CONCURRENT_STREAMS};
use super::*;

#[tokio::test(start_paused = true)]
async fn a_full_connection_says_so_and_says_when_there_is_room() {
    let mut rig = Rig::with(&[(MAX_CONCURRENT_STREAMS, 2)], ConnectionConfig::default()).await;
    let first = rig.call(unary(b"one"));
    rig.peer.expect_request().await;
    let _second = rig.call(unary(b"two"));
    rig.peer.expect_request().await;
    assert!(rig.connection.try_reserve().is_none());
    assert!(rig.connection.is_accepting(), "full is not going away");
    rig.peer.answer(1, b"hello").await;
    read(first.await.unwrap().0).await.unwrap();
    assert!(matches!(rig.event().await, Event::StreamsAvailable));
    assert!(rig.connection.try_reserve().is_some());
}

#[tokio::test(start_paused = true)]
async fn nobody_is_told_of_room_that_nobody_wanted() {
    let mut rig = Rig::with(&[(MAX_CONCURRENT_STREAMS, 1)], ConnectionConfig::default()).await;
    let call = rig.call(unary(b"one"));
    rig.peer.expect_request().await;
    rig.peer.answer(1, b"hello").await;
    read(call.await.unwrap().0).await.unwrap();
    settle().await;
    rig.no_event();
}

#[tokio::test(start_paused = true)]
async fn settings_that_shrink_the_limit_hold_new_calls_back_until_enough_have_ended() {
    let mut rig = Rig::with(&[(MAX_CONCURRENT_STREAMS, 3)], ConnectionConfig::default()).await;
    let mut calls = Vec::new();
    for stream in [1, 3, 5] {
        calls.push(rig.call(unary(b"one")));
        assert_eq!(rig.peer.expect_request().await, stream);
    }
    rig.peer.settings(&[(MAX_CONCURRENT_STREAMS, 1)]).await;
    rig.peer.expect_settings_ack().await;
    assert!(matches!(rig.event().await, Event::StreamLimit(1)));
    assert!(rig.connection.try_reserve().is_none());
    for (call, stream) in calls.into_iter().zip([1, 3, 5]) {
        rig.no_event();
        assert!(rig.connection.try_reserve().is_none(), "{} open, 1 allowed", rig.connection.open_streams());
        rig.peer.answer(stream, b"hello").await;
        read(call.await.unwrap().0).await.unwrap();
    }
    assert!(matches!(rig.event().await, Event::StreamsAvailable));
    let call = rig.call(unary(b"two"));
    assert_eq!(rig.peer.expect_request().await, 7);
    rig.peer.answer(7, b"hello").await;
    read(call.await.unwrap().0).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn settings_that_raise_the_limit_make_room() {
    let mut rig = Rig::with(&[(MAX_CONCURRENT_STREAMS, 1)], ConnectionConfig::default()).await;
    let _first = rig.call(unary(b"one"));
    assert!(rig.connection.try_reserve().is_none());
    rig.peer.expect_request().await;
    rig.peer.settings(&[(MAX_CONCURRENT_STREAMS, 2)]).await;
    rig.peer.expect_settings_ack().await;
    assert!(matches!(rig.event().await, Event::StreamLimit(2)));
    assert!(matches!(rig.event().await, Event::StreamsAvailable));
    let _second = rig.call(unary(b"two"));
    assert_eq!(rig.peer.expect_request().await, 3);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_calls_stream_is_reset_before_its_successor_opens() {
    let mut rig = Rig::with(&[(MAX_CONCURRENT_STREAMS, 1)], ConnectionConfig::default()).await;
    for round in 0..3 {
        let stream = 1 + 2 * round;
        let call = rig.call(unary(b"one"));
        assert_eq!(rig.peer.expect_request().await, stream);
        call.abort();
        assert!(call.await.is_err());
        assert_eq!(rig.connection.open_streams(), 0);
        let next = rig.connection.try_reserve();
        assert_eq!(rig.peer.expect_reset(stream).await, CANCEL);
        drop(next);
    }
    // Both in one turn: the reset, then the HEADERS that it makes room for.
    let call = rig.call(unary(b"one"));
    assert_eq!(rig.peer.expect_request().await, 7);
    call.abort();
    assert!(call.await.is_err());
    let _next = rig.call(unary(b"two"));
    assert_eq!(rig.peer.expect_reset(7).await, CANCEL);
    assert_eq!(rig.peer.expect(FrameKind::Headers).await.header.stream_id, 9);
}

#[tokio::test(start_paused = true)]
async fn a_storm_of_cancelled_calls_leaves_the_connection_alive() {
    // Three times h2's default lifetime limit of errors; each answer arrives after its call was
    // cancelled.
    let mut rig = Rig::new().await;
    for round in 0..3 * 1024 {
        let stream = 1 + 2 * round;
        let call = rig.call(unary(b"one"));
        assert_eq!(rig.peer.expect_request().await, stream);
        call.abort();
        assert!(call.await.is_err());
        assert_eq!(rig.peer.expect_reset(stream).await, CANCEL);
        rig.peer.answer(stream, b"too late").await;
    }
    settle().await;
    assert!(rig.connection.is_accepting());
    rig.no_event();
}

#[tokio::test(start_paused = true)]
async fn a_burst_of_unread_small_answers_leaves_the_connection_alive() {
    // h2's default guard closes a connection with hyper's window after about 2 150 of them.
    const CALLS: u32 = 5_000;
    let mut rig = Rig::new().await;
    let mut answers = Vec::new();
    for _ in 0..CALLS {
        let call = rig.call(unary(b"one"));
        let stream = rig.peer.expect_request().await;
        rig.peer.answer(stream, b"hello").await;
        answers.push(call.await.unwrap().0);
    }
    for answer in answers {
        assert_eq!(read(answer).await.unwrap().1, "0");
    }
    assert_eq!(rig.connection.open_streams(), 0);
}
