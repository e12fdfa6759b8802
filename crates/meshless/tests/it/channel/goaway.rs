//! What a server provably did not process is sent again, and nothing else is.

use std::num::NonZeroU32;

use bytes::Bytes;
use meshless::balancing::BalancerConfig;
use meshless::{Channel, Policy};
use tokio::io::DuplexStream;
use tokio::task::JoinHandle;
use tonic::{Code, Status};

use super::network::*;
use meshless_testkit::raw_peer::{RawPeer, Received};

const NO_ERROR: u32 = 0;
const REFUSED_STREAM: u32 = 7;
const CANCEL: u32 = 8;
const INITIAL_WINDOW_SIZE: u16 = 4;

fn call(channel: &Channel) -> JoinHandle<Result<(), Status>> {
    let channel = channel.clone();
    tokio::spawn(async move { check(&channel).await })
}

/// The code and message with which a call failed.
async fn failure(call: JoinHandle<Result<(), Status>>) -> (Code, String) {
    let status = call.await.unwrap().unwrap_err();
    (status.code(), status.message().to_owned())
}

/// The next request, and which of two peers has it.
async fn request_to(peers: &mut [RawPeer<DuplexStream>; 2]) -> (usize, u32) {
    let [first, second] = peers;
    tokio::select! {
        stream = first.expect_request() => (0, stream),
        stream = second.expect_request() => (1, stream),
    }
}

/// Reads one streaming request up to `len` bytes: its stream, and the bytes.
async fn read_stream(peer: &mut RawPeer<DuplexStream>, len: usize) -> (u32, Vec<u8>) {
    let (mut of, mut bytes) = (0, Vec::new());
    while bytes.len() < len {
        match peer.next().await {
            Received::Headers { stream, .. } => of = stream,
            Received::Data { stream, payload } if stream == of => bytes.extend(payload),
            _ => {}
        }
    }
    (of, bytes)
}

#[tokio::test(start_paused = true)]
async fn a_call_above_the_last_id_goes_elsewhere_and_one_below_finishes() {
    let mut network = Network::new();
    let channel = network.channel(&[backend(1)]).connect_lazy().unwrap();
    let below = call(&channel);
    let mut old = network.accept_raw(&[]).await;
    assert_eq!(old.expect_request().await, 1);
    let above = call(&channel);
    assert_eq!(old.expect_request().await, 3);
    old.go_away(1, NO_ERROR, b"max_age").await;
    let mut new = network.accept_raw(&[]).await;
    let again = new.expect_request().await;
    new.answer(again, SERVING).await;
    above.await.unwrap().unwrap();
    old.answer(1, SERVING).await;
    below.await.unwrap().unwrap();
    assert_eq!(old.rest().await.iter().filter(|frame| matches!(frame, Received::Headers { .. })).count(), 0);
    assert_eq!(in_flight(&channel).await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_refused_call_is_sent_once_more_and_to_another_backend() {
    let mut network = Network::new();
    let channel = network.channel(&[backend(1), backend(2)]).policy(Policy::RoundRobin);
    let channel = channel.connect_lazy().unwrap();
    let calling = call(&channel);
    let mut peers = [network.accept_raw(&[]).await, network.accept_raw(&[]).await];
    settle().await;
    let (first, stream) = request_to(&mut peers).await;
    peers[first].reset(stream, REFUSED_STREAM).await;
    let (second, stream) = request_to(&mut peers).await;
    assert_ne!(first, second);
    peers[second].reset(stream, REFUSED_STREAM).await;
    let (code, message) = failure(calling).await;
    assert_eq!(code, Code::Unavailable);
    assert!(message.contains(":50051: the server did not process the call: "), "{message}");
    settle().await;
    assert_eq!(in_flight(&channel).await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_may_have_been_executed_is_not_sent_again() {
    let mut network = Network::new();
    let channel = network.channel(&[backend(1)]).connect_lazy().unwrap();
    let reset = call(&channel);
    let mut peer = network.accept_raw(&[]).await;
    let stream = peer.expect_request().await;
    peer.reset(stream, CANCEL).await;
    assert_eq!(failure(reset).await.0, Code::Cancelled);
    let cut = call(&channel);
    peer.expect_request().await;
    drop(peer);
    let (code, message) = failure(cut).await;
    assert_eq!(code, Code::Unavailable);
    assert!(message.starts_with("10.0.0.1:50051: the connection was lost: "), "{message}");
    // Nothing comes by itself on the connection that replaces it.
    let mut next = network.accept_raw(&[]).await;
    let fresh = call(&channel);
    assert_eq!(next.expect_request().await, 1);
    next.answer(1, SERVING).await;
    fresh.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_again_once_the_response_has_begun() {
    let mut network = Network::new();
    let channel = network.channel(&[backend(1)]).connect_lazy().unwrap();
    let calling = call(&channel);
    let mut peer = network.accept_raw(&[]).await;
    let stream = peer.expect_request().await;
    peer.answer_headers(stream).await;
    settle().await;
    peer.reset(stream, REFUSED_STREAM).await;
    assert_eq!(failure(calling).await.0, Code::Unavailable);
    let next = call(&channel);
    assert_eq!(peer.expect_request().await, stream + 2);
    peer.answer(stream + 2, SERVING).await;
    next.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_streaming_request_is_replayed_from_its_beginning() {
    let mut network = Network::new();
    let channel = network.channel(&[backend(1)]).connect_lazy().unwrap();
    let parts: Vec<_> = (0..3).map(|n| Bytes::from(vec![n; 1000])).collect();
    let calling = streaming(&channel, parts.clone());
    let mut peer = network.accept_raw(&[]).await;
    let (stream, first) = read_stream(&mut peer, 3000).await;
    peer.reset(stream, REFUSED_STREAM).await;
    let (stream, second) = read_stream(&mut peer, 3000).await;
    assert_eq!(first, parts.concat());
    assert_eq!(second, first);
    peer.answer(stream, b"").await;
    calling.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_streaming_request_beyond_the_bound_is_not_replayed() {
    const LEN: usize = 300 << 10;
    let mut network = Network::new();
    let channel = network.channel(&[backend(1)]).connect_lazy().unwrap();
    let calling = streaming(&channel, vec![Bytes::from(vec![7; 1 << 10]); LEN >> 10]);
    let mut peer = network.accept_raw(&[(INITIAL_WINDOW_SIZE, 1 << 20)]).await;
    peer.window(0, 1 << 20).await;
    let (stream, _) = read_stream(&mut peer, LEN).await;
    peer.reset(stream, REFUSED_STREAM).await;
    let (code, message) = failure(calling).await;
    assert_eq!(code, Code::Unavailable);
    assert!(message.contains("the server did not process the call"), "{message}");
    settle().await;
    assert_eq!(in_flight(&channel).await, 0);
}

#[tokio::test(start_paused = true)]
async fn every_backend_that_tells_off_counts_once() {
    let mut network = Network::new();
    let balancer = BalancerConfig::default().connections_per_endpoint(NonZeroU32::MIN);
    let channel = network.channel(&[backend(1), backend(2)]).balancer(balancer);
    let channel = channel.keepalive(10 * SECOND, 100 * SECOND).stall_timeout(None).connect_lazy().unwrap();
    let connecting = call(&channel);
    let mut peers = [network.accept_raw(&[]).await, network.accept_raw(&[]).await];
    let (at, stream) = request_to(&mut peers).await;
    peers[at].answer(stream, SERVING).await;
    connecting.await.unwrap().unwrap();
    tokio::time::sleep(SECOND * 2).await;
    for peer in &mut peers {
        peer.go_away(0x7fff_ffff, 11, b"too_many_pings").await;
    }
    let mut peers = [network.accept_raw(&[]).await, network.accept_raw(&[]).await];
    settle().await;
    let calls = [call(&channel), call(&channel)];
    let start = tokio::time::Instant::now();
    for peer in &mut peers {
        peer.expect_request().await;
        let Received::Ping { ack: false, .. } = peer.next().await else { panic!("a PING was due") };
        assert_eq!(start.elapsed().as_secs(), 20, "twice the time, and not four times");
    }
    calls.iter().for_each(JoinHandle::abort);
}

const SECOND: std::time::Duration = std::time::Duration::from_secs(1);
