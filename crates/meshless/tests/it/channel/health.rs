//! Backends that say themselves whether they serve (gRFC A17).

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use meshless::client::SubchannelState;
use meshless::resolver::Address;
use meshless::{Channel, Policy};
use tokio::sync::watch;
use tokio::time::Instant;
use tonic::Code;

use super::network::*;

const SECOND: Duration = Duration::from_secs(1);
const SERVES: Option<u8> = Some(1);
const DOES_NOT: Option<u8> = Some(2);

/// What each backend says of itself, and how often each was called.
struct Backends {
    statuses: Vec<watch::Sender<Option<u8>>>,
    calls: Arc<Mutex<HashMap<Address, usize>>>,
    switches: Switches,
}

impl Backends {
    fn serve(network: Network, statuses: &[Option<u8>]) -> Self {
        let statuses: Vec<_> = statuses.iter().map(|status| watch::Sender::new(*status)).collect();
        let calls = Arc::<Mutex<HashMap<Address, usize>>>::default();
        let backends = Self { statuses, calls: Arc::clone(&calls), switches: network.switches() };
        let receivers: HashMap<_, _> = (1..)
            .zip(&backends.statuses)
            .map(|(n, status)| (Address::Tcp(backend(n)), status.subscribe()))
            .collect();
        network.serve(100, move |call| {
            if call.request.uri().path().ends_with("/Watch") {
                let statuses = receivers[&call.backend].clone();
                tokio::spawn(call.answer_statuses(statuses));
            } else {
                *calls.lock().unwrap().entry(call.backend.clone()).or_default() += 1;
                call.answer();
            }
        });
        backends
    }

    /// How many of ten calls each backend gets.
    async fn shares(&self, channel: &Channel) -> Vec<usize> {
        self.calls.lock().unwrap().clear();
        for _ in 0..10 {
            check_within(channel, SECOND).await.unwrap();
        }
        let calls = self.calls.lock().unwrap();
        let count = |n: usize| calls.get(&Address::Tcp(backend(n as u8))).copied().unwrap_or(0);
        (1..=self.statuses.len()).map(count).collect()
    }

    async fn say(&self, n: usize, status: Option<u8>) {
        self.statuses[n - 1].send_replace(status);
        settle().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_backend_gets_calls_while_it_says_that_it_serves() {
    let mut network = Network::new();
    let channel = network.channel(&[backend(1), backend(2)]).health_check("shop").connect_lazy().unwrap();
    let backends = Backends::serve(network, &[SERVES, DOES_NOT]);
    assert_eq!(backends.shares(&channel).await, [10, 0]);
    let state = channel.state().await;
    assert_eq!(state.endpoints[1].state, SubchannelState::TransientFailure);
    let reason = "its health service says NOT_SERVING of \"shop\"";
    assert_eq!(state.endpoints[1].last_error.as_deref(), Some(reason));
    backends.say(2, SERVES).await;
    assert_eq!(backends.shares(&channel).await, [5, 5]);
    backends.say(1, DOES_NOT).await;
    assert_eq!(backends.shares(&channel).await, [0, 10], "it drains");
    assert_eq!(backends.switches.dialled(), 2, "all on the same connections");
    backends.say(2, DOES_NOT).await;
    let status = check_within(&channel, SECOND).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains(reason), "{status}");
}

#[tokio::test(start_paused = true)]
async fn until_it_has_said_anything_a_backend_is_connecting() {
    let mut network = Network::new();
    let channel = network.channel(&[backend(1)]).health_check("").connect_lazy().unwrap();
    let backends = Backends::serve(network, &[None]);
    let waiting = channel.clone();
    let call = tokio::spawn(async move { check_within(&waiting, 10 * SECOND).await });
    settle().await;
    assert_eq!(channel.state().await.endpoints[0].state, SubchannelState::Connecting);
    backends.say(1, SERVES).await;
    call.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_service_config_names_the_service_to_watch() {
    let mut network = Network::new();
    let config = r#"{"healthCheckConfig": {"serviceName": "shop"}}"#.parse().unwrap();
    let channel = network.channel(&[backend(1), backend(2)]).service_config(config).connect_lazy().unwrap();
    let backends = Backends::serve(network, &[SERVES, DOES_NOT]);
    assert_eq!(backends.shares(&channel).await, [10, 0]);
    let reason = "its health service says NOT_SERVING of \"shop\"";
    assert_eq!(channel.state().await.endpoints[1].last_error.as_deref(), Some(reason));
}

#[tokio::test(start_paused = true)]
async fn a_backend_without_the_health_service_is_healthy() {
    let mut network = Network::new();
    let channel = network.channel(&[backend(1)]).health_check("shop").connect_lazy().unwrap();
    network.serve(100, |call| match call.request.uri().path() {
        path if path.ends_with("/Watch") => call.fail(Code::Unimplemented),
        _ => call.answer(),
    });
    check_within(&channel, SECOND).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_fails_is_begun_again_with_pauses() {
    let mut network = Network::new();
    let channel = network.channel(&[backend(1)]).health_check("shop").connect_lazy().unwrap();
    let watches = Arc::new(Mutex::new(Vec::new()));
    let begun = Arc::clone(&watches);
    network.serve(100, move |call| {
        if !call.request.uri().path().ends_with("/Watch") {
            return call.answer();
        }
        begun.lock().unwrap().push(Instant::now());
        if begun.lock().unwrap().len() < 4 {
            call.fail(Code::Internal);
        } else {
            let serving = watch::Sender::new(SERVES);
            tokio::spawn(async move { call.answer_statuses(serving.subscribe()).await });
        }
    });
    let status = check_within(&channel, SECOND).await.unwrap_err();
    assert!(status.message().contains("the health check of \"shop\" failed"), "{status}");
    tokio::time::sleep(10 * SECOND).await;
    check_within(&channel, SECOND).await.unwrap();
    let at = watches.lock().unwrap().clone();
    let pauses: Vec<_> = at.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64()).collect();
    for (pause, nominal) in pauses.iter().zip([1.0, 1.6, 2.56]) {
        assert!((nominal * 0.8 - 0.01..=nominal * 1.2 + 0.01).contains(pause), "{pauses:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn pick_first_does_not_watch() {
    let mut network = Network::new();
    let channel = network.channel(&[backend(1)]).policy(Policy::PickFirst).health_check("shop");
    let channel = channel.connect_lazy().unwrap();
    let backends = Backends::serve(network, &[DOES_NOT]);
    assert_eq!(backends.shares(&channel).await, [10]);
}

#[tokio::test(start_paused = true)]
async fn a_watch_neither_pings_nor_keeps_a_connection() {
    let mut network = Network::new();
    let channel = network
        .channel(&[backend(1)])
        .health_check("shop")
        .idle_timeout(Some(600 * SECOND))
        .connect_lazy()
        .unwrap();
    let waiting = channel.clone();
    let call = tokio::spawn(async move { check(&waiting).await });
    let mut peer = network.accept_raw(&[]).await;
    let watch = peer.expect_request().await;
    peer.answer_headers(watch).await;
    peer.answer_message(watch, SERVING).await;
    let stream = peer.expect_request().await;
    peer.answer(stream, SERVING).await;
    call.await.unwrap().unwrap();
    // Up to the idle timeout, and beyond.
    let frames = peer.rest().await;
    let pings = frames
        .iter()
        .filter(|frame| matches!(frame, meshless_testkit::raw_peer::Received::Ping { .. }))
        .count();
    assert_eq!(pings, 0, "{frames:?}");
    assert_eq!(channel.state().await.endpoints[0].connections_serving, 0);
}
