//! What well-behaved clients send that h2 refuses, or counts over the whole life of a connection.

use std::time::Duration;

use meshless::Server;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, DuplexStream};

use super::pipes::Piped;
use crate::raw_peer::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, RawPeer, Received, frame, request,
};

/// The head of a call to the health service, with this field for `:authority`.
fn head(authority: &[u8]) -> Vec<u8> {
    let path = b"/grpc.health.v1.Health/Check";
    [&[0x83, 0x86][..], authority, &[0x04, path.len() as u8], path, b"\x0f\x10\x10application/grpc"].concat()
}

/// A literal that enters the table, as C-core, grpc-java and Swift send it.
fn authority(value: &str) -> Vec<u8> {
    [&[0x41, value.len() as u8], value.as_bytes()].concat()
}

/// Waits for the message that answers a call.
async fn answered<T: AsyncRead + AsyncWrite + Unpin>(peer: &mut RawPeer<T>, stream: u32) {
    loop {
        match peer.next().await {
            Received::Data { stream: answered, payload } if answered == stream => {
                return assert_eq!(payload[6], 1, "SERVING");
            }
            // Of this call, or the trailers of the one before.
            Received::Headers { .. } => {}
            other => panic!("stream {stream}: {other:?}"),
        }
    }
}

async fn call<T: AsyncRead + AsyncWrite + Unpin>(peer: &mut RawPeer<T>, stream: u32, block: &[u8]) {
    let message = frame(DATA, END_STREAM, stream, &[0; 5]);
    peer.send(&[frame(HEADERS, END_HEADERS, stream, block), message].concat()).await;
    answered(peer, stream).await;
}

const AUTHORITIES: [&str; 7] = [
    "%2Frun%2Fecho.sock",
    "",
    "/run/echo.sock",
    "10.0.0.1:50051%2C10.0.0.2:50051",
    "unix%3Aecho",
    "[::1]:50051",
    "localhost",
];

#[tokio::test(start_paused = true)]
async fn any_authority_is_served_on_call_after_call() {
    for value in AUTHORITIES {
        let server = Piped::start(Server::builder());
        let mut peer = server.connect().await;
        call(&mut peer, 1, &head(&authority(value))).await;
        // The same by the table (entry 62), and in two frames.
        call(&mut peer, 3, &head(&[0xbe])).await;
        let block = head(&[0xbe]);
        peer.send(&frame(HEADERS, 0, 5, &block[..3])).await;
        peer.send(&frame(CONTINUATION, END_HEADERS, 5, &block[3..])).await;
        peer.send(&frame(DATA, END_STREAM, 5, &[0; 5])).await;
        answered(&mut peer, 5).await;
    }
}

#[cfg(unix)]
#[tokio::test]
async fn a_client_that_names_the_socket_is_served_over_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("echo.sock");
    let listener = meshless::server::bind_unix(&path).unwrap();
    tokio::spawn(Server::builder().serve_with_incoming_shutdown([listener], std::future::pending()));
    for value in AUTHORITIES {
        let mut peer = RawPeer::connect(tokio::net::UnixStream::connect(&path).await.unwrap()).await;
        call(&mut peer, 1, &head(&authority(value))).await;
        call(&mut peer, 3, &head(&[0xbe])).await;
    }
}

async fn check(peer: &mut RawPeer<DuplexStream>, stream: u32) {
    assert_eq!(super::pipes::check(peer, stream).await, 1);
}

/// A connection of a year may bring more than h2's hundred.
#[tokio::test(start_paused = true)]
async fn empty_data_now_and_then_ends_no_connection() {
    let server = Piped::start(Server::builder());
    let mut peer = server.connect().await;
    for stream in (1..4000).step_by(2) {
        peer.send(&request(stream, "/grpc.health.v1.Health/Check", &[], 0)).await;
        peer.send(&frame(DATA, 0, stream, &[])).await;
        peer.send(&frame(DATA, END_STREAM, stream, &[0; 5])).await;
        answered(&mut peer, stream).await;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    check(&mut peer, 5001).await;
}

/// The last messages of 200 calls that have ended: more than h2 remembers, so that it answers
/// STREAM_CLOSED to most.
async fn late_messages(peer: &mut RawPeer<DuplexStream>) -> Vec<u8> {
    let mut messages = Vec::new();
    for stream in (1..400).step_by(2) {
        peer.send(&request(stream, "/no.Such/Call", &[], 0)).await;
        while !matches!(peer.next().await, Received::Headers { stream: ended, .. } if ended == stream) {}
        messages.extend(frame(DATA, END_STREAM, stream, &[7; 5]));
    }
    messages
}

/// Messages that cross the end of their calls are no fault, and h2 counts its answers for life.
#[tokio::test(start_paused = true)]
async fn messages_that_come_after_the_end_of_their_calls_end_no_connection() {
    let server = Piped::start(Server::builder());
    let mut peer = server.connect().await;
    let messages = late_messages(&mut peer).await.repeat(4);
    let mut closed = 0;
    while closed <= 100_000 {
        peer.send(&messages).await;
        while let Ok(received) = tokio::time::timeout(Duration::from_secs(1), peer.next()).await {
            assert!(matches!(received, Received::Other { .. }), "{received:?}");
            closed += 1;
        }
    }
    check(&mut peer, 401).await;
}

/// At a rate that no client needs it is a flood.
#[tokio::test(start_paused = true)]
async fn a_flood_of_messages_after_the_end_of_their_calls_is_cut() {
    let server = Piped::start(Server::builder().max_concurrent_streams(100));
    let mut peer = server.connect().await;
    let messages = late_messages(&mut peer).await;
    let cut = async {
        loop {
            if peer.io.write_all(&messages).await.is_err() {
                return None;
            }
            while let Ok(received) = tokio::time::timeout(Duration::from_millis(1), peer.next()).await {
                if let Received::GoAway { code, debug_data, .. } = received {
                    return Some((code, debug_data));
                }
            }
        }
    };
    let cut = tokio::time::timeout(Duration::from_secs(10), cut).await.expect("it is cut");
    assert_eq!(cut, Some((11, "too_many_control_frames".into())));
}
