//! Retries by a policy (gRFC A6): what is sent again, where and when, and what the caller is told.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use meshless::retry::Code as MeshlessCode;
use meshless::{Channel, Retry, RetryPolicy, RetryThrottling};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tonic::{Code, Request};
use tonic_health::pb::HealthCheckRequest;

use super::network::*;
use meshless_testkit::raw_peer::RawPeer;

const SECOND: Duration = Duration::from_secs(1);

/// Pauses that a test can tell apart from none.
fn policy() -> RetryPolicy {
    RetryPolicy::unavailable().with_backoff(10 * SECOND, 10 * SECOND, 1.0).unwrap()
}

/// A backend for every call of a channel with this policy.
fn served(policy: RetryPolicy, handler: impl Fn(Call) + Clone + Send + 'static) -> Channel {
    let mut network = Network::new();
    let channel =
        network.channel(&[backend(1), backend(2), backend(3)]).retry(policy).connect_lazy().unwrap();
    network.serve(100, handler);
    channel
}

/// Counts calls, and refuses the first `refused` of them with `pushback`.
fn refusing(
    refused: usize,
    pushback: Option<&'static str>,
) -> (Arc<AtomicUsize>, impl Fn(Call) + Clone + Send + 'static) {
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&calls);
    let handler = move |call: Call| {
        if counter.fetch_add(1, SeqCst) < refused {
            let pushback = pushback.map(|ms| ("grpc-retry-pushback-ms", ms));
            call.refuse(Code::Unavailable, "not now", pushback);
        } else {
            call.answer();
        }
    };
    (calls, handler)
}

/// Two backends: the first by hand, the second answers every call.
async fn two(network: &mut Network) -> RawPeer<tokio::io::DuplexStream> {
    let mut by_hand = None;
    for _ in 0..2 {
        let (address, io) = network.accept().await;
        if address == meshless::resolver::Address::Tcp(backend(1)) {
            by_hand = Some(RawPeer::accept(io, &[]).await);
        } else {
            tokio::spawn(serve(io, address, 1000, Call::answer));
        }
    }
    by_hand.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_is_killed_loses_none_of_hundreds_of_calls() {
    let mut network = Network::new();
    let builder = network.channel(&[backend(1), backend(2)]).retry(RetryPolicy::unavailable());
    let channel = builder.connect_lazy().unwrap();
    let mut calls = JoinSet::new();
    let warm_up = tokio::spawn({
        let channel = channel.clone();
        async move { check(&channel).await }
    });
    let mut killed = two(&mut network).await;
    settle().await;
    for _ in 0..600 {
        let channel = channel.clone();
        calls.spawn(async move { check(&channel).await });
    }
    let mut taken = 0;
    while taken < 300 {
        killed.expect_request().await;
        taken += 1;
    }
    network.set(backend(1), Dial::Refuse);
    drop(killed);
    while let Some(result) = calls.join_next().await {
        result.unwrap().unwrap();
    }
    warm_up.await.unwrap().unwrap();
    let stats = channel.retry_stats();
    assert!((300..=301).contains(&stats.retries), "{stats:?}");
    assert!(stats.throttle_tokens.is_some_and(|tokens| tokens < 1000.0), "{stats:?}");
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_tried_on_another_backend() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let channel = served(RetryPolicy::unavailable(), move |call| {
        log.lock().unwrap().push((call.backend.clone(), call.header("grpc-previous-rpc-attempts")));
        if call.backend == meshless::resolver::Address::Tcp(backend(1)) {
            call.refuse(Code::Unavailable, "not now", Some(("grpc-retry-pushback-ms", "0")));
        } else {
            call.answer();
        }
    });
    for _ in 0..9 {
        check(&channel).await.unwrap();
    }
    let seen = seen.lock().unwrap();
    let refused = seen.iter().filter(|(address, _)| *address == meshless::resolver::Address::Tcp(backend(1)));
    let refused: Vec<_> = refused.map(|(_, previous)| previous.clone()).collect();
    assert!(!refused.is_empty() && refused.iter().all(Option::is_none), "no attempt came back: {refused:?}");
    let again = seen.iter().filter(|(_, previous)| previous.as_deref() == Some("1")).count();
    assert_eq!((again, channel.retry_stats().retries), (refused.len(), refused.len() as u64));
}

#[tokio::test(start_paused = true)]
async fn the_pause_follows_the_policy_and_the_last_status_is_the_server_s_own() {
    let (calls, handler) = refusing(usize::MAX, None);
    let channel = served(policy(), handler);
    let start = Instant::now();
    let status = check(&channel).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Unavailable, "not now"));
    assert_eq!(calls.load(SeqCst), 4);
    assert!((24 * SECOND..=36 * SECOND).contains(&start.elapsed()), "three pauses of 10 s ± 20 %");
    // The clock of a test ticks in milliseconds.
    assert_eq!(
        channel.retry_stats().retry_delay.as_secs_f64().round(),
        start.elapsed().as_secs_f64().round()
    );
}

#[tokio::test(start_paused = true)]
async fn the_server_names_the_pause() {
    let (calls, handler) = refusing(1, Some("5000"));
    let channel = served(policy(), handler);
    let start = Instant::now();
    check(&channel).await.unwrap();
    assert_eq!((calls.load(SeqCst), start.elapsed().as_secs()), (2, 5));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_objects_is_not_tried_again() {
    for objection in ["-1", "never"] {
        let (calls, handler) = refusing(usize::MAX, Some(objection));
        let status = check(&served(policy(), handler)).await.unwrap_err();
        assert_eq!((status.message(), calls.load(SeqCst)), ("not now", 1));
    }
}

#[tokio::test(start_paused = true)]
async fn codes_that_the_policy_does_not_list_are_final() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&calls);
    let channel = served(policy(), move |call| {
        counter.fetch_add(1, SeqCst);
        call.refuse(Code::Internal, "broken", None);
    });
    let status = check(&channel).await.unwrap_err();
    assert_eq!((status.code(), calls.load(SeqCst)), (Code::Internal, 1));
}

#[tokio::test(start_paused = true)]
async fn a_response_that_has_begun_is_committed() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&calls);
    let channel = served(policy(), move |call| {
        counter.fetch_add(1, SeqCst);
        call.fail_after_headers(Code::Unavailable);
    });
    assert_eq!(check(&channel).await.unwrap_err().code(), Code::Unavailable);
    let stats = channel.retry_stats();
    assert_eq!((calls.load(SeqCst), stats.retries), (1, 0));
    assert_eq!(stats.throttle_tokens, Some(999.0), "but it counts against the throttle");
}

#[tokio::test(start_paused = true)]
async fn no_pause_outlasts_the_deadline() {
    let (calls, handler) = refusing(usize::MAX, None);
    let channel = served(policy(), handler);
    let start = Instant::now();
    let status = check_within(&channel, 2 * SECOND).await.unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (Code::Unavailable, "not now"),
        "at once, with what is known"
    );
    assert_eq!((calls.load(SeqCst), start.elapsed().as_secs()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn one_call_can_do_without_or_bring_its_own() {
    let (calls, handler) = refusing(3, None);
    let channel = served(policy(), handler);
    let with = |retry| {
        let mut request = Request::new(HealthCheckRequest::default());
        request.extensions_mut().insert(retry);
        request
    };
    assert!(check_with(&channel, with(Retry::by(None))).await.is_err());
    assert_eq!(calls.load(SeqCst), 1);
    let two = RetryPolicy::new(2, [MeshlessCode::Unavailable]).unwrap();
    assert!(check_with(&channel, with(Retry::by(two))).await.is_err());
    assert_eq!(calls.load(SeqCst), 3);
}

#[tokio::test(start_paused = true)]
async fn the_throttle_ends_retries_while_most_calls_fail() {
    let mut network = Network::new();
    let throttling = RetryThrottling::new(10, 0.5).unwrap();
    let builder = network.channel(&[backend(1)]).retry(RetryPolicy::unavailable()).retry_throttle(throttling);
    let channel = builder.connect_lazy().unwrap();
    let calls = Arc::new(AtomicUsize::new(0));
    let (counter, healthy) = (Arc::clone(&calls), Arc::new(AtomicUsize::new(0)));
    let is_healthy = Arc::clone(&healthy);
    network.serve(100, move |call| {
        counter.fetch_add(1, SeqCst);
        match is_healthy.load(SeqCst) {
            0 => call.refuse(Code::Unavailable, "not now", None),
            _ => call.answer(),
        }
    });
    for _ in 0..20 {
        assert!(check(&channel).await.is_err());
    }
    assert_eq!(
        calls.load(SeqCst),
        23,
        "9, 8 and 7 tokens paid for a retry each, 6 for the last attempt of its call"
    );
    assert_eq!(channel.retry_stats().throttle_tokens, Some(0.0));
    healthy.store(1, SeqCst);
    for _ in 0..12 {
        check(&channel).await.unwrap();
    }
    assert_eq!(channel.retry_stats().throttle_tokens, Some(6.0), "successes fill it");
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_takes_too_long_is_given_up() {
    let held = Arc::new(Mutex::new(Vec::new()));
    let holding = Arc::clone(&held);
    let policy = RetryPolicy::unavailable().with_per_attempt_timeout(SECOND).unwrap();
    let channel = served(policy, move |call| {
        let mut held = holding.lock().unwrap();
        if held.is_empty() {
            held.push(call);
        } else {
            call.answer();
        }
    });
    let start = Instant::now();
    check(&channel).await.unwrap();
    assert_eq!(start.elapsed().as_secs(), 1);
    settle().await;
    let mut call = held.lock().unwrap().pop().unwrap();
    let reset = std::future::poll_fn(|cx| call.respond.poll_reset(cx)).await.unwrap();
    assert_eq!(reset, h2::Reason::CANCEL, "the server is told");
}

#[tokio::test(start_paused = true)]
async fn a_failure_names_every_attempt() {
    let mut network = Network::new();
    let two = RetryPolicy::new(2, [MeshlessCode::Unavailable]).unwrap();
    let channel = network.channel(&[backend(1), backend(2)]).retry(two).connect_lazy().unwrap();
    let call = tokio::spawn({
        let channel = channel.clone();
        async move { check(&channel).await }
    });
    let mut peers = Vec::new();
    for _ in 0..2 {
        let (address, io) = network.accept().await;
        peers.push((address, RawPeer::accept(io, &[]).await));
    }
    for (address, _) in &peers {
        let meshless::resolver::Address::Tcp(address) = address else { panic!("a socket address") };
        network.set(*address, Dial::Refuse);
    }
    // The first to be called dies at once, then the other.
    let mut deaths = JoinSet::new();
    for (address, mut peer) in peers {
        deaths.spawn(async move {
            peer.expect_request().await;
            address
        });
    }
    let mut order = Vec::new();
    while let Some(address) = deaths.join_next().await {
        order.push(address.unwrap());
    }
    let status = call.await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    let message = status.message();
    let (first, second) = message.split_once("; ").unwrap();
    assert!(
        first.starts_with(&format!("after 2 attempts: {}: the connection was lost: ", order[0])),
        "{message}"
    );
    assert!(second.starts_with(&format!("{}: the connection was lost: ", order[1])), "{message}");
}

#[tokio::test(start_paused = true)]
async fn the_deadline_s_status_tells_what_came_before() {
    let held = Arc::new(Mutex::new(Vec::new()));
    let calls = Arc::new(AtomicUsize::new(0));
    let (holding, counter) = (Arc::clone(&held), Arc::clone(&calls));
    let channel = served(RetryPolicy::unavailable(), move |call| match counter.fetch_add(1, SeqCst) {
        0 => call.refuse(Code::Unavailable, "not now", None),
        _ => holding.lock().unwrap().push(call),
    });
    let status = check_within(&channel, SECOND).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    let message = status.message();
    assert!(message.contains(" worked on the call (after 1 failed attempt: 10.0.0."), "{message}");
    assert!(message.ends_with(":50051: UNAVAILABLE: not now)"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_sent_again_from_its_beginning() {
    let received = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&received);
    let channel = served(RetryPolicy::unavailable(), move |mut call| {
        let log = Arc::clone(&log);
        tokio::spawn(async move {
            let first = call.request.body_mut().data().await.unwrap().unwrap();
            let attempt = {
                let mut log = log.lock().unwrap();
                log.push(first);
                log.len()
            };
            if attempt == 1 { call.refuse(Code::Unavailable, "not now", None) } else { call.answer() }
        });
    });
    let message = Bytes::from_static(b"\0\0\0\0\x02hi");
    streaming(&channel, vec![message.clone()]).await.unwrap().unwrap();
    assert_eq!(*received.lock().unwrap(), [message.clone(), message]);
}

#[tokio::test(start_paused = true)]
async fn no_reachable_backend_is_an_attempt_that_failed() {
    let mut network = Network::new();
    network.set(backend(1), Dial::Refuse);
    let channel = network.channel(&[backend(1)]).retry(policy()).connect_lazy().unwrap();
    let call = tokio::spawn({
        let channel = channel.clone();
        async move { check(&channel).await }
    });
    tokio::time::sleep(SECOND).await;
    network.set(backend(1), Dial::Open);
    network.serve(100, Call::answer);
    call.await.unwrap().unwrap();
    assert_eq!(channel.retry_stats().retries, 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_too_long_to_be_kept_says_so() {
    let mut network = Network::new();
    let channel = network.channel(&[backend(1), backend(2)]).retry(policy()).connect_lazy().unwrap();
    network.serve(100, |mut call| {
        tokio::spawn(async move {
            // Enough to know that the request is on its way, and then no more.
            let _ = call.request.body_mut().data().await;
            call.respond.send_reset(h2::Reason::REFUSED_STREAM);
        });
    });
    let long = Bytes::from(vec![0; 5 << 20]);
    let body = tonic::body::Body::new(http_body_util::Full::new(long));
    let request = http::Request::post("/test.Test/Unary").body(body).unwrap();
    let status = tower_service::Service::call(&mut channel.clone(), request).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(
        status.message().ends_with("(not sent again: the request cannot be sent a second time)"),
        "{status}"
    );
}
