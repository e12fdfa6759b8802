//! Streaming requests: flow control, the pump, and replay.

use meshless_core::FrameKind;
use tonic::{Code, Status};

use super::peer::{CANCEL, INITIAL_WINDOW_SIZE, REFUSED_STREAM};
use super::*;
use crate::client::call::STREAM_REPLAY_LIMIT;

#[tokio::test(start_paused = true)]
async fn both_directions_flow_within_their_windows() {
    let mut rig = Rig::with(&[(INITIAL_WINDOW_SIZE, 10)], ConnectionConfig::default()).await;
    let (tx, outgoing) = streaming();
    let call = rig.call(outgoing);
    rig.peer.expect(FrameKind::Headers).await;
    tx.send(Bytes::from_static(b"0123456789abcdef")).await.unwrap();
    let data = rig.peer.expect(FrameKind::Data).await;
    assert_eq!(data.payload, b"0123456789", "no more than the window");

    rig.peer.headers(1).await;
    let mut body = call.await.unwrap().0.unwrap().into_body();
    rig.peer.window(1, 100).await;
    assert_eq!(rig.peer.expect(FrameKind::Data).await.payload, b"abcdef");
    // Request and answer in turns.
    for round in 0..5u8 {
        tx.send(Bytes::from(vec![round; 8])).await.unwrap();
        assert_eq!(rig.peer.expect(FrameKind::Data).await.payload, [round; 8]);
        rig.peer.data(1, &[round; 4]).await;
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), vec![round; 4]);
    }
    drop(tx);
    assert!(rig.peer.expect(FrameKind::Data).await.ends_stream());
    rig.peer.trailers(1).await;
    assert!(body.frame().await.unwrap().unwrap().is_trailers());
    assert_eq!(rig.connection.open_streams(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_request_goes_on_while_the_response_is_held_unread() {
    let mut rig = Rig::new().await;
    let (tx, outgoing) = streaming();
    let call = rig.call(outgoing);
    rig.peer.expect(FrameKind::Headers).await;
    rig.peer.headers(1).await;
    let body = call.await.unwrap().0.unwrap().into_body();
    for _ in 0..100 {
        // The channel holds one: without a task for the pump the request would stop here.
        tx.send(Bytes::from_static(b"more")).await.unwrap();
    }
    drop(tx);
    rig.peer.answer_trailers_after_end(1).await;
    assert_eq!(body.collect().await.unwrap().trailers().unwrap()["grpc-status"], "0");
}

#[tokio::test(start_paused = true)]
async fn a_response_that_ends_early_stops_the_request() {
    let mut rig = Rig::new().await;
    let (tx, outgoing) = streaming();
    let call = rig.call(outgoing);
    rig.peer.expect(FrameKind::Headers).await;
    rig.peer.answer(1, b"enough").await;
    assert_eq!(read(call.await.unwrap().0).await.unwrap().1, "0");
    assert_eq!(rig.peer.expect_reset(1).await, CANCEL);
    tx.closed().await;
    settle().await;
    assert_eq!(rig.connection.open_streams(), 0);
}

#[tokio::test(start_paused = true)]
async fn dropping_the_response_stops_the_request_and_frees_the_slot() {
    let mut rig = Rig::new().await;
    let (tx, outgoing) = streaming();
    let call = rig.call(outgoing);
    rig.peer.expect(FrameKind::Headers).await;
    rig.peer.headers(1).await;
    drop(call.await.unwrap().0.unwrap());
    assert_eq!(rig.peer.expect_reset(1).await, CANCEL);
    tx.closed().await;
    settle().await;
    assert_eq!(rig.connection.open_streams(), 0);
}

#[tokio::test(start_paused = true)]
async fn cancelling_before_the_headers_resets_the_stream() {
    let mut rig = Rig::new().await;
    let (tx, outgoing) = streaming();
    let call = rig.call(outgoing);
    rig.peer.expect(FrameKind::Headers).await;
    call.abort();
    assert_eq!(rig.peer.expect_reset(1).await, CANCEL);
    tx.closed().await;
    assert_eq!(rig.connection.open_streams(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_was_sent_of_a_refused_stream_is_sent_again_and_then_the_rest() {
    let mut rig = Rig::new().await;
    let (tx, outgoing) = streaming();
    let call = rig.call(outgoing);
    rig.peer.expect(FrameKind::Headers).await;
    for part in [&b"one"[..], b"two"] {
        tx.send(Bytes::from_static(part)).await.unwrap();
        assert_eq!(rig.peer.expect(FrameKind::Data).await.payload, part);
    }
    rig.peer.reset(1, REFUSED_STREAM).await;
    let (answer, outgoing) = call.await.unwrap();
    assert_eq!(answer.unwrap_err().fate(), AttemptFate::Refused);
    assert!(outgoing.can_replay());

    let again = rig.call(outgoing);
    assert_eq!(rig.peer.expect(FrameKind::Headers).await.header.stream_id, 3);
    tx.send(Bytes::from_static(b"three")).await.unwrap();
    drop(tx);
    let mut received = Vec::new();
    loop {
        let data = rig.peer.expect(FrameKind::Data).await;
        received.extend_from_slice(&data.payload);
        if data.ends_stream() {
            break;
        }
    }
    assert_eq!(received, b"onetwothree");
    rig.peer.answer(3, b"hello").await;
    assert_eq!(read(again.await.unwrap().0).await.unwrap().1, "0");
}

#[tokio::test(start_paused = true)]
async fn a_stream_beyond_the_replay_limit_is_not_sent_again() {
    let mut rig = Rig::with(&[(INITIAL_WINDOW_SIZE, 1 << 30)], ConnectionConfig::default()).await;
    rig.peer.window(0, 1 << 30).await;
    let (tx, outgoing) = streaming();
    let call = rig.call(outgoing);
    rig.peer.expect(FrameKind::Headers).await;
    let long = Bytes::from(vec![7; STREAM_REPLAY_LIMIT / 2 + 1]);
    for _ in 0..2 {
        tx.send(long.clone()).await.unwrap();
        let mut received = 0;
        while received < long.len() {
            received += rig.peer.expect(FrameKind::Data).await.payload.len();
        }
    }
    rig.peer.reset(1, REFUSED_STREAM).await;
    let (answer, outgoing) = call.await.unwrap();
    assert_eq!(answer.unwrap_err().fate(), AttemptFate::Refused);
    assert!(!outgoing.can_replay());
}

#[tokio::test(start_paused = true)]
async fn an_error_of_the_requests_body_is_what_the_caller_gets() {
    let mut rig = Rig::new().await;
    for headers_first in [false, true] {
        let (tx, rx) = mpsc::channel(1);
        let call = rig.call(request(Body::new(Failing(rx))));
        let stream = rig.peer.expect(FrameKind::Headers).await.header.stream_id;
        let status = if headers_first {
            rig.peer.headers(stream).await;
            let mut body = call.await.unwrap().0.unwrap().into_body();
            tx.send(()).await.unwrap();
            body.frame().await.unwrap().unwrap_err()
        } else {
            tx.send(()).await.unwrap();
            call.await.unwrap().0.unwrap_err().into_status()
        };
        assert_eq!((status.code(), status.message()), (Code::OutOfRange, "too long"));
        assert_eq!(rig.peer.expect_reset(stream).await, CANCEL);
    }
    settle().await;
    assert_eq!(rig.connection.open_streams(), 0);
}

/// A body that fails when the test says so.
struct Failing(mpsc::Receiver<()>);

impl http_body::Body for Failing {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.0.poll_recv(cx).map(|_| Some(Err(Status::out_of_range("too long"))))
    }
}
