//! Backends that fail calls, with connections that stay open: the channel leaves them alone, and
//! comes back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use meshless::Policy;
use meshless::balancing::{EjectionCause, EjectionConfig};
use meshless::resolver::Address;
use tonic::Code;

use super::network::*;

const SECOND: Duration = Duration::from_secs(1);

/// Ends the call with UNAVAILABLE, at once and without a message.
fn refuse(mut call: Call) {
    let response = http::Response::builder()
        .header("content-type", "application/grpc")
        .header("grpc-status", "14")
        .body(())
        .unwrap();
    let _ = call.respond.send_response(response, true);
}

/// Ten backends, of which the fourth fails while the flag is set; and how many calls it saw.
fn ten_backends(network: Network) -> (Arc<AtomicBool>, Arc<AtomicU32>) {
    let (broken, seen) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicU32::new(0)));
    let (is_broken, counter) = (Arc::clone(&broken), Arc::clone(&seen));
    network.serve(1000, move |call| {
        if call.backend != Address::Tcp(backend(4)) {
            return call.answer();
        }
        counter.fetch_add(1, Ordering::Relaxed);
        if is_broken.load(Ordering::Relaxed) { refuse(call) } else { call.answer() }
    });
    (broken, seen)
}

#[tokio::test(start_paused = true)]
async fn one_backend_that_fails_at_once_costs_few_calls_and_comes_back() {
    for policy in [Policy::RoundRobin, Policy::LeastRequest, Policy::PeakEwma] {
        let mut network = Network::new();
        let backends: Vec<_> = (1..=10).map(backend).collect();
        let channel = network.channel(&backends).policy(policy).connect_lazy().unwrap();
        let (broken, seen) = ten_backends(network);
        while channel.state().await.endpoints.iter().any(|endpoint| endpoint.connections_serving == 0) {
            let _ = check(&channel).await;
            tokio::time::sleep(SECOND / 100).await;
        }
        let mut failed = [0; 10];
        for (second, failed) in failed.iter_mut().enumerate() {
            for _ in 0..200 {
                if let Err(status) = check(&channel).await {
                    assert_eq!(status.code(), Code::Unavailable, "{policy}, second {second}");
                    *failed += 1;
                }
                tokio::time::sleep(SECOND / 200).await;
            }
        }
        assert!(failed[0] <= 5 && failed[1..].iter().sum::<u32>() <= 2, "{policy}: {failed:?}");
        broken.store(false, Ordering::Relaxed);
        tokio::time::sleep(20 * SECOND).await;
        seen.store(0, Ordering::Relaxed);
        for _ in 0..500 {
            check(&channel).await.unwrap();
        }
        assert!(seen.load(Ordering::Relaxed) > 25, "{policy}: its share is 50");
    }
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_is_silent_until_the_deadline_is_ejected() {
    let mut network = Network::new();
    let channel = network.channel(&[backend(1), backend(2), backend(3)]).connect_lazy().unwrap();
    let (held, mut holds) = tokio::sync::mpsc::unbounded_channel();
    network.serve(1000, move |call| {
        if call.backend == Address::Tcp(backend(2)) { drop(held.send(call)) } else { call.answer() }
    });
    let silent = async {
        for _ in 0..100 {
            let _ = check_within(&channel, SECOND / 10).await;
        }
    };
    silent.await;
    let mut calls = 0;
    while holds.try_recv().is_ok() {
        calls += 1;
    }
    assert!((5..=6).contains(&calls), "five, and a probe: {calls}");
    let state = channel.state().await;
    let endpoint = state.endpoints.iter().find(|e| e.address == Address::Tcp(backend(2))).unwrap();
    let ejection = endpoint.ejection.expect("it is ejected");
    assert_eq!(ejection.cause, EjectionCause::ConsecutiveFailures(5));
    assert_eq!(endpoint.connections_serving, 1, "it stays connected");
}

#[tokio::test(start_paused = true)]
async fn when_every_backend_fails_every_backend_is_tried() {
    let mut network = Network::new();
    let channel = network.channel(&[backend(1), backend(2), backend(3)]).connect_lazy().unwrap();
    let seen = Arc::new(AtomicU32::new(0));
    let bits = Arc::clone(&seen);
    network.serve(1000, move |call| {
        if let Address::Tcp(std::net::SocketAddr::V4(address)) = &call.backend {
            bits.fetch_or(1 << address.ip().octets()[3], Ordering::Relaxed);
        }
        refuse(call);
    });
    for _ in 0..100 {
        check(&channel).await.unwrap_err();
    }
    seen.store(0, Ordering::Relaxed);
    for _ in 0..9 {
        check(&channel).await.unwrap_err();
    }
    assert_eq!(seen.load(Ordering::Relaxed), 0b1110);
}

#[tokio::test(start_paused = true)]
async fn ejection_can_be_turned_off() {
    let mut network = Network::new();
    let builder = network
        .channel(&[backend(1), backend(2)])
        .ejection(EjectionConfig::default().consecutive_failures(None));
    let channel = builder.connect_lazy().unwrap();
    network.serve(
        1000,
        |call| {
            if call.backend == Address::Tcp(backend(2)) { refuse(call) } else { call.answer() }
        },
    );
    // Both are connected once the second has answered.
    while check(&channel).await.is_ok() {}
    let mut failed = 0;
    for _ in 0..100 {
        failed += u32::from(check(&channel).await.is_err());
    }
    assert_eq!(failed, 50);
}
