//! Backends that keep their connections and say nothing: what calls notice of it, and for how long.

use std::time::Duration;

use meshless::balancing::BalancerConfig;
use meshless::{Channel, Policy};
use tokio::time::{Instant, sleep};
use tonic::Code;

use super::network::*;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// When the calls that failed were made, counted from now: one call every 10 ms, each with a
/// deadline of 300 ms.
async fn failures(channel: &Channel, lasts: Duration) -> Vec<Duration> {
    let start = Instant::now();
    let mut calls = Vec::new();
    while start.elapsed() < lasts {
        let (channel, made) = (channel.clone(), start.elapsed());
        calls.push(tokio::spawn(async move { (made, check_within(&channel, 300 * MS).await) }));
        sleep(10 * MS).await;
    }
    let mut failed = Vec::new();
    for call in calls {
        let (made, result) = call.await.unwrap();
        if let Err(status) = result {
            assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
            failed.push(made);
        }
    }
    failed
}

#[tokio::test(start_paused = true)]
async fn calls_leave_a_silent_backend_within_two_seconds() {
    for policy in [Policy::RoundRobin, Policy::LeastRequest, Policy::PeakEwma] {
        // A black hole does not even connect; a process that stands still does, by its kernel.
        for redial in [Dial::Silent, Dial::Mute] {
            let mut network = Network::new();
            let backends = [backend(1), backend(2), backend(3)];
            let config = BalancerConfig::new(policy);
            let channel = network.channel(&backends).balancer(config).connect_lazy().unwrap();
            let switches = network.switches();
            network.serve(100, Call::answer);
            assert!(failures(&channel, 2 * SECOND).await.is_empty());
            switches.set(backend(2), redial);
            switches.cut(backend(2));
            let failed = failures(&channel, 10 * SECOND).await;
            assert!(!failed.is_empty(), "{policy}, {redial:?}: the calls under way have no other way");
            assert!(failed.iter().all(|made| *made < 2 * SECOND), "{policy}, {redial:?}: {failed:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_line_that_was_cut_is_replaced_though_it_is_the_only_one() {
    for policy in Policy::ALL {
        let mut network = Network::new();
        let channel =
            network.channel(&[backend(1)]).balancer(BalancerConfig::new(policy)).connect_lazy().unwrap();
        let switches = network.switches();
        network.serve(100, Call::answer);
        assert!(failures(&channel, SECOND).await.is_empty());
        switches.cut(backend(1));
        let failed = failures(&channel, 10 * SECOND).await;
        assert!(!failed.is_empty() && failed.iter().all(|made| *made < 2 * SECOND), "{policy}: {failed:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_is_slow_keeps_its_calls_and_its_connection() {
    let mut network = Network::new();
    let channel = network.channel(&[backend(1), backend(2)]).connect_lazy().unwrap();
    let switches = network.switches();
    network.serve(100, |call| {
        tokio::spawn(async move {
            sleep(7 * SECOND).await;
            call.answer();
        });
    });
    let calls: Vec<_> = (0..20)
        .map(|_| {
            let channel = channel.clone();
            tokio::spawn(async move { check(&channel).await })
        })
        .collect();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(switches.dialled(), 2, "no connection was doubted");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_accepts_and_says_nothing_never_becomes_ready() {
    let mut network = Network::new();
    network.set(backend(1), Dial::Mute);
    let channel = network.channel(&[backend(1), backend(2)]).connect_lazy().unwrap();
    network.serve(100, Call::answer);
    assert!(failures(&channel, 5 * SECOND).await.is_empty(), "the other one answers");
    let state = channel.state().await;
    assert_eq!(state.endpoints[0].connections_serving, 0, "{state:?}");
}
