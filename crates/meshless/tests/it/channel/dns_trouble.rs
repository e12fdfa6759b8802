//! A channel whose DNS fails, lies or dawdles while its backends are well: no call notices.

use std::net::IpAddr;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hickory_proto::op::ResponseCode;
use meshless::resolver::{DnsConfig, Resolution, ResolveError, ResolveHint};
use meshless::{Channel, Endpoint, Resolver};
use tokio::sync::{mpsc, watch};

use super::network::*;
use meshless_testkit::dns_server::{DnsServer, Script};

const NAME: &str = "echo.shop.test.";
const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

fn addresses(last: impl IntoIterator<Item = u8>) -> Vec<IpAddr> {
    last.into_iter().map(|last| IpAddr::from([10, 0, 0, last])).collect()
}

/// Makes a call every 5 ms of real time; panics if one fails or takes long.
async fn calls_succeed(channel: &Channel, lasts: Duration, meanwhile: &str) {
    let start = Instant::now();
    while start.elapsed() < lasts {
        check_within(channel, 5 * SECOND).await.unwrap_or_else(|status| panic!("{meanwhile}: {status}"));
        tokio::time::sleep(5 * MS).await;
    }
}

#[tokio::test]
async fn no_trouble_of_dns_costs_a_call() {
    let dns = DnsServer::start().await;
    let good = Script::Addresses { addresses: addresses(1..=3), ttl_s: 0 };
    dns.set(NAME, good.clone());
    let mut network = Network::new();
    let config = DnsConfig::new().poll_floor(30 * MS).poll_ceiling(60 * MS).min_interval(10 * MS);
    let channel = network
        .channel_to(&format!("dns://{}/{NAME}:50051", dns.address))
        .dns(config.lookup_timeout(100 * MS))
        .connect_lazy()
        .unwrap();
    let switches = network.switches();
    for dead in 100..=101 {
        switches.set(backend(dead), Dial::Refuse);
    }
    network.serve(100, Call::answer);
    calls_succeed(&channel, 50 * MS, "all is well").await;
    for trouble in [
        Script::Code(ResponseCode::ServFail),
        Script::Code(ResponseCode::NXDomain),
        Script::Code(ResponseCode::Refused),
        Script::Addresses { addresses: Vec::new(), ttl_s: 0 },
        Script::Silence,
        // Longer than a lookup may take, and shorter.
        Script::Slow { addresses: addresses(1..=3), after: 300 * MS },
        Script::Slow { addresses: addresses(1..=3), after: 60 * MS },
        // Truncated over UDP.
        Script::Addresses { addresses: addresses(1..=99), ttl_s: 0 },
        // A lie.
        Script::Addresses { addresses: addresses(100..=101), ttl_s: 0 },
        Script::Addresses { addresses: addresses([1]), ttl_s: 0 },
    ] {
        dns.set(NAME, trouble.clone());
        calls_succeed(&channel, 250 * MS, &format!("{trouble:?}")).await;
        dns.set(NAME, good.clone());
        calls_succeed(&channel, 100 * MS, &format!("after {trouble:?}")).await;
    }
}

#[tokio::test]
async fn how_old_the_set_is_can_be_seen() {
    let dns = DnsServer::start().await;
    dns.set_addresses(NAME, &["10.0.0.1"], 0);
    let mut network = Network::new();
    let config = DnsConfig::new().poll_floor(20 * MS).poll_ceiling(20 * MS).min_interval(10 * MS);
    let target = format!("dns://{}/{NAME}:50051", dns.address);
    let channel = network.channel_to(&target).dns(config).connect_lazy().unwrap();
    network.serve(100, Call::answer);
    check_within(&channel, 5 * SECOND).await.unwrap();
    let state = channel.state().await;
    assert_eq!(state.resolution_failures, 0);
    let good = state.resolved_at.unwrap();
    dns.set(NAME, Script::Code(ResponseCode::NXDomain));
    let state = loop {
        let state = channel.state().await;
        if state.resolution_failures >= 3 {
            break state;
        }
        tokio::time::sleep(5 * MS).await;
    };
    assert!(state.resolution_error.as_ref().unwrap().contains("NXDOMAIN"), "{state:?}");
    assert!(state.resolved_at >= Some(good) && state.resolution_age(Instant::now()) > Some(20 * MS));
    dns.set_addresses(NAME, &["10.0.0.1"], 0);
    while channel.state().await.resolution_failures > 0 {
        tokio::time::sleep(5 * MS).await;
    }
}

#[tokio::test(start_paused = true)]
async fn connections_that_age_are_replaced_while_dns_is_down_for_a_minute() {
    for trouble in [
        ResolveError::NoSuchName { name: NAME.to_owned() },
        ResolveError::NoAddresses { name: NAME.to_owned() },
        ResolveError::Timeout { name: NAME.to_owned(), after: 5 * SECOND },
    ] {
        let (resolutions, resolver) = mpsc::channel::<Resolution>(1);
        let mut network = Network::new();
        let channel =
            network.channel_to("dns:///echo.shop.test:50051").resolver(resolver).connect_lazy().unwrap();
        let switches = network.switches();
        tokio::spawn(async move {
            loop {
                let (address, io) = network.accept().await;
                tokio::spawn(serve_for(io, address, 5 * SECOND, Call::answer));
            }
        });
        resolutions.send(Ok([1, 2, 3].map(|n| Endpoint::new(backend(n))).into())).await.unwrap();
        let start = tokio::time::Instant::now();
        while start.elapsed() < 60 * SECOND {
            resolutions.send(Err(trouble.clone())).await.unwrap();
            for _ in 0..20 {
                check_within(&channel, SECOND).await.unwrap();
                tokio::time::sleep(25 * MS).await;
            }
        }
        assert!(switches.dialled() >= 30, "they did age: {} connects", switches.dialled());
        assert_eq!(channel.state().await.endpoints.iter().filter(|e| e.connections_serving > 0).count(), 3);
    }
}

#[tokio::test(start_paused = true)]
async fn flapping_between_disjoint_sets_costs_no_call_and_a_bounded_number_of_connects() {
    let (resolutions, resolver) = mpsc::channel::<Resolution>(1);
    let mut network = Network::new();
    let channel =
        network.channel_to("dns:///echo.shop.test:50051").resolver(resolver).connect_lazy().unwrap();
    let switches = network.switches();
    network.serve(100, Call::answer);
    for round in 0..100_u8 {
        let set = if round % 2 == 0 { [1, 2, 3] } else { [4, 5, 6] };
        resolutions.send(Ok(set.map(|n| Endpoint::new(backend(n))).into())).await.unwrap();
        for _ in 0..20 {
            check_within(&channel, SECOND).await.unwrap();
            tokio::time::sleep(25 * MS).await;
        }
    }
    assert_eq!(switches.dialled(), 300, "each backend once for each time it is named");
}

/// Answers a request when the test lets it, as DNS does.
struct Asked {
    answers: mpsc::Receiver<Resolution>,
    requests: mpsc::UnboundedSender<ResolveHint>,
}

impl Resolver for Asked {
    fn poll_resolution(&mut self, cx: &mut Context<'_>) -> Poll<Resolution> {
        self.answers.poll_resolution(cx)
    }

    fn resolve_now(&mut self, hint: ResolveHint) {
        let _ = self.requests.send(hint);
    }

    fn answers_resolve_now(&self) -> bool {
        true
    }
}

#[tokio::test(start_paused = true)]
async fn a_rollout_without_lame_duck_costs_no_call_while_the_resolver_is_asked() {
    for pods in [1_u8, 3, 12] {
        let (answer, answers) = mpsc::channel::<Resolution>(1);
        let (requests, mut asked) = mpsc::unbounded_channel();
        let mut network = Network::new();
        let resolver = Asked { answers, requests };
        let channel = network.channel_to("orders").resolver(resolver).connect_lazy().unwrap();
        let switches = network.switches();
        let set = |pods: std::ops::RangeInclusive<u8>| -> Resolution {
            Ok(pods.map(|n| Endpoint::new(backend(n))).collect())
        };
        answer.send(set(1..=pods)).await.unwrap();
        let (end, ended) = watch::channel(());
        tokio::spawn(async move {
            loop {
                let (address, io) = network.accept().await;
                let mut ended = ended.clone();
                let old = (1..=pods).any(|n| address == meshless::resolver::Address::Tcp(backend(n)));
                tokio::spawn(async move {
                    tokio::select! {
                        () = serve(io, address, 100, Call::answer) => {}
                        _ = ended.changed(), if old => {}
                    }
                });
            }
        });
        for _ in 0..50 {
            check_within(&channel, 5 * SECOND).await.unwrap();
        }
        tokio::time::sleep(30 * SECOND).await;
        // All pods are replaced at once.
        (1..=pods).for_each(|n| switches.set(backend(n), Dial::Refuse));
        end.send(()).unwrap();
        settle().await;
        let calls: Vec<_> = (0..100)
            .map(|_| {
                let channel = channel.clone();
                tokio::spawn(async move { check_within(&channel, 10 * SECOND).await })
            })
            .collect();
        while asked.recv().await.unwrap() != ResolveHint::AllFailed {}
        // DNS takes its time on a starved machine.
        tokio::time::sleep(2 * SECOND).await;
        assert!(calls.iter().all(|call| !call.is_finished()), "{pods} pods: calls wait");
        answer.send(set(101..=100 + pods)).await.unwrap();
        for call in calls {
            call.await.unwrap().unwrap_or_else(|status| panic!("{pods} pods: {status}"));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn in_an_outage_calls_wait_for_the_resolver_once_and_then_fail_at_once() {
    let (answer, answers) = mpsc::channel::<Resolution>(1);
    let (requests, _asked) = mpsc::unbounded_channel();
    let mut network = Network::new();
    let resolver = Asked { answers, requests };
    let channel = network.channel_to("orders").resolver(resolver).connect_lazy().unwrap();
    network.set(backend(1), Dial::Refuse);
    answer.send(Ok(vec![Endpoint::new(backend(1))])).await.unwrap();
    let start = tokio::time::Instant::now();
    let status = check(&channel).await.unwrap_err();
    assert!(status.message().contains("connection refused"), "{status}");
    assert!(start.elapsed() <= 5 * SECOND + 100 * MS, "{:?}", start.elapsed());
    for _ in 0..100 {
        let start = tokio::time::Instant::now();
        check(&channel).await.unwrap_err();
        assert!(start.elapsed() <= MS, "{:?}", start.elapsed());
        tokio::time::sleep(SECOND / 3).await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_resolver_said_before_the_first_call_is_what_the_call_is_told() {
    let reason = "no pod of orders has a port named grpc";
    for idle_first in [false, true] {
        let (answer, resolver) = mpsc::channel::<Resolution>(1);
        let mut network = Network::new();
        let channel = network
            .channel_to("consul:///orders")
            .resolver(resolver)
            .idle_timeout(Some(60 * SECOND))
            .connect_lazy()
            .unwrap();
        answer.send(Err(ResolveError::other(reason.to_owned()))).await.unwrap();
        tokio::time::sleep(SECOND).await;
        assert_eq!(channel.state().await.resolution_error.as_deref(), Some(reason));
        if idle_first {
            check(&channel).await.unwrap_err();
            tokio::time::sleep(600 * SECOND).await;
            assert_eq!(channel.state().await.connectivity, meshless::client::ConnectivityState::Idle);
        }
        for _ in 0..8 {
            let start = tokio::time::Instant::now();
            let status = check(&channel).await.unwrap_err();
            assert_eq!(status.code(), tonic::Code::Unavailable);
            assert!(status.message().contains(reason), "{status}");
            assert!(start.elapsed() < 10 * MS);
        }
        let state = channel.state().await;
        assert_eq!(state.resolution_error.as_deref(), Some(reason));
        assert_eq!(state.connectivity, meshless::client::ConnectivityState::TransientFailure);
        // And as soon as it knows better, calls are sent.
        network.serve(100, Call::answer);
        answer.send(Ok(vec![Endpoint::new(backend(1))])).await.unwrap();
        tokio::time::sleep(SECOND).await;
        check(&channel).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_resolver_that_ends_without_a_word_is_said_to_have() {
    let (answer, resolver) = mpsc::channel::<Resolution>(1);
    drop(answer);
    let mut network = Network::new();
    let channel = network.channel_to("orders").resolver(resolver).connect_lazy().unwrap();
    let status = check(&channel).await.unwrap_err();
    assert!(status.message().contains("has ended without naming an endpoint"), "{status}");
    // One that ends after it has named endpoints leaves them in use.
    let (answer, resolver) = mpsc::channel::<Resolution>(1);
    answer.send(Ok(vec![Endpoint::new(backend(1))])).await.unwrap();
    drop(answer);
    let mut network = Network::new();
    let channel = network.channel_to("orders").resolver(resolver).connect_lazy().unwrap();
    network.serve(100, Call::answer);
    check(&channel).await.unwrap();
    assert_eq!(channel.state().await.resolution_failures, 0);
}
