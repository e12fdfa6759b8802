//! Servers that age their connections: no call is lost or executed twice, no stream is cut, the shares stay even.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use meshless::{Channel, ConnectionConfig, LifetimeConfig, Policy};
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn round_robin_shares_evenly_while_connections_age() {
    const CALLS: u64 = 600;
    let backends = Backends::start(3, Duration::from_millis(100)).await;
    let channel = Channel::builder(backends.target()).policy(Policy::RoundRobin).connect().await.unwrap();
    // The others may not be connected yet.
    while backends.calls.iter().any(|calls| calls.load(Relaxed) == 0) {
        unary(&channel, request(MESSAGE)).await.unwrap();
    }
    let before: Vec<_> = backends.calls.iter().map(|calls| calls.load(Relaxed)).collect();
    for _ in 0..CALLS {
        unary(&channel, request(MESSAGE)).await.unwrap();
    }
    for (calls, before) in backends.calls.iter().zip(before) {
        let share = calls.load(Relaxed) - before;
        // An endpoint is out of the set for one reconnection at a time, until its age is known.
        assert!(share.abs_diff(CALLS / 3) <= CALLS / 3 / 10, "{:?}", backends.calls);
    }
}

#[tokio::test(start_paused = true)]
async fn once_the_age_is_known_no_call_waits_for_a_handshake() {
    let mut network = Network::new();
    let channel = network.channel(&[backend(1)]).seed(7).connect_lazy().unwrap();
    no_call_waits_once_the_age_is_known(network, channel).await;
}

#[tokio::test(start_paused = true)]
async fn nor_does_one_wait_for_a_word_about_health() {
    let mut network = Network::new();
    let channel = network.channel(&[backend(1)]).health_check("").seed(7).connect_lazy().unwrap();
    no_call_waits_once_the_age_is_known(network, channel).await;
}

/// The backend takes its time for every handshake, and more for its first word about health.
async fn no_call_waits_once_the_age_is_known(mut network: Network, channel: Channel) {
    const AGE: Duration = Duration::from_secs(2);
    tokio::spawn(async move {
        loop {
            let (_, io) = network.accept().await;
            tokio::spawn(async move {
                tokio::time::sleep(HANDSHAKE).await;
                let lifetime = LifetimeConfig::default().max_age(AGE).max_age_grace(AGE);
                let config = ConnectionConfig::default().lifetime(lifetime);
                let health = tonic_health::server::health_reporter().1;
                let service = hyper_service(SlowToWatch(health));
                meshless::serve_connection(io, service, &config, std::future::pending()).await
            });
        }
    });
    let (mut waited, start) = (Vec::new(), Instant::now());
    while start.elapsed() < 15 * AGE {
        let call = Instant::now();
        check_within(&channel, AGE).await.unwrap();
        if call.elapsed() >= HANDSHAKE / 2 {
            waited.push(start.elapsed());
        }
        tokio::time::sleep(HANDSHAKE / 10).await;
    }
    // The first connection, and the first that the server ended: that one teaches the age.
    assert!(waited.len() <= 2, "calls waited at {waited:?}");
    let expected = channel.state().await.expected_age.unwrap();
    assert!(expected > AGE.mul_f64(0.89), "the age counts from the handshake: {expected:?}");
}

const HANDSHAKE: Duration = Duration::from_millis(100);

/// A health service whose watches begin after eight handshakes' time.
#[derive(Clone)]
struct SlowToWatch<S>(S);

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
        let watches = request.uri().path().ends_with("/Watch");
        let answer = self.0.call(request);
        Box::pin(async move {
            tokio::time::sleep(if watches { 8 * HANDSHAKE } else { Duration::ZERO }).await;
            answer.await
        })
    }
}

/// A tonic service for a connection of bytes that hyper has read.
pub(super) fn hyper_service<S>(
    service: S,
) -> impl Service<http::Request<hyper::body::Incoming>, Response = S::Response, Error = S::Error, Future: Send>
+ Clone
where
    S: Service<http::Request<Body>, Future: Send> + Clone,
{
    OfHyper(service)
}

#[derive(Clone)]
struct OfHyper<S>(S);

impl<S: Service<http::Request<Body>>> Service<http::Request<hyper::body::Incoming>> for OfHyper<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<hyper::body::Incoming>) -> S::Future {
        self.0.call(request.map(Body::new))
    }
}
