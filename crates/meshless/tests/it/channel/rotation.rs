//! Servers that age their connections: no call is lost or executed twice, no stream is cut, the
//! shares stay even.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use meshless::resolver::Address;
use meshless::server::{ConnectionConfig, LifetimeConfig};
use meshless::{Channel, Policy};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tonic::Status;
use tonic::body::Body;
use tower_service::Service;

use super::echo::{Backends, open, request, unary};
use super::network::*;

const MESSAGE: Bytes = Bytes::from_static(b"\0\0\0\0\x02\x08\x01");

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_is_lost_or_executed_twice_while_connections_age() {
    for policy in Policy::ALL {
        all_calls_are_executed_once(policy, Backends::start(3, Duration::from_millis(50)).await).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_is_lost_or_executed_twice_while_tonics_own_server_ages_connections() {
    for policy in Policy::ALL {
        all_calls_are_executed_once(policy, Backends::start_tonic(3, Duration::from_millis(50)).await).await;
    }
}

async fn all_calls_are_executed_once(policy: Policy, backends: Backends) {
    const CALLERS: u64 = 10;
    const CALLS: u64 = 100;
    let channel = Channel::builder(backends.target()).policy(policy).connect().await.unwrap();
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let channel = channel.clone();
        callers.spawn(async move {
            for _ in 0..CALLS {
                unary(&channel, request(MESSAGE)).await?;
            }
            Ok::<_, Status>(())
        });
    }
    while let Some(done) = callers.join_next().await {
        done.unwrap().unwrap_or_else(|status| panic!("{policy}: {status}"));
    }
    assert_eq!(backends.executed(), CALLERS * CALLS, "{policy}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_of_all_shapes_outlive_their_connections_age() {
    let mut streams = JoinSet::new();
    for policy in Policy::ALL {
        let backends = Backends::start(2, Duration::from_millis(50)).await;
        let channel = Channel::builder(backends.target()).policy(policy).connect().await.unwrap();
        for _ in 0..4 {
            let channel = channel.clone();
            streams.spawn(async move {
                let (messages, response) = open(&channel).await.unwrap();
                let mut body = response.into_body();
                // Both ways, over several ages of the connection.
                for _ in 0..8 {
                    messages.send(MESSAGE).await.unwrap();
                    let frame =
                        body.frame().await.unwrap().unwrap_or_else(|status| panic!("{policy}: {status}"));
                    assert_eq!(frame.into_data().unwrap(), MESSAGE);
                    tokio::time::sleep(Duration::from_millis(25)).await;
                }
                drop(messages);
                let trailers = body.frame().await.unwrap().unwrap().into_trailers().unwrap();
                assert_eq!(trailers.get("grpc-status").unwrap(), "0", "{policy}");
            });
        }
    }
    streams.join_all().await;
}

#[tokio::test(start_paused = true)]
async fn round_robin_shares_evenly_while_connections_age() {
    const AGE: Duration = Duration::from_secs(5);
    let mut network = Network::new();
    let addresses = [1, 2, 3].map(backend);
    let channel = network.channel(&addresses).seed(7).connect_lazy().unwrap();
    let calls: HashMap<Address, Arc<AtomicU64>> =
        addresses.map(|address| (Address::Tcp(address), Arc::default())).into();
    serve_aged(AGE, network, calls.clone());
    // Until all are connected.
    tokio::time::sleep(AGE / 10).await;
    check_within(&channel, AGE).await.unwrap();
    tokio::time::sleep(AGE / 10).await;
    calls.values().for_each(|calls| calls.store(0, Relaxed));
    let start = Instant::now();
    while start.elapsed() < 10 * AGE {
        check_within(&channel, AGE).await.unwrap();
        tokio::time::sleep(HANDSHAKE / 10).await;
    }
    let calls: Vec<_> = calls.values().map(|calls| calls.load(Relaxed)).collect();
    let mean = calls.iter().sum::<u64>() / 3;
    // A backend is out of the set for a handshake in each age: 2 % of the time.
    assert!(calls.iter().all(|calls| calls.abs_diff(mean) <= mean / 20), "{calls:?}");
}

#[tokio::test(start_paused = true)]
async fn with_one_connection_a_call_waits_for_one_handshake_at_most() {
    for policy in [Policy::RoundRobin, Policy::PickFirst] {
        let mut network = Network::new();
        let channel = network.channel(&[backend(1)]).policy(policy).seed(7).connect_lazy().unwrap();
        calls_wait_at_most(HANDSHAKE, network, channel).await;
    }
}

#[tokio::test(start_paused = true)]
async fn and_for_the_first_word_about_health_where_that_is_watched() {
    let mut network = Network::new();
    let channel = network.channel(&[backend(1)]).health_check("").seed(7).connect_lazy().unwrap();
    calls_wait_at_most(HANDSHAKE + FIRST_WORD, network, channel).await;
}

/// Calls one backend that ages while every handshake takes its time: all are answered, and none
/// waits longer than `limit`.
async fn calls_wait_at_most(limit: Duration, network: Network, channel: Channel) {
    const AGE: Duration = Duration::from_secs(5);
    serve_aged(AGE, network, HashMap::new());
    let (mut waits, start) = (Vec::new(), Instant::now());
    while start.elapsed() < 10 * AGE {
        let call = Instant::now();
        check_within(&channel, AGE).await.unwrap();
        if call.elapsed() >= HANDSHAKE / 2 {
            waits.push(call.elapsed());
        }
        tokio::time::sleep(HANDSHAKE / 10).await;
    }
    // One call at a time: one waits for the first connection, and one for each that follows.
    assert!((9..=12).contains(&waits.len()), "{waits:?}");
    assert!(waits.iter().all(|wait| *wait <= limit + HANDSHAKE / 10), "{waits:?}");
}

/// Serves all connections of the network, each after a handshake and until its age. Counts the
/// requests to each address.
fn serve_aged(age: Duration, mut network: Network, calls: HashMap<Address, Arc<AtomicU64>>) {
    tokio::spawn(async move {
        loop {
            let (address, io) = network.accept().await;
            let calls = calls.get(&address).cloned().unwrap_or_default();
            tokio::spawn(async move {
                tokio::time::sleep(HANDSHAKE).await;
                let lifetime = LifetimeConfig::default().max_age(age).max_age_grace(age);
                let config = ConnectionConfig::default().lifetime(lifetime);
                let health = tonic_health::server::health_reporter().1;
                let service = hyper_service(SlowToWatch(health, calls));
                meshless::serve_connection(io, service, &config, std::future::pending()).await
            });
        }
    });
}

const HANDSHAKE: Duration = Duration::from_millis(100);

const FIRST_WORD: Duration = Duration::from_millis(800);

/// A health service whose watches begin late, and which counts its requests.
#[derive(Clone)]
struct SlowToWatch<S>(S, Arc<AtomicU64>);

impl<S> Service<http::Request<Body>> for SlowToWatch<S>
where
    S: Service<http::Request<Body>, Future: Send + 'static>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        self.1.fetch_add(1, Relaxed);
        let watches = request.uri().path().ends_with("/Watch");
        let answer = self.0.call(request);
        Box::pin(async move {
            tokio::time::sleep(if watches { FIRST_WORD } else { Duration::ZERO }).await;
            answer.await
        })
    }
}

/// A tonic service for a connection of bytes that hyper has read.
pub(super) fn hyper_service<S>(
    service: S,
) -> impl Service<
    http::Request<meshless::server::RequestBody>,
    Response = S::Response,
    Error = S::Error,
    Future: Send,
> + Clone
where
    S: Service<http::Request<Body>, Future: Send> + Clone,
{
    OfHyper(service)
}

#[derive(Clone)]
struct OfHyper<S>(S);

impl<S: Service<http::Request<Body>>> Service<http::Request<meshless::server::RequestBody>> for OfHyper<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<meshless::server::RequestBody>) -> S::Future {
        self.0.call(request.map(Body::new))
    }
}
