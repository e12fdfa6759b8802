//! Unary calls: how they are sent, how they end, and that nothing of them remains.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use http_body::Body as _;
use meshless_core::{Ending, FrameKind};
use tonic::Code;

use super::peer::{CANCEL, ENHANCE_YOUR_CALM, NO_ERROR, REFUSED_STREAM};
use super::*;
use crate::client::call::CallGuard;

#[tokio::test(start_paused = true)]
async fn a_unary_call_is_sent_answered_and_leaves_nothing() {
    let mut rig = Rig::new().await;
    let call = rig.call(unary(b"ping"));
    let headers = rig.peer.expect(FrameKind::Headers).await;
    assert!(!headers.ends_stream());
    let data = rig.peer.expect(FrameKind::Data).await;
    assert_eq!(data.payload, b"ping");
    assert!(data.ends_stream(), "the end is in the same frame");
    rig.peer.answer(1, b"pong").await;
    assert_eq!(read(call.await.unwrap().0).await.unwrap(), (Bytes::from("pong"), "0".to_owned()));
    assert_eq!(rig.connection.open_streams(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_refused_call_was_not_processed_and_can_be_sent_again() {
    let mut rig = Rig::new().await;
    let call = rig.call(unary(b"ping"));
    rig.peer.expect_request().await;
    rig.peer.reset(1, REFUSED_STREAM).await;
    let (answer, outgoing) = call.await.unwrap();
    assert_eq!(answer.unwrap_err().fate(), AttemptFate::Refused);

    let again = rig.call(outgoing);
    rig.peer.expect(FrameKind::Headers).await;
    assert_eq!(rig.peer.expect(FrameKind::Data).await.payload, b"ping");
    rig.peer.answer(3, b"pong").await;
    assert_eq!(read(again.await.unwrap().0).await.unwrap().1, "0");
}

#[tokio::test(start_paused = true)]
async fn each_reset_code_has_its_grpc_status() {
    let mut rig = Rig::new().await;
    let table = [
        (NO_ERROR, Code::Internal),
        (0x1, Code::Internal),
        (0x2, Code::Internal),
        (REFUSED_STREAM, Code::Unavailable),
        (CANCEL, Code::Cancelled),
        (ENHANCE_YOUR_CALM, Code::ResourceExhausted),
        (0xc, Code::PermissionDenied),
    ];
    for (reset, code) in table {
        let call = rig.call(unary(b"ping"));
        let stream = rig.peer.expect_request().await;
        rig.peer.reset(stream, reset).await;
        let failure = call.await.unwrap().0.unwrap_err();
        let unprocessed = matches!(failure.fate(), meshless_core::AttemptFate::Refused);
        assert_eq!(unprocessed, reset == REFUSED_STREAM);
        assert_eq!(failure.endpoint(), rig.connection.address());
        let status = failure.into_status();
        assert_eq!(status.code(), code, "RST_STREAM({reset:#x})");
        assert!(status.message().starts_with("unix:/test: "), "{status}");
    }
    assert_eq!(rig.connection.open_streams(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_reset_in_mid_stream_reaches_the_reader_after_what_came_before() {
    let mut rig = Rig::new().await;
    let call = rig.call(unary(b"ping"));
    rig.peer.expect_request().await;
    rig.peer.headers(1).await;
    rig.peer.data(1, b"half").await;
    let mut body = call.await.unwrap().0.unwrap().into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "half");
    rig.peer.reset(1, ENHANCE_YOUR_CALM).await;
    assert_eq!(body.frame().await.unwrap().unwrap_err().code(), Code::ResourceExhausted);
    assert!(body.frame().await.is_none());
    assert_eq!(rig.connection.open_streams(), 0, "the end frees the slot, not the drop");
}

#[tokio::test(start_paused = true)]
async fn a_dropped_response_resets_its_stream() {
    let mut rig = Rig::new().await;
    let call = rig.call(unary(b"ping"));
    rig.peer.expect_request().await;
    rig.peer.headers(1).await;
    rig.peer.data(1, b"half").await;
    let answer = call.await.unwrap().0.unwrap();
    drop(answer);
    assert_eq!(rig.connection.open_streams(), 0);
    assert_eq!(rig.peer.expect_reset(1).await, CANCEL);
}

#[tokio::test(start_paused = true)]
async fn a_trailers_only_response_frees_its_slot_at_once() {
    let mut rig = Rig::new().await;
    let call = rig.call(unary(b"ping"));
    rig.peer.expect_request().await;
    rig.peer.trailers_only(1).await;
    let answer = call.await.unwrap().0.unwrap();
    assert_eq!(answer.headers()["grpc-status"], "5");
    assert!(answer.body().is_end_stream());
    assert_eq!(rig.connection.open_streams(), 0);
    let seen = Arc::new(AtomicI32::new(-1));
    let (parts, body) = answer.into_parts();
    drop(body.guarded(&parts.headers, Seen(Arc::clone(&seen))));
    assert_eq!(seen.load(Ordering::SeqCst), Code::NotFound as i32);
}

#[tokio::test(start_paused = true)]
async fn the_guard_hears_how_the_call_ended() {
    let mut rig = Rig::new().await;
    for cancelled in [false, true] {
        let call = rig.call(unary(b"ping"));
        let stream = rig.peer.expect_request().await;
        rig.peer.answer(stream, b"pong").await;
        let seen = Arc::new(AtomicI32::new(-1));
        let (parts, body) = call.await.unwrap().0.unwrap().into_parts();
        let body = body.guarded(&parts.headers, Seen(Arc::clone(&seen)));
        if cancelled {
            drop(body);
            assert_eq!(seen.load(Ordering::SeqCst), -1, "dropped without a code");
        } else {
            body.collect().await.unwrap();
            assert_eq!(seen.load(Ordering::SeqCst), Code::Ok as i32);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn reading_gives_the_server_room_for_as_much_again() {
    let config = ConnectionConfig { stream_window: 100_000, ..ConnectionConfig::default() };
    let mut rig = Rig::with(&[], config).await;
    let call = rig.call(unary(b"ping"));
    rig.peer.expect_request().await;
    rig.peer.headers(1).await;
    for _ in 0..10 {
        rig.peer.data(1, &[7; 10_000]).await;
    }
    let mut body = call.await.unwrap().0.unwrap().into_body();
    settle().await;
    let mut taken = 0;
    while taken < 100_000 {
        taken += body.frame().await.unwrap().unwrap().into_data().unwrap().len();
    }
    let mut granted = 0;
    while granted < 50_000 {
        let frame = rig.peer.next().await;
        assert_eq!(frame.header.kind, FrameKind::WindowUpdate);
        if frame.header.stream_id == 1 {
            granted += frame.number();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_http2_forbids_is_refused_for_good() {
    let rig = Rig::new().await;
    let mut outgoing = unary(b"ping");
    outgoing.headers_mut().insert("connection", "close".parse().unwrap());
    let failure = rig.call(outgoing).await.unwrap().0.unwrap_err();
    assert_eq!(failure.fate(), AttemptFate::MaybeProcessed, "{failure:?}");
    assert_eq!(failure.code(), Code::Internal);
    assert!(rig.connection.is_accepting());
    assert_eq!(rig.connection.open_streams(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_request_too_long_to_keep_is_sent_and_not_kept() {
    let mut rig = Rig::with(&[(peer::INITIAL_WINDOW_SIZE, 1 << 30)], ConnectionConfig::default()).await;
    rig.peer.window(0, 1 << 30).await;
    let long = Bytes::from(vec![7; crate::client::call::UNARY_REPLAY_LIMIT + 1]);
    let len = long.len();
    let call = rig.call(request(Body::new(Full::new(long))));
    rig.peer.expect(FrameKind::Headers).await;
    let mut received = 0;
    while received < len {
        received += rig.peer.expect(FrameKind::Data).await.payload.len();
    }
    rig.peer.reset(1, REFUSED_STREAM).await;
    let (answer, outgoing) = call.await.unwrap();
    assert!(answer.is_err());
    assert!(!outgoing.can_replay());
}

struct Seen(Arc<AtomicI32>);

impl CallGuard for Seen {
    fn ended(self, code: Code, _: Ending) {
        self.0.store(code as i32, Ordering::SeqCst);
    }
}
