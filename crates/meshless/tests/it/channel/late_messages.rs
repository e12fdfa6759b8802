//! Messages of a backend that cross the cancellation of their calls: h2 charges each, and gives
//! nothing back over the life of the connection.

use std::time::Duration;

use meshless::Channel;
use meshless_testkit::raw_peer::{
    DATA, END_HEADERS, END_STREAM, HEADERS, RESET_STREAM, RawPeer, Received, frame, go_away,
};
use tokio::io::{AsyncWriteExt, DuplexStream};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use super::network::*;

const MESSAGE: [u8; 7] = [0, 0, 0, 0, 2, 8, 1];

/// Waits until the other end has reset this stream.
async fn was_reset(peer: &mut RawPeer<DuplexStream>, stream: u32) {
    loop {
        match peer.next().await {
            Received::Other { kind: RESET_STREAM, stream: reset } if reset == stream => return,
            closed @ (Received::Closed | Received::GoAway { .. }) => panic!("{closed:?}"),
            _ => {}
        }
    }
}

/// Makes a call that is cancelled after the first message of its response. Returns its stream once
/// that was reset.
async fn cancelled(channel: &Channel, peer: &mut RawPeer<DuplexStream>) -> u32 {
    let mut client = HealthClient::new(channel.clone());
    let call = tokio::spawn(async move {
        let mut messages = client.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
        messages.message().await.unwrap();
    });
    let stream = peer.expect_request().await;
    peer.answer_headers(stream).await;
    peer.send(&frame(DATA, 0, stream, &MESSAGE)).await;
    was_reset(peer, stream).await;
    call.await.unwrap();
    stream
}

/// 200 000 of them at 10 000 a second, where h2 alone bears 135 000.
#[tokio::test(start_paused = true)]
async fn messages_that_cross_a_cancellation_end_no_connection() {
    let mut network = Network::new();
    let channel = network.channel(&[backend(1)]).connect_lazy().unwrap();
    let first = tokio::spawn({
        let channel = channel.clone();
        async move { check_within(&channel, Duration::from_secs(3600)).await }
    });
    let mut peer = network.accept_raw(&[]).await;
    let stream = peer.expect_request().await;
    peer.answer(stream, &MESSAGE[5..]).await;
    first.await.unwrap().unwrap();
    for _ in 0..200 {
        let stream = cancelled(&channel, &mut peer).await;
        peer.send(&frame(DATA, 0, stream, &MESSAGE).repeat(1000)).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let last = tokio::spawn(async move { check_within(&channel, Duration::from_secs(3600)).await });
    let stream = peer.expect_request().await;
    peer.answer(stream, &MESSAGE[5..]).await;
    last.await.unwrap().unwrap();
    assert_eq!(network.connections_waiting(), 0, "it is still the first connection");
}

/// Messages that arrive before the channel has written the reset: of a call that has its first
/// message, and of one that has no answer yet.
#[tokio::test(start_paused = true)]
async fn messages_that_come_with_a_cancellation_end_no_connection() {
    for is_answered in [true, false] {
        let mut network = Network::new();
        let channel = network.channel(&[backend(1)]).connect_lazy().unwrap();
        channel.request_connection();
        let mut peer = network.accept_raw(&[]).await;
        for _ in 0..300 {
            let mut client = HealthClient::new(channel.clone());
            let mut call = Box::pin(async move {
                let mut messages = client.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
                messages.message().await.unwrap();
                std::future::pending::<()>().await;
            });
            let stream = tokio::select! {
                () = &mut call => unreachable!("it has no end"),
                stream = peer.expect_request() => stream,
            };
            if is_answered {
                peer.answer_headers(stream).await;
                peer.send(&frame(DATA, 0, stream, &MESSAGE)).await;
                assert!(tokio::time::timeout(Duration::from_millis(1), &mut call).await.is_err());
            }
            // The connection is woken for the first, and finds both.
            drop(call);
            if !is_answered {
                peer.answer_headers(stream).await;
            }
            peer.send(&frame(DATA, 0, stream, &MESSAGE).repeat(700)).await;
            was_reset(&mut peer, stream).await;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let last = tokio::spawn(async move { check_within(&channel, Duration::from_secs(3600)).await });
        let stream = peer.expect_request().await;
        peer.answer(stream, &MESSAGE[5..]).await;
        last.await.unwrap().unwrap();
        assert_eq!(network.connections_waiting(), 0, "it is still the first connection");
    }
}

/// At a rate that no server needs it is a flood.
#[tokio::test(start_paused = true)]
async fn a_flood_of_messages_after_a_cancellation_is_ended() {
    let mut network = Network::new();
    let channel = network.channel(&[backend(1)]).connect_lazy().unwrap();
    channel.request_connection();
    let mut peer = network.accept_raw(&[]).await;
    let stream = cancelled(&channel, &mut peer).await;
    let (read, mut write) = tokio::io::split(peer.io);
    let flood = async {
        let messages = frame(DATA, 0, stream, &MESSAGE).repeat(100);
        let mut sent = 0;
        while write.write_all(&messages).await.is_ok() {
            sent += 100;
        }
        sent
    };
    let mut peer = RawPeer { io: tokio::io::join(read, tokio::io::sink()) };
    let both = async { tokio::join!(flood, peer.rest()) };
    let (sent, received) = tokio::time::timeout(Duration::from_secs(10), both).await.expect("it is ended");
    assert!((90_000..120_000).contains(&sent), "{sent} messages");
    assert!(received.contains(&go_away(0, 11, "too_many_frames")), "{received:?}");
}

/// A connection of a year may bring more than h2's hundred.
#[tokio::test(start_paused = true)]
async fn empty_data_now_and_then_ends_no_connection() {
    let mut network = Network::new();
    let channel = network.channel(&[backend(1)]).connect_lazy().unwrap();
    channel.request_connection();
    let mut peer = network.accept_raw(&[]).await;
    for _ in 0..200 {
        let call = tokio::spawn({
            let channel = channel.clone();
            async move { check_within(&channel, Duration::from_secs(10)).await }
        });
        let stream = peer.expect_request().await;
        peer.answer_headers(stream).await;
        peer.send(&frame(DATA, 0, stream, &[]).repeat(2)).await;
        peer.send(&frame(DATA, 0, stream, &MESSAGE)).await;
        peer.send(&frame(HEADERS, END_HEADERS | END_STREAM, stream, b"\0\x0bgrpc-status\x010")).await;
        call.await.unwrap().unwrap();
    }
    assert_eq!(network.connections_waiting(), 0, "it is still the first connection");
}
