//! When every backend is gone: calls fail soon and say why, and the first backend that is back is
//! found at once.

use std::time::Duration;

use meshless::Policy;
use meshless::balancing::BalancerConfig;
use tokio::time::{Instant, sleep};
use tonic::Code;

use super::network::*;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn the_first_backend_that_is_back_is_found_within_a_second() {
    for policy in Policy::ALL {
        let mut network = Network::new();
        let backends = [backend(1), backend(2), backend(3)];
        let config = BalancerConfig::new(policy);
        let channel = network.channel(&backends).balancer(config).connect_lazy().unwrap();
        backends.iter().for_each(|backend| network.set(*backend, Dial::Refuse));
        let switches = network.switches();
        network.serve(100, Call::answer);
        let down = Instant::now();
        while down.elapsed() < 60 * SECOND {
            let call = Instant::now();
            let status = check_within(&channel, 300 * MS).await.unwrap_err();
            assert_eq!(status.code(), Code::Unavailable, "{policy}: {status}");
            assert!(status.message().contains("connection refused"), "{policy}: {status}");
            assert!(call.elapsed() <= 300 * MS);
            sleep(50 * MS).await;
        }
        let dialled = switches.dialled();
        // Three endpoints four times a second, and their own attempts.
        assert!((60..=60 * 14).contains(&dialled), "{policy}: {dialled} connects in a minute");
        switches.set(backend(2), Dial::Open);
        let back = Instant::now();
        while check_within(&channel, 300 * MS).await.is_err() {
            sleep(10 * MS).await;
        }
        assert!(back.elapsed() < 500 * MS, "{policy}: {:?}", back.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn calls_that_wait_through_an_outage_are_placed_as_soon_as_it_ends() {
    let mut network = Network::new();
    let channel = network.channel(&[backend(1)]).wait_for_ready(true).connect_lazy().unwrap();
    network.set(backend(1), Dial::Refuse);
    let switches = network.switches();
    network.serve(100, Call::answer);
    let waiting = channel.clone();
    let call = tokio::spawn(async move { check(&waiting).await });
    sleep(60 * SECOND).await;
    switches.set(backend(1), Dial::Open);
    let back = Instant::now();
    call.await.unwrap().unwrap();
    assert!(back.elapsed() < SECOND, "{:?}", back.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_channel_that_nobody_calls_does_not_probe() {
    let mut network = Network::new();
    let channel = network.channel(&[backend(1)]).connect_lazy().unwrap();
    network.set(backend(1), Dial::Refuse);
    let switches = network.switches();
    check_within(&channel, SECOND).await.unwrap_err();
    sleep(600 * SECOND).await;
    assert!(switches.dialled() < 20, "{} connects in ten minutes", switches.dialled());
}

#[cfg(unix)]
#[tokio::test(start_paused = true)]
async fn a_process_without_file_descriptors_blames_no_backend_and_recovers_at_once() {
    for policy in Policy::ALL {
        let mut network = Network::new();
        let backends: Vec<_> = (1..=100).map(backend).collect();
        let config = BalancerConfig::new(policy);
        let channel = network.channel(&backends).balancer(config).connect_lazy().unwrap();
        backends.iter().for_each(|backend| network.set(*backend, Dial::NoDescriptor));
        let switches = network.switches();
        network.serve(100, Call::answer);
        let down = Instant::now();
        while down.elapsed() < 60 * SECOND {
            let status = check_within(&channel, 2 * SECOND).await.unwrap_err();
            let text = status.message();
            let names_it = text.contains("ulimit -n") || status.code() == Code::DeadlineExceeded;
            assert!(names_it, "{policy}: {status}");
            sleep(50 * MS).await;
        }
        assert!(switches.dialled() <= 61 * 100, "{policy}: {} connects", switches.dialled());
        backends.iter().for_each(|backend| switches.set(*backend, Dial::Open));
        sleep(1100 * MS).await;
        check_within(&channel, MS).await.unwrap_or_else(|status| panic!("{policy}: {status}"));
    }
}
