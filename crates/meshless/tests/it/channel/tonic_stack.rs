//! What tonic's users bring with them: interceptors, tower layers, metadata, compression, big
//! messages, Unix sockets.

use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use meshless::Channel;
use meshless::client::ResponseBody;
use tonic::body::Body;
use tonic::codec::CompressionEncoding;
use tonic::service::interceptor::InterceptedService;
use tonic::{Code, Request, Status};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient, health_server::HealthServer};
use tower_service::Service;

use super::echo::{Backends, open, request, unary};
use super::network::*;

const YEAR: Duration = Duration::from_secs(31_536_000);

#[tokio::test]
async fn big_messages_pass_both_ways() {
    let backends = Backends::start(1, YEAR).await;
    let channel = Channel::builder(backends.target()).connect().await.unwrap();
    const LEN: u32 = (4 << 20) - 5;
    let content = (0..LEN).map(|n| (n % 251) as u8);
    let message: Bytes = [0].into_iter().chain(LEN.to_be_bytes()).chain(content).collect();
    let response = unary(&channel, request(message.clone())).await.unwrap();
    assert!(response.into_body() == message);
    // And as a stream, which is pumped.
    let (messages, response) = open(&channel).await.unwrap();
    let sending = message.clone();
    let sending = tokio::spawn(async move {
        for part in 0..4 {
            messages.send(sending.slice(part << 20..(part + 1) << 20)).await.unwrap();
        }
    });
    let received = response.into_body().collect().await.unwrap().to_bytes();
    sending.await.unwrap();
    assert!(received == message);
    assert_eq!(in_flight(&channel).await, 0);
}

#[tokio::test]
async fn metadata_passes_both_ways() {
    let backends = Backends::start(1, YEAR).await;
    let channel = Channel::builder(backends.target()).connect().await.unwrap();
    let mut request = request(Bytes::from_static(b"\0\0\0\0\0"));
    request.headers_mut().append("echo-text", "one".parse().unwrap());
    request.headers_mut().append("echo-text", "two".parse().unwrap());
    request.headers_mut().append("echo-some-bin", "AAEC/w".parse().unwrap());
    let response = unary(&channel, request).await.unwrap();
    let texts: Vec<_> = response.headers().get_all("echo-text").iter().collect();
    assert_eq!(texts, ["one", "two"]);
    assert_eq!(response.headers()["echo-some-bin"], "AAEC/w");
}

#[tokio::test(start_paused = true)]
async fn interceptors_and_layers_go_around_it() {
    let mut network = Network::new();
    let channel = network.channel(&[backend(1)]).connect_lazy().unwrap();
    network.serve(100, |call| {
        assert_eq!(call.header("authorization").as_deref(), Some("bearer of news"));
        call.answer();
    });
    let paths = Arc::default();
    let layered = Noting { inner: channel, paths: Arc::clone(&paths) };
    let authorized = InterceptedService::new(layered, |mut request: Request<()>| {
        request.metadata_mut().insert("authorization", "bearer of news".parse().unwrap());
        Ok(request)
    });
    HealthClient::new(authorized).check(HealthCheckRequest::default()).await.unwrap();
    assert_eq!(*paths.lock().unwrap(), ["/grpc.health.v1.Health/Check"]);
}

#[tokio::test]
async fn compressed_messages_pass_over_a_unix_socket() {
    let path = std::env::temp_dir().join(format!("meshless-{}-{}.sock", std::process::id(), line!()));
    let _ = std::fs::remove_file(&path);
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let reporter = tonic_health::server::HealthReporter::new();
    let service = HealthServer::new(tonic_health::server::HealthService::from_health_reporter(reporter))
        .accept_compressed(CompressionEncoding::Gzip)
        .send_compressed(CompressionEncoding::Gzip);
    tokio::spawn(async move {
        let (io, _) = listener.accept().await.unwrap();
        let config = meshless::server::ConnectionConfig::default();
        let service = super::rotation::hyper_service(service);
        meshless::serve_connection(io, service, &config, std::future::pending()).await
    });
    let channel = Channel::builder(format!("unix:{}", path.display())).connect().await.unwrap();
    std::fs::remove_file(&path).unwrap();
    let mut client = HealthClient::new(channel)
        .accept_compressed(CompressionEncoding::Gzip)
        .send_compressed(CompressionEncoding::Gzip);
    let response = client.check(HealthCheckRequest::default()).await.unwrap();
    assert_eq!(response.metadata().get("grpc-encoding").unwrap(), "gzip");
    let unknown = HealthCheckRequest { service: "x".repeat(100_000) };
    assert_eq!(client.check(unknown).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn a_method_that_is_not_there_is_unimplemented() {
    let backends = Backends::start(1, YEAR).await;
    let channel = Channel::builder(backends.target()).connect().await.unwrap();
    let status = check(&channel).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
    assert_eq!(in_flight(&channel).await, 0);
}

/// A layer that notes the paths that pass.
#[derive(Clone)]
struct Noting {
    inner: Channel,
    paths: Arc<Mutex<Vec<String>>>,
}

impl Service<http::Request<Body>> for Noting {
    type Response = http::Response<ResponseBody>;
    type Error = Status;
    type Future = meshless::client::ResponseFuture;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Status>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        self.paths.lock().unwrap().push(request.uri().path().to_owned());
        self.inner.call(request)
    }
}
