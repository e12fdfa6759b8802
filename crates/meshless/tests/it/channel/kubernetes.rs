//! A channel to a Service: what its users see while pods come and go.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use meshless::Channel;
use meshless::resolver::KubernetesConfig;
use serde_json::{Value, json};

use super::echo::{Backends, open, request, unary};
use crate::kubernetes::client;
use meshless_testkit::api_server::ApiServer;

/// Longer than any test.
const LONG: Duration = Duration::from_secs(3600);

/// A slice of one pod, whose port is its own.
fn slice(backend: SocketAddr, terminating: bool) -> Value {
    let conditions = json!({ "ready": !terminating, "serving": true, "terminating": terminating });
    json!({
        "addressType": "IPv4", "ports": [{ "name": "grpc", "port": backend.port() }],
        "endpoints": [{ "addresses": [backend.ip()], "conditions": conditions }],
    })
}

fn backend_of<B>(response: &http::Response<B>) -> SocketAddr {
    response.headers()["x-backend"].to_str().unwrap().parse().unwrap()
}

async fn backends_of_calls(channel: &Channel) -> BTreeSet<SocketAddr> {
    let mut backends = BTreeSet::new();
    for _ in 0..12 {
        backends.insert(backend_of(
            &unary(channel, request(Bytes::from_static(b"\0\0\0\0\x01m"))).await.unwrap(),
        ));
    }
    backends
}

async fn until_calls_go_to(channel: &Channel, wanted: &[SocketAddr]) {
    let wanted = wanted.iter().copied().collect();
    for _ in 0..500 {
        if backends_of_calls(channel).await == wanted {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("calls do not go to {wanted:?}");
}

#[tokio::test]
async fn a_channel_tells_by_what_it_knows_its_backends() {
    let server = ApiServer::start().await;
    let backends = Backends::start(1, LONG).await;
    let config = KubernetesConfig::new().client(client(&server)).debounce(Duration::from_millis(10));
    server.put("echo-a", slice(backends.addresses[0], false));
    let channel = Channel::builder("kubernetes:///echo.shop:grpc").kubernetes(config).connect_lazy().unwrap();
    assert_eq!(channel.state().await.resolved_by, None, "nothing is known yet");
    until_calls_go_to(&channel, &backends.addresses).await;
    let source = channel.state().await.resolved_by;
    assert_eq!(source.as_deref(), Some("EndpointSlices of echo.shop"));
}

#[tokio::test]
async fn a_pod_that_is_going_finishes_its_streams_and_gets_no_new_calls() {
    let server = ApiServer::start().await;
    let backends = Backends::start(3, LONG).await;
    let [a, b, c] = backends.addresses[..] else { unreachable!() };
    server.put("echo-a", slice(a, false));
    server.put("echo-b", slice(b, false));
    let config = KubernetesConfig::new().client(client(&server)).debounce(Duration::from_millis(10));
    let channel =
        Channel::builder("kubernetes:///echo.shop:grpc").kubernetes(config).connect().await.unwrap();
    until_calls_go_to(&channel, &[a, b]).await;
    let (messages, response) = open(&channel).await.unwrap();
    let streaming = backend_of(&response);
    let mut answers = response.into_body();
    let (going, other) = if streaming == a { ("echo-a", b) } else { ("echo-b", a) };
    server.put("echo-c", slice(c, false));
    server.put(going, slice(streaming, true));
    until_calls_go_to(&channel, &[other, c]).await;
    for _ in 0..3 {
        messages.send(Bytes::from_static(STILL_HERE)).await.unwrap();
        let answer = answers.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(answer, STILL_HERE);
    }
    drop(messages);
    let end = answers.frame().await.unwrap().unwrap().into_trailers().unwrap();
    assert_eq!(end["grpc-status"], "0");
}

/// A message in gRPC's framing.
const STILL_HERE: &[u8] = b"\0\0\0\0\x0astill here";

#[tokio::test]
async fn a_first_call_long_after_the_error_is_told_of_it_at_once() {
    for (target, slices, reason) in [
        ("kubernetes:///echo.shop:grpc", false, "echo.shop has no EndpointSlice"),
        ("kubernetes:///echo.shop:7", true, "echo.shop has no TCP port 7"),
    ] {
        let server = ApiServer::start().await;
        if slices {
            server.put("echo-a", slice("127.0.0.1:1".parse().unwrap(), false));
        }
        let config = KubernetesConfig::new().client(client(&server));
        let channel = Channel::builder(target).kubernetes(config).connect_lazy().unwrap();
        server.until("a watch", |server| server.watches_open() == 1).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        // Far above what an answer takes, and far below the patience of a caller.
        for _ in 0..3 {
            let call = unary(&channel, request(Bytes::from_static(b"m")));
            let status = tokio::time::timeout(Duration::from_secs(5), call).await.unwrap().unwrap_err();
            assert_eq!(status.code(), tonic::Code::Unavailable, "{status}");
            assert!(status.message().contains(reason), "{status}");
        }
    }
}
