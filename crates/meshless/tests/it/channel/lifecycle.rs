//! What is let go, when, and that nothing is left: calls, responses, channels, endpoints.

use std::time::Duration;

use meshless::client::{ConnectivityState, SubchannelState};
use meshless::resolver::{Address, Resolution};
use meshless::{Channel, Endpoint};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tonic::{Status, Streaming};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse, health_client::HealthClient};

use super::network::*;
use meshless_testkit::raw_peer::{RESET_STREAM, Received};

const MAX_CONCURRENT_STREAMS: u16 = 3;

type Messages = Result<Streaming<HealthCheckResponse>, Status>;

fn watch(channel: &Channel) -> JoinHandle<Messages> {
    let mut client = HealthClient::new(channel.clone());
    tokio::spawn(async move { Ok(client.watch(HealthCheckRequest::default()).await?.into_inner()) })
}

#[tokio::test(start_paused = true)]
async fn dropping_a_call_or_its_response_releases_everything() {
    let mut network = Network::new();
    let channel = network.channel(&[backend(1)]).connect_lazy().unwrap();
    let call = watch(&channel);
    let mut peer = network.accept_raw(&[(MAX_CONCURRENT_STREAMS, 1)]).await;
    let stream = peer.expect_request().await;
    assert_eq!(in_flight(&channel).await, 1);
    call.abort();
    assert!(matches!(peer.next().await, Received::Other { kind: RESET_STREAM, stream: of } if of == stream));
    assert_eq!(in_flight(&channel).await, 0);

    let call = watch(&channel);
    let stream = peer.expect_request().await;
    peer.answer_headers(stream).await;
    peer.answer_message(stream, SERVING).await;
    let mut messages = call.await.unwrap().unwrap();
    assert!(messages.message().await.unwrap().is_some());
    assert_eq!(in_flight(&channel).await, 1);
    drop(messages);
    assert!(matches!(peer.next().await, Received::Other { kind: RESET_STREAM, stream: of } if of == stream));
    assert_eq!(in_flight(&channel).await, 0);

    // Its stream is free: the server allows one at a time.
    let call = watch(&channel);
    assert_eq!(peer.expect_request().await, stream + 2);
    call.abort();
}

#[tokio::test(start_paused = true)]
async fn a_dropped_channel_finishes_its_calls_and_then_ends() {
    let mut network = Network::new();
    let channel = network.channel(&[backend(1)]).connect_lazy().unwrap();
    let streaming = watch(&channel);
    let mut peer = network.accept_raw(&[]).await;
    let stream = peer.expect_request().await;
    peer.answer_headers(stream).await;
    let mut messages = streaming.await.unwrap().unwrap();
    let unary = channel.clone();
    let unary = tokio::spawn(async move { check(&unary).await });
    let unary_stream = peer.expect_request().await;
    drop(channel);
    // A silence for which it is not yet suspected.
    tokio::time::sleep(Duration::from_millis(900)).await;
    peer.answer(unary_stream, SERVING).await;
    unary.await.unwrap().unwrap();
    // The last handle went with the call. The stream goes on without it.
    settle().await;
    peer.answer_message(stream, SERVING).await;
    assert!(messages.message().await.unwrap().is_some());
    peer.answer_message(stream, SERVING).await;
    assert!(messages.message().await.unwrap().is_some());
    assert!(network.is_let_go().await, "the driver has ended");
    drop(messages);
    assert_eq!(peer.rest().await.last(), Some(&Received::Closed));
}

#[tokio::test(start_paused = true)]
async fn an_unused_channel_that_is_dropped_leaves_nothing() {
    let mut network = Network::new();
    let channel = network.channel(&[backend(1)]).connect_lazy().unwrap();
    drop(channel);
    assert!(network.is_let_go().await);

    // With an attempt to connect under way.
    let mut network = Network::new();
    network.set(backend(1), Dial::Silent);
    let channel = network.channel(&[backend(1)]).connect_lazy().unwrap();
    let call = watch(&channel);
    settle().await;
    drop(channel);
    call.abort();
    assert!(network.is_let_go().await);
}

#[tokio::test(start_paused = true)]
async fn requests_carry_the_channels_name_and_the_targets_authority() {
    let agent = concat!("grpc-rust-meshless/", env!("CARGO_PKG_VERSION"));
    for named in [false, true] {
        let mut network = Network::new();
        let mut builder = network.channel_to("ipv4:10.0.0.1:50051");
        if named {
            builder = builder.user_agent("shop/1.2").authority("echo.test:1");
        }
        let channel = builder.connect_lazy().unwrap();
        let (seen, mut requests) = mpsc::unbounded_channel();
        network.serve(100, move |call| {
            seen.send((call.header("user-agent").unwrap(), call.request.uri().clone())).unwrap();
            call.answer();
        });
        check(&channel).await.unwrap();
        let (user_agent, uri) = requests.recv().await.unwrap();
        let (name, authority) = match named {
            false => (agent.to_owned(), "10.0.0.1:50051"),
            true => (format!("shop/1.2 {agent}"), "echo.test:1"),
        };
        assert_eq!(user_agent, name);
        assert_eq!(uri, format!("http://{authority}/grpc.health.v1.Health/Check").as_str());
    }
}

fn set(backends: &[u8]) -> Resolution {
    Ok(backends.iter().map(|&n| Endpoint::new(backend(n))).collect())
}

/// Which backends get the calls.
async fn reached(channel: &Channel, calls: &mut mpsc::UnboundedReceiver<Address>) -> Vec<Address> {
    for _ in 0..20 {
        check(channel).await.unwrap();
    }
    let mut reached: Vec<_> = std::iter::from_fn(|| calls.try_recv().ok()).collect();
    reached.sort();
    reached.dedup();
    reached
}

fn addresses(backends: &[u8]) -> Vec<Address> {
    backends.iter().map(|&n| Address::Tcp(backend(n))).collect()
}

#[tokio::test(start_paused = true)]
async fn the_calls_follow_the_resolver() {
    let mut network = Network::new();
    let (updates, resolver) = mpsc::channel(1);
    let builder = network.channel_to("dns:///echo.test:50051").resolver(resolver);
    let channel = builder.connect_lazy().unwrap();
    let (seen, mut calls) = mpsc::unbounded_channel();
    network.serve(100, move |call| {
        seen.send(call.backend.clone()).unwrap();
        call.answer();
    });
    for backends in [&[1, 2][..], &[2, 3], &[2, 3, 4], &[4], &[1], &[5, 6, 7]] {
        updates.send(set(backends)).await.unwrap();
        // A set that is wholly new is connected first; until then there is nobody to call.
        settle().await;
        assert_eq!(reached(&channel, &mut calls).await, addresses(backends));
        let endpoints = channel.state().await.endpoints;
        assert_eq!(endpoints.len(), backends.len(), "nothing is left of the others: {endpoints:?}");
    }
    // An error, an empty set or the end of the resolver leave the last good set.
    updates.send(Err(meshless::resolver::ResolveError::other("a bad day"))).await.unwrap();
    settle().await;
    assert_eq!(channel.state().await.resolution_error.as_deref(), Some("a bad day"));
    updates.send(set(&[])).await.unwrap();
    drop(updates);
    settle().await;
    assert_eq!(reached(&channel, &mut calls).await, addresses(&[5, 6, 7]));
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_leaves_the_set_finishes_its_streams_and_gets_no_calls() {
    let mut network = Network::new();
    let (updates, resolver) = mpsc::channel(1);
    let channel = network.channel_to("dns:///echo.test:50051").resolver(resolver).connect_lazy().unwrap();
    updates.send(set(&[1])).await.unwrap();
    let streaming = watch(&channel);
    let mut old = network.accept_raw(&[]).await;
    let stream = old.expect_request().await;
    old.answer_headers(stream).await;
    let mut messages = streaming.await.unwrap().unwrap();
    updates.send(set(&[2])).await.unwrap();
    let mut new = network.accept_raw(&[]).await;
    settle().await;
    let state = channel.state().await;
    let states: Vec<_> = state.endpoints.iter().map(|e| (e.state, e.calls_in_flight)).collect();
    assert_eq!(states, [(SubchannelState::Draining, 1), (SubchannelState::Ready, 0)]);
    assert_eq!(state.connectivity, ConnectivityState::Ready);
    for _ in 0..3 {
        let channel = channel.clone();
        let call = tokio::spawn(async move { check(&channel).await });
        let stream = new.expect_request().await;
        new.answer(stream, SERVING).await;
        call.await.unwrap().unwrap();
    }
    old.answer_message(stream, SERVING).await;
    assert!(messages.message().await.unwrap().is_some());
    drop(messages);
    assert!(!old.rest().await.iter().any(|frame| matches!(frame, Received::Headers { .. })));
    settle().await;
    assert_eq!(channel.state().await.endpoints.len(), 1);
}
