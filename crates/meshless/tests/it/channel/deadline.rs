//! A call's deadline covers all of it, and its error says what it was spent on.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use tonic::{Code, Request};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use super::network::*;

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn it_covers_the_wait_for_a_backend_that_cannot_be_reached() {
    let mut network = Network::new();
    network.set(backend(1), Dial::Refuse);
    let channel = network.channel(&[backend(1)]).wait_for_ready(true).connect_lazy().unwrap();
    let start = Instant::now();
    let status = check_within(&channel, 30 * SECOND).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert_eq!(
        status.message(),
        "ipv4:10.0.0.1:50051: the deadline passed while the call waited for a backend: no endpoint can be reached: \
         10.0.0.1:50051: cannot connect: connection refused"
    );
    assert_eq!(start.elapsed().as_secs(), 30);
}

#[tokio::test(start_paused = true)]
async fn it_covers_an_attempt_to_connect_that_never_ends() {
    let mut network = Network::new();
    network.set(backend(1), Dial::Silent);
    let channel = network.channel(&[backend(1)]).connect_lazy().unwrap();
    let start = Instant::now();
    let status = check_within(&channel, SECOND).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    let expected = "ipv4:10.0.0.1:50051: the deadline passed while the call waited for a connection";
    assert_eq!(status.message(), expected);
    assert_eq!(start.elapsed().as_secs(), 1);
}

#[tokio::test(start_paused = true)]
async fn it_covers_a_backend_that_does_not_answer() {
    let mut network = Network::new();
    let channel = network.channel(&[backend(1)]).connect_lazy().unwrap();
    let held = Arc::new(Mutex::new(Vec::new()));
    let holding = Arc::clone(&held);
    network.serve(100, move |call| holding.lock().unwrap().push(call));
    let status = check_within(&channel, SECOND).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    let expected = "ipv4:10.0.0.1:50051: the deadline passed while 10.0.0.1:50051 worked on the call";
    assert_eq!(status.message(), expected);
    assert_eq!(in_flight(&channel).await, 0);
    settle().await;
    let mut call = held.lock().unwrap().pop().unwrap();
    let reset = std::future::poll_fn(|cx| call.respond.poll_reset(cx)).await.unwrap();
    assert_eq!(reset, h2::Reason::CANCEL, "the server is told");
}

#[tokio::test(start_paused = true)]
async fn it_covers_the_messages_of_a_response() {
    let mut network = Network::new();
    let channel = network.channel(&[backend(1)]).connect_lazy().unwrap();
    let start = Instant::now();
    let mut request = Request::new(HealthCheckRequest::default());
    request.set_timeout(5 * SECOND);
    let mut client = HealthClient::new(channel.clone());
    let watching = tokio::spawn(async move { client.watch(request).await });
    let mut peer = network.accept_raw(&[]).await;
    let stream = peer.expect_request().await;
    peer.answer_headers(stream).await;
    peer.answer_message(stream, SERVING).await;
    let mut messages = watching.await.unwrap().unwrap().into_inner();
    assert!(messages.message().await.unwrap().is_some());
    assert_eq!(in_flight(&channel).await, 1);
    let status = messages.message().await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert_eq!(
        status.message(),
        "ipv4:10.0.0.1:50051: the deadline passed while the response of 10.0.0.1:50051 was received"
    );
    assert_eq!(start.elapsed().as_secs(), 5);
    assert_eq!(in_flight(&channel).await, 0);
}

#[tokio::test]
async fn it_ends_a_response_whose_messages_never_pause() {
    let mut network = Network::new();
    let channel = network.channel(&[backend(1)]).connect_lazy().unwrap();
    network.serve(100, |mut call| {
        tokio::spawn(async move {
            let head = http::Response::builder().header("content-type", "application/grpc").body(()).unwrap();
            let mut body = call.respond.send_response(head, false).unwrap();
            let message = Bytes::from_static(b"\0\0\0\0\x02\x08\x01").repeat(1000);
            loop {
                body.reserve_capacity(message.len());
                if std::future::poll_fn(|cx| body.poll_capacity(cx)).await.is_none_or(|sent| sent.is_err()) {
                    return;
                }
                let part = body.capacity().min(message.len()) / 7 * 7;
                if part > 0 && body.send_data(Bytes::copy_from_slice(&message[..part]), false).is_err() {
                    return;
                }
            }
        });
    });
    let mut request = Request::new(HealthCheckRequest::default());
    request.set_timeout(SECOND / 5);
    let start = Instant::now();
    let mut messages = HealthClient::new(channel.clone()).watch(request).await.unwrap().into_inner();
    let status = loop {
        match messages.message().await {
            Ok(Some(_)) => assert!(start.elapsed() < 20 * SECOND, "far past the deadline"),
            Ok(None) => panic!("it never ends by itself"),
            Err(status) => break status,
        }
    };
    assert_eq!(status.code(), Code::DeadlineExceeded);
}

#[tokio::test(start_paused = true)]
async fn the_server_is_told_how_long_the_client_will_wait_from_now_on() {
    let mut network = Network::new();
    let channel = network.channel(&[backend(1)]).connect_lazy().unwrap();
    let (first, second) = (channel.clone(), channel.clone());
    let (seen, mut timeouts) = tokio::sync::mpsc::unbounded_channel();
    let waiting = tokio::spawn(async move { check_within(&first, 5 * SECOND).await });
    let unbounded = tokio::spawn(async move { check(&second).await });
    let (address, io) = network.accept().await;
    tokio::time::sleep(2 * SECOND).await;
    let peer = tokio::spawn(async move {
        let mut connection = h2::server::handshake(io).await.unwrap();
        while let Some(Ok((request, respond))) = connection.accept().await {
            let call = Call { backend: address.clone(), request, respond };
            seen.send(call.header("grpc-timeout")).unwrap();
            call.answer();
        }
    });
    waiting.await.unwrap().unwrap();
    unbounded.await.unwrap().unwrap();
    let mut seen =
        [timeouts.recv().await.unwrap(), timeouts.recv().await.unwrap()].map(|value| micros(&value));
    seen.sort();
    let [none, Some(left)] = seen else { panic!("{seen:?}") };
    assert_eq!(none, None, "a call without a deadline has none");
    assert!((2_900_000..=3_000_000).contains(&left), "{left} µs");
    check_within(&channel, 5 * SECOND).await.unwrap();
    assert!(micros(&timeouts.recv().await.unwrap()).is_some_and(|left| left > 4_900_000));
    peer.abort();
}

#[tokio::test(start_paused = true)]
async fn the_channels_timeout_caps_a_calls_own() {
    let mut network = Network::new();
    let channel = network.channel(&[backend(1)]).timeout(2 * SECOND).connect_lazy().unwrap();
    let (seen, mut timeouts) = tokio::sync::mpsc::unbounded_channel();
    network.serve(100, move |call| {
        seen.send(micros(&call.header("grpc-timeout"))).unwrap();
        std::mem::forget(call);
    });
    for (own, most) in [(None, 2), (Some(60), 2), (Some(1), 1)] {
        let start = Instant::now();
        let status = match own {
            None => check(&channel).await,
            Some(own) => check_within(&channel, own * SECOND).await,
        };
        assert_eq!(status.unwrap_err().code(), Code::DeadlineExceeded);
        assert_eq!(start.elapsed().as_secs(), most);
        let announced = timeouts.recv().await.unwrap().unwrap();
        assert!(announced <= most * 1_000_000 && announced > (most - 1) * 1_000_000, "{announced} µs");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_deadline_has_passed_is_not_sent() {
    let mut network = Network::new();
    let channel = network.channel(&[backend(1)]).connect_lazy().unwrap();
    let (seen, mut calls) = tokio::sync::mpsc::unbounded_channel();
    network.serve(100, move |call| {
        seen.send(()).unwrap();
        call.answer();
    });
    check(&channel).await.unwrap();
    calls.recv().await.unwrap();
    let status = check_within(&channel, Duration::ZERO).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert!(status.message().contains("before the call was made"), "{status}");
    settle().await;
    assert!(calls.try_recv().is_err());
}

/// A `grpc-timeout` in µs.
fn micros(value: &Option<String>) -> Option<u64> {
    let value = value.as_ref()?;
    let (number, unit) = value.split_at(value.len() - 1);
    let scale = match unit {
        "S" => 1_000_000.0,
        "m" => 1_000.0,
        "u" => 1.0,
        "n" => 0.001,
        other => panic!("{other}"),
    };
    Some((number.parse::<f64>().unwrap() * scale) as u64)
}
