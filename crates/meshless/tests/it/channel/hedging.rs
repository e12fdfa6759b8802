//! Hedged calls (gRFC A6): several attempts at a time, of which the first answer counts.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use meshless::resolver::Address;
use meshless::retry::Code as MeshlessCode;
use meshless::{Channel, HedgingPolicy, Policy, RetryThrottling};
use tokio::time::Instant;
use tonic::Code;

use super::network::*;

const SECOND: Duration = Duration::from_secs(1);

/// What the backends have taken and not answered.
type Held = Arc<Mutex<Vec<Call>>>;

fn policy() -> HedgingPolicy {
    HedgingPolicy::new(3, SECOND).unwrap().with_non_fatal([MeshlessCode::Unavailable])
}

fn served(policy: HedgingPolicy, handler: impl Fn(Call) + Clone + Send + 'static) -> Channel {
    let mut network = Network::new();
    let backends = [backend(1), backend(2), backend(3)];
    let channel = network.channel(&backends).hedging(policy).connect_lazy().unwrap();
    network.serve(100, handler);
    channel
}

/// Holds the first `n` calls, and does `then` with the others.
fn holding(n: usize, then: fn(Call)) -> (Held, impl Fn(Call) + Clone + Send + 'static) {
    let held = Held::default();
    let holding = Arc::clone(&held);
    let handler = move |call| {
        let mut held = holding.lock().unwrap();
        if held.len() < n { held.push(call) } else { then(call) }
    };
    (held, handler)
}

async fn is_cancelled(call: &mut Call) -> bool {
    std::future::poll_fn(|cx| call.respond.poll_reset(cx)).await.unwrap() == h2::Reason::CANCEL
}

#[tokio::test(start_paused = true)]
async fn a_slow_backend_is_overtaken_and_told_to_stop() {
    let (held, handler) = holding(1, Call::answer);
    let channel = served(policy(), handler);
    let start = Instant::now();
    check_within(&channel, 10 * SECOND).await.unwrap();
    assert_eq!(start.elapsed().as_secs(), 1);
    settle().await;
    let mut slow = held.lock().unwrap().pop().unwrap();
    assert!(is_cancelled(&mut slow).await);
    assert_eq!(channel.retry_stats().hedges, 1);
    assert_eq!(in_flight(&channel).await, 0);
}

#[tokio::test(start_paused = true)]
async fn attempts_go_to_different_backends_and_say_how_many_came_before() {
    let (held, handler) = holding(3, Call::answer);
    let channel = served(policy(), handler);
    let status = check_within(&channel, 5 * SECOND).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    let held = held.lock().unwrap();
    let previous: Vec<_> = held.iter().map(|call| call.header("grpc-previous-rpc-attempts")).collect();
    assert_eq!(previous, [None, Some("1".to_owned()), Some("2".to_owned())]);
    let mut backends: Vec<_> = held.iter().map(|call| call.backend.to_string()).collect();
    backends.sort();
    backends.dedup();
    assert_eq!(backends.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn the_wait_for_a_backend_starts_no_hedge() {
    let mut network = Network::new();
    let channel = network.channel(&[backend(1), backend(2)]).hedging(policy()).connect_lazy().unwrap();
    let call = tokio::spawn({
        let channel = channel.clone();
        async move { check(&channel).await }
    });
    tokio::time::sleep(5 * SECOND).await;
    let (_held, handler) = holding(1, Call::answer);
    network.serve(100, handler);
    let start = Instant::now();
    call.await.unwrap().unwrap();
    assert_eq!(start.elapsed(), SECOND, "the delay counts from when the call was placed");
    assert_eq!(channel.retry_stats().hedges, 1);
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_is_not_fatal_starts_the_next_at_once() {
    let (held, handler) = holding(0, Call::answer);
    let refused = Arc::new(Mutex::new(false));
    let channel = served(policy(), move |call| {
        if std::mem::replace(&mut *refused.lock().unwrap(), true) {
            handler(call);
        } else {
            call.refuse(Code::Unavailable, "not now", None);
        }
    });
    let start = Instant::now();
    check(&channel).await.unwrap();
    assert_eq!((start.elapsed(), held.lock().unwrap().len()), (Duration::ZERO, 0));
}

#[tokio::test(start_paused = true)]
async fn any_other_failure_ends_the_call() {
    let (held, handler) = holding(1, |call| call.refuse(Code::Internal, "broken", None));
    let channel = served(policy(), handler);
    let status = check(&channel).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Internal, "broken"));
    settle().await;
    let mut slow = held.lock().unwrap().pop().unwrap();
    assert!(is_cancelled(&mut slow).await);
}

#[tokio::test(start_paused = true)]
async fn when_all_fail_the_last_failure_is_the_call_s() {
    let channel = served(policy(), |call| call.refuse(Code::Unavailable, "not now", None));
    let status = check(&channel).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Unavailable, "not now"));
    let stats = channel.retry_stats();
    assert_eq!((stats.hedges, stats.throttle_tokens), (2, Some(997.0)));
}

#[tokio::test(start_paused = true)]
async fn the_throttle_stops_hedges() {
    let mut network = Network::new();
    let throttling = RetryThrottling::new(2, 0.1).unwrap();
    let builder = network.channel(&[backend(1), backend(2)]).hedging(policy()).retry_throttle(throttling);
    let channel = builder.connect_lazy().unwrap();
    network.serve(100, |call| call.refuse(Code::Unavailable, "not now", None));
    for _ in 0..5 {
        assert!(check(&channel).await.is_err());
    }
    assert_eq!(channel.retry_stats().hedges, 0, "the first failure brought the bucket to half");
}

#[tokio::test(start_paused = true)]
async fn a_streaming_request_is_sent_once() {
    let (held, handler) = holding(2, Call::answer);
    let channel = served(policy(), handler);
    let call = streaming(&channel, vec![Bytes::from_static(b"\0\0\0\0\x01a")]);
    tokio::time::sleep(10 * SECOND).await;
    let first = held.lock().unwrap().pop().unwrap();
    assert!(held.lock().unwrap().is_empty());
    first.answer();
    call.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_hangs_loses_its_calls_though_hedges_hide_it() {
    let mut network = Network::new();
    let backends = [backend(1), backend(2), backend(3)];
    let builder = network.channel(&backends).hedging(policy()).policy(Policy::PeakEwma);
    let channel = builder.connect_lazy().unwrap();
    let held = Held::default();
    let holding = Arc::clone(&held);
    network.serve(100, move |call| {
        if call.backend == Address::Tcp(backend(1)) {
            holding.lock().unwrap().push(call)
        } else {
            call.answer()
        }
    });
    settle().await;
    for _ in 0..200 {
        check_within(&channel, 10 * SECOND).await.unwrap();
    }
    let hedges = channel.retry_stats().hedges;
    assert!((1..=3).contains(&hedges), "{hedges}: a third of the calls would go there first");
    assert_eq!(held.lock().unwrap().len() as u64, hedges);
    assert!(channel.state().await.endpoints.iter().all(|endpoint| endpoint.ejection.is_none()));
    assert_eq!(in_flight(&channel).await, 0);
}
