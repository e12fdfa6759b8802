//! What a service config makes of a channel.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use meshless::resolver::Address;
use meshless::{Channel, Policy, RetryPolicy, ServiceConfig};
use tokio::time::Instant;
use tonic::Code;

use super::network::*;

fn served(config: &str, handler: impl Fn(Call) + Clone + Send + 'static) -> Channel {
    let config: ServiceConfig = config.parse().unwrap();
    let mut network = Network::new();
    let builder = network.channel(&[backend(1), backend(2)]).service_config(config);
    let channel = builder.connect_lazy().unwrap();
    network.serve(100, handler);
    channel
}

/// Answers with a message of no bytes.
fn answer_empty(mut call: Call) {
    let response = http::Response::builder().header("content-type", "application/grpc").body(()).unwrap();
    let mut body = call.respond.send_response(response, false).unwrap();
    body.send_data(Bytes::from_static(&[0; 5]), false).unwrap();
    let trailers = [("grpc-status".parse().unwrap(), "0".parse().unwrap())];
    body.send_trailers(http::HeaderMap::from_iter(trailers)).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_policy_holds_for_the_methods_that_it_names() {
    let config = r#"{"methodConfig": [{
        "name": [{"service": "grpc.health.v1.Health", "method": "Check"}],
        "retryPolicy": {
            "maxAttempts": 3, "initialBackoff": "0.1s", "maxBackoff": "1s", "backoffMultiplier": 2,
            "retryableStatusCodes": ["UNAVAILABLE"]
        }
    }]}"#;
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&calls);
    let channel = served(config, move |call| {
        counter.fetch_add(1, SeqCst);
        call.refuse(Code::Unavailable, "not now", None);
    });
    assert!(check(&channel).await.is_err());
    assert_eq!(calls.swap(0, SeqCst), 3);
    let other = streaming(&channel, vec![Bytes::from_static(b"\0\0\0\0\0")]).await.unwrap();
    // A refusal shows in the headers of the response, which this caller does not look at.
    other.unwrap();
    assert_eq!(calls.load(SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn its_timeout_bounds_calls_without_a_deadline() {
    let held = Arc::new(Mutex::new(Vec::new()));
    let holding = Arc::clone(&held);
    let channel = served(r#"{"methodConfig": [{"name": [{}], "timeout": "1.5s"}]}"#, move |call| {
        holding.lock().unwrap().push(call)
    });
    let start = Instant::now();
    assert_eq!(check(&channel).await.unwrap_err().code(), Code::DeadlineExceeded);
    assert_eq!(start.elapsed().as_millis(), 1500);
    assert_eq!(held.lock().unwrap()[0].header("grpc-timeout").as_deref(), Some("1500000u"));
}

#[tokio::test(start_paused = true)]
async fn messages_longer_than_it_allows_fail_the_call() {
    let config = r#"{"methodConfig": [{
        "name": [{}], "maxRequestMessageBytes": 3, "maxResponseMessageBytes": 1
    }]}"#;
    let channel = served(config, Call::answer);
    let status = check(&channel).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    let expected = "a message of 2 bytes is longer than the 1 that the service config allows in a response";
    assert_eq!(status.message(), expected);
    let long = Bytes::from_static(b"\0\0\0\0\x04long");
    let status = streaming(&channel, vec![long]).await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    let expected = "a message of 4 bytes is longer than the 3 that the service config allows in a request";
    assert_eq!(status.message(), expected);
    assert_eq!(in_flight(&channel).await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_message_too_long_for_the_client_is_not_held_against_the_backend() {
    for policy in ["round_robin", "peak_ewma"] {
        let config = format!(
            r#"{{"loadBalancingConfig": [{{"{policy}": {{}}}}],
                "retryThrottling": {{"maxTokens": 10, "tokenRatio": 0.1}},
                "methodConfig": [{{"name": [{{}}], "maxResponseMessageBytes": 1, "retryPolicy": {{
                    "maxAttempts": 2, "initialBackoff": "1s", "maxBackoff": "1s", "backoffMultiplier": 1,
                    "retryableStatusCodes": ["RESOURCE_EXHAUSTED"]
                }}}}]}}"#
        );
        // Of the first backend, messages are too long.
        let mut network = Network::new();
        let builder = network.channel(&[backend(1), backend(2)]).service_config(config.parse().unwrap());
        let channel = builder.connect_lazy().unwrap();
        network.serve(100, |call| {
            if call.backend == Address::Tcp(backend(1)) { call.answer() } else { answer_empty(call) }
        });
        let mut failed = 0;
        for _ in 0..200 {
            failed += u32::from(check(&channel).await.is_err());
        }
        assert!((60..=140).contains(&failed), "{policy}: {failed}");
        assert!(channel.state().await.endpoints.iter().all(|endpoint| endpoint.ejection.is_none()));
        assert_eq!(channel.retry_stats().throttle_tokens, Some(10.0), "{policy}");
    }
}

#[tokio::test(start_paused = true)]
async fn it_comes_before_what_the_builder_says() {
    let config = r#"{
        "loadBalancingConfig": [{"least_request": {}}],
        "methodConfig": [{"name": [{}], "waitForReady": true}]
    }"#;
    let mut network = Network::new();
    let builder = network.channel(&[backend(1)]).policy(Policy::PickFirst).retry(RetryPolicy::unavailable());
    let channel = builder.service_config(config.parse().unwrap()).connect_lazy().unwrap();
    network.set(backend(1), Dial::Refuse);
    let status = check_within(&channel, Duration::from_secs(5)).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded, "it waits for ready");
    assert_eq!(channel.state().await.policy, Policy::LeastRequest);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_goes_on_beside_an_unread_response_ends_with_the_deadline() {
    let mut network = Network::new();
    let builder = network.channel(&[backend(1)]).timeout(Duration::from_secs(3));
    let channel = builder.connect_lazy().unwrap();
    let held = Arc::new(Mutex::new(Vec::new()));
    let holding = Arc::clone(&held);
    network.serve(100, move |mut call| {
        let response = http::Response::builder().header("content-type", "application/grpc").body(()).unwrap();
        let body = call.respond.send_response(response, false).unwrap();
        holding.lock().unwrap().push((call, body));
    });
    let open = http_body_util::StreamBody::new(futures_util::stream::pending::<
        Result<http_body::Frame<Bytes>, tonic::Status>,
    >());
    let request = http::Request::post("/test.Test/Stream").body(tonic::body::Body::new(open)).unwrap();
    let response = tower_service::Service::call(&mut channel.clone(), request).await.unwrap();
    tokio::time::sleep(Duration::from_secs(4)).await;
    let (_, mut body) = held.lock().unwrap().pop().unwrap();
    let reset = tokio::time::timeout(Duration::from_secs(1), std::future::poll_fn(|cx| body.poll_reset(cx)));
    assert_eq!(reset.await.unwrap().unwrap(), h2::Reason::CANCEL);
    let end = http_body_util::BodyExt::collect(response.into_body()).await.unwrap_err();
    assert_eq!(end.code(), Code::DeadlineExceeded);
}
