//! Calls beyond what the servers take at a time wait their turn, and none is forgotten.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use meshless::Channel;
use meshless::balancing::BalancerConfig;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;

use super::network::*;

const MAX_CONCURRENT_STREAMS: u16 = 3;
const TICK: Duration = Duration::from_millis(10);

fn connections(max: u32) -> BalancerConfig {
    BalancerConfig::default().connections_per_endpoint(NonZeroU32::new(max).unwrap())
}

fn call(channel: &Channel) -> JoinHandle<Result<(), Status>> {
    let channel = channel.clone();
    tokio::spawn(async move { check(&channel).await })
}

/// A handler that takes a tick per call, and notes how many calls it had at most at a time.
fn slow_handler() -> (Arc<AtomicUsize>, impl Fn(Call) + Clone + Send + 'static) {
    let (most, now) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let seen = Arc::clone(&most);
    let handler = move |call: Call| {
        seen.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
        let now = Arc::clone(&now);
        tokio::spawn(async move {
            tokio::time::sleep(TICK).await;
            now.fetch_sub(1, SeqCst);
            call.answer();
        });
    };
    (most, handler)
}

#[tokio::test(start_paused = true)]
async fn calls_are_placed_in_the_order_in_which_they_came() {
    for limit in 1..=10 {
        let mut network = Network::new();
        let channel = network.channel(&[backend(1)]).balancer(connections(1)).connect_lazy().unwrap();
        let order = Arc::new(Mutex::new(Vec::new()));
        let (most, handler) = slow_handler();
        let seen = Arc::clone(&order);
        network.serve(limit, move |call| {
            seen.lock().unwrap().push(call.header("n").unwrap().parse::<u32>().unwrap());
            handler(call);
        });
        let mut calls = JoinSet::new();
        for n in 0..50 {
            let channel = channel.clone();
            let mut request = Request::new(HealthCheckRequest::default());
            request.metadata_mut().insert("n", n.to_string().parse().unwrap());
            calls.spawn(async move { check_with(&channel, request).await.unwrap() });
        }
        calls.join_all().await;
        assert_eq!(*order.lock().unwrap(), (0..50).collect::<Vec<_>>(), "limit {limit}");
        assert_eq!(most.load(SeqCst), limit as usize);
        assert_eq!(in_flight(&channel).await, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_comes_back_at_once_does_not_starve_those_that_wait() {
    let mut network = Network::new();
    let channel = network.channel(&[backend(1)]).balancer(connections(1)).connect_lazy().unwrap();
    network.serve(1, slow_handler().1);
    check(&channel).await.unwrap();
    let busy = channel.clone();
    let busy = tokio::spawn(async move {
        loop {
            check(&busy).await.unwrap();
        }
    });
    settle().await;
    for _ in 0..10 {
        let start = Instant::now();
        check_within(&channel, 100 * TICK).await.unwrap();
        assert!(start.elapsed() <= 3 * TICK, "{:?}", start.elapsed());
    }
    busy.abort();
}

#[tokio::test(start_paused = true)]
async fn further_connections_are_made_up_to_their_number() {
    let mut network = Network::new();
    let channel = network.channel(&[backend(1)]).balancer(connections(3)).connect_lazy().unwrap();
    let (most, handler) = slow_handler();
    network.serve(2, handler);
    let calls: Vec<_> = (0..60).map(|_| call(&channel)).collect();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(most.load(SeqCst), 6);
    assert_eq!(channel.state().await.endpoints[0].connections_serving, 3);
}

#[tokio::test(start_paused = true)]
async fn settings_that_raise_the_limit_let_all_in_for_whom_there_is_room() {
    let mut network = Network::new();
    let channel = network.channel(&[backend(1)]).balancer(connections(1)).connect_lazy().unwrap();
    let calls: Vec<_> = (0..8).map(|_| call(&channel)).collect();
    let mut peer = network.accept_raw(&[(MAX_CONCURRENT_STREAMS, 1)]).await;
    let mut streams = vec![peer.expect_request().await];
    peer.settings(&[(MAX_CONCURRENT_STREAMS, 6)]).await;
    // Five more at once, although no call has ended.
    for _ in 0..5 {
        streams.push(peer.expect_request().await);
    }
    peer.settings(&[(MAX_CONCURRENT_STREAMS, 1)]).await;
    settle().await;
    for stream in streams {
        peer.answer(stream, SERVING).await;
        settle().await;
    }
    for _ in 0..2 {
        let stream = peer.expect_request().await;
        assert_eq!(in_flight(&channel).await, 1, "the smaller limit counts");
        peer.answer(stream, SERVING).await;
    }
    for call in calls {
        call.await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_gives_up_waiting_hands_its_turn_on() {
    let mut network = Network::new();
    let channel = network.channel(&[backend(1)]).balancer(connections(1)).connect_lazy().unwrap();
    let first = call(&channel);
    let mut peer = network.accept_raw(&[(MAX_CONCURRENT_STREAMS, 1)]).await;
    let stream = peer.expect_request().await;
    let second = channel.clone();
    let second = tokio::spawn(async move { check_within(&second, TICK).await });
    settle().await;
    let third = call(&channel);
    let status = second.await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    let expected = "ipv4:10.0.0.1:50051: the deadline passed while every connection carried as many calls as its server allows";
    assert_eq!(status.message(), expected);
    peer.answer(stream, SERVING).await;
    first.await.unwrap().unwrap();
    let stream = peer.expect_request().await;
    peer.answer(stream, SERVING).await;
    third.await.unwrap().unwrap();
    // The line is empty, and whoever comes by is placed.
    let fourth = call(&channel);
    let stream = peer.expect_request().await;
    peer.answer(stream, SERVING).await;
    fourth.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_wake_up_is_lost_in_a_storm() {
    let mut network = Network::new();
    let channel = network.channel(&[backend(1), backend(2)]).balancer(connections(1)).connect_lazy().unwrap();
    network.serve(1, Call::answer);
    let mut calls = JoinSet::new();
    for n in 0..2000_u64 {
        let channel = channel.clone();
        calls.spawn(async move {
            match n % 8 {
                // Given up while it waits, while it is placed, or while it runs.
                0 => drop(tokio::time::timeout(Duration::from_micros(n * 50), check(&channel)).await),
                _ => check(&channel).await.unwrap(),
            }
        });
    }
    let all = tokio::time::timeout(Duration::from_secs(60), calls.join_all());
    let finished = all.await.is_ok();
    assert!(finished, "{:?}", channel.state().await);
    assert_eq!(in_flight(&channel).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_wake_up_is_lost_where_the_room_comes_back_after_the_call() {
    // The response ends while the request is still being sent: its stream is let go of by another
    // task, later.
    let mut network = Network::new();
    let channel = network.channel(&[backend(1)]).balancer(connections(1)).connect_lazy().unwrap();
    network.serve(3, Call::answer);
    let mut calls = JoinSet::new();
    for _ in 0..500 {
        calls.spawn(streaming(&channel, vec![Bytes::from_static(b"part")]));
    }
    let all = tokio::time::timeout(Duration::from_secs(60), calls.join_all());
    let Ok(results) = all.await else { panic!("{:?}", channel.state().await) };
    results.into_iter().for_each(|result| result.unwrap().unwrap());
    assert_eq!(in_flight(&channel).await, 0);
}
