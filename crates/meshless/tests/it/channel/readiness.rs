//! Calls while no backend can be reached: who fails, who waits, and what they are told.

use std::num::NonZeroU32;
use std::time::Duration;

use meshless::WaitForReady;
use meshless::balancing::{BackoffConfig, BalancerConfig};
use meshless::client::{ConnectivityState, SubchannelState};
use tokio::time::Instant;
use tonic::{Code, Request};
use tonic_health::pb::HealthCheckRequest;

use super::network::*;

const SECOND: Duration = Duration::from_secs(1);

fn waiting(wait: bool) -> Request<HealthCheckRequest> {
    let mut request = Request::new(HealthCheckRequest::default());
    request.extensions_mut().insert(WaitForReady(wait));
    request
}

#[tokio::test(start_paused = true)]
async fn calls_fail_at_once_and_name_what_is_wrong_with_each_endpoint() {
    let mut network = Network::new();
    network.set(backend(1), Dial::Refuse);
    network.set(backend(2), Dial::Panic);
    let channel = network.channel(&[backend(1), backend(2)]).connect_lazy().unwrap();
    let start = Instant::now();
    for _ in 0..2 {
        let status = check(&channel).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable);
        assert_eq!(
            status.message(),
            "ipv4:10.0.0.1:50051,10.0.0.2:50051: no endpoint can be reached: \
             10.0.0.1:50051: cannot connect: connection refused; \
             10.0.0.2:50051: cannot connect: the connector panicked"
        );
    }
    assert!(start.elapsed() < SECOND / 10, "{:?}", start.elapsed());
    let state = channel.state().await;
    assert_eq!(state.connectivity, ConnectivityState::TransientFailure);
    let states: Vec<_> = state.endpoints.iter().map(|endpoint| endpoint.state).collect();
    assert_eq!(states, [SubchannelState::TransientFailure; 2]);
}

#[tokio::test(start_paused = true)]
async fn calls_that_wait_for_ready_are_sent_when_the_backend_appears() {
    for on_channel in [false, true] {
        let mut network = Network::new();
        network.set(backend(1), Dial::Refuse);
        let channel = network.channel(&[backend(1)]).wait_for_ready(on_channel).connect_lazy().unwrap();
        let status = check_with(&channel, waiting(false)).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable);
        let calls: Vec<_> = (0..3)
            .map(|_| {
                let channel = channel.clone();
                tokio::spawn(async move { check_with(&channel, waiting(true)).await })
            })
            .collect();
        tokio::time::sleep(5 * SECOND).await;
        assert!(calls.iter().all(|call| !call.is_finished()));
        // Those that do not wait are not held up by those that do.
        let start = Instant::now();
        assert_eq!(check_with(&channel, waiting(false)).await.unwrap_err().code(), Code::Unavailable);
        assert!(start.elapsed().is_zero());
        network.set(backend(1), Dial::Open);
        network.serve(100, Call::answer);
        for call in calls {
            call.await.unwrap().unwrap();
        }
        assert!(start.elapsed() < 10 * SECOND, "within the backoff");
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_reaches_a_call_in_the_middle_of_the_line() {
    let mut network = Network::new();
    network.set(backend(1), Dial::Silent);
    let channel = network.channel(&[backend(1)]).connect_timeout(SECOND).connect_lazy().unwrap();
    let head = channel.clone();
    let patient = tokio::spawn(async move { check_with(&head, waiting(true)).await });
    settle().await;
    let start = Instant::now();
    let status = check(&channel).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().ends_with("cannot connect: no connection within 1s"), "{status}");
    assert_eq!(start.elapsed().as_secs(), 1, "the connect timeout that was set, and not a longer one");
    assert!(!patient.is_finished());
    patient.abort();
}

#[tokio::test(start_paused = true)]
async fn more_calls_than_may_wait_are_refused() {
    let mut network = Network::new();
    network.set(backend(1), Dial::Silent);
    let channel = network.channel(&[backend(1)]).waiting_calls_max(2).connect_lazy().unwrap();
    let waiting: Vec<_> = (0..2)
        .map(|_| {
            let channel = channel.clone();
            tokio::spawn(async move { check(&channel).await })
        })
        .collect();
    settle().await;
    let status = check(&channel).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.message().contains("2 calls wait for a backend already"), "{status}");
    waiting.iter().for_each(|call| call.abort());
    settle().await;
    let status = check_within(&channel, SECOND).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded, "cancelled calls do not count: {status}");
}

#[tokio::test(start_paused = true)]
async fn connect_waits_for_one_backend_and_says_what_was_wrong_with_all() {
    let mut network = Network::new();
    network.set(backend(1), Dial::Refuse);
    let building = tokio::spawn(network.channel(&[backend(1), backend(2)]).connect());
    network.serve(100, Call::answer);
    check(&building.await.unwrap().unwrap()).await.unwrap();

    let mut network = Network::new();
    network.set(backend(1), Dial::Refuse);
    network.set(backend(2), Dial::Silent);
    let start = Instant::now();
    let building = network.channel(&[backend(1), backend(2)]).connect_timeout(3 * SECOND).connect();
    let error = building.await.unwrap_err().to_string();
    assert_eq!(start.elapsed().as_secs(), 3);
    assert!(error.contains("10.0.0.1:50051: cannot connect: connection refused; "), "{error}");
    assert!(error.ends_with("10.0.0.2:50051: cannot connect: no connection within 3s"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn an_unused_channel_lets_its_connections_go_and_connects_again() {
    let mut network = Network::new();
    let channel = network.channel(&[backend(1)]).idle_timeout(Some(60 * SECOND)).connect_lazy().unwrap();
    network.serve(100, Call::answer);
    check(&channel).await.unwrap();
    tokio::time::sleep(121 * SECOND).await;
    let state = channel.state().await;
    assert_eq!(state.connectivity, ConnectivityState::Idle);
    assert!(state.endpoints.iter().all(|endpoint| endpoint.connections_serving == 0));
    check(&channel).await.unwrap();
    assert_eq!(channel.state().await.connectivity, ConnectivityState::Ready);
}

#[test]
fn a_channel_whose_runtime_has_ended_fails_its_calls() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (first, second) = (runtime(), runtime());
    let channel = first.block_on(async {
        let mut network = Network::new();
        let channel = network.channel(&[backend(1)]).connect_lazy().unwrap();
        network.serve(100, Call::answer);
        check(&channel).await.unwrap();
        channel
    });
    drop(first);
    second.block_on(async {
        let status = check_within(&channel, 10 * SECOND).await.unwrap_err();
        assert_eq!(status.code(), Code::Unavailable);
        assert!(status.message().contains("ended together with the tokio runtime"), "{status}");
        assert_eq!(channel.state().await.endpoints.len(), 1);
    });
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_was_gone_for_an_hour_is_found_within_the_longest_backoff() {
    let mut network = Network::new();
    network.set(backend(1), Dial::Refuse);
    let backoff = BackoffConfig::new(SECOND, 1.6, 0.2, 120 * SECOND).unwrap();
    let balancer = BalancerConfig::default().backoff(backoff).connections_per_endpoint(NonZeroU32::MIN);
    let builder = network.channel(&[backend(1)]).balancer(balancer).idle_timeout(None);
    let channel = builder.wait_for_ready(true).connect_lazy().unwrap();
    let status = check_within(&channel, 3600 * SECOND).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    network.set(backend(1), Dial::Open);
    tokio::time::sleep(150 * SECOND).await;
    assert_ne!(network.connections_waiting(), 0);
}
