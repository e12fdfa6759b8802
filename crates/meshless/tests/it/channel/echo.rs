//! A service of one method of all shapes: every message of the request comes back, with the call's
//! metadata and the name of the backend. Served by the library's own server.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use http_body::Frame;
use http_body_util::{BodyExt, BodyStream, StreamBody};
use meshless::client::ResponseBody;
use meshless::{Channel, Server};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tonic::Status;
use tonic::body::Body;
use tonic::transport::server::TcpIncoming;
use tower_service::Service;

/// One backend's service. Counts the calls that it was given.
#[derive(Clone)]
pub(super) struct Echo {
    backend: SocketAddr,
    calls: Arc<AtomicU64>,
}

impl tonic::server::NamedService for Echo {
    const NAME: &'static str = "test.Echo";
}

impl Service<http::Request<Body>> for Echo {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        self.calls.fetch_add(1, Relaxed);
        let mut response = http::Response::builder()
            .header("content-type", "application/grpc")
            .header("x-backend", self.backend.to_string());
        for (name, value) in request.headers().iter().filter(|(name, _)| name.as_str().starts_with("echo-")) {
            response = response.header(name, value);
        }
        let trailers = http::HeaderMap::from_iter([("grpc-status".parse().unwrap(), "0".parse().unwrap())]);
        let end = futures_util::stream::iter([Ok(Frame::trailers(trailers))]);
        let body = Body::new(StreamBody::new(BodyStream::new(request.into_body()).chain(end)));
        ready(Ok(response.body(body).unwrap()))
    }
}

/// Backends of the service, and how often each was called.
pub(super) struct Backends {
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) calls: Vec<Arc<AtomicU64>>,
}

impl Backends {
    /// Backends whose connections live this long.
    pub(super) async fn start(n: usize, age: Duration) -> Self {
        Self::bind(n, |listener, echo| {
            // Health is the service that these backends do not have.
            let server = Server::builder().without_health().max_connection_age(age);
            let server = server.max_connection_age_grace(GRACE);
            let serving =
                server.add_service(echo).serve_with_incoming_shutdown([listener], std::future::pending());
            tokio::spawn(serving);
        })
        .await
    }

    /// The same on tonic's own server. It has no jitter, and without a grace it waits for the calls
    /// in flight.
    pub(super) async fn start_tonic(n: usize, age: Duration) -> Self {
        Self::bind(n, |listener, echo| {
            let server = tonic::transport::Server::builder().max_connection_age(age).add_service(echo);
            tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
        })
        .await
    }

    async fn bind(n: usize, serve: impl Fn(TcpListener, Echo)) -> Self {
        let mut backends = Self { addresses: Vec::new(), calls: Vec::new() };
        for _ in 0..n {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let backend = listener.local_addr().unwrap();
            let calls = Arc::new(AtomicU64::new(0));
            serve(listener, Echo { backend, calls: Arc::clone(&calls) });
            backends.addresses.push(backend);
            backends.calls.push(calls);
        }
        backends
    }

    pub(super) fn target(&self) -> String {
        let list: Vec<_> = self.addresses.iter().map(ToString::to_string).collect();
        format!("ipv4:{}", list.join(","))
    }

    pub(super) fn executed(&self) -> u64 {
        self.calls.iter().map(|calls| calls.load(Relaxed)).sum()
    }
}

/// Begins a call, whose request is what is sent into the other half.
pub(super) async fn open(
    channel: &Channel,
) -> Result<(mpsc::Sender<Bytes>, http::Response<ResponseBody>), Status> {
    let (messages, request) = mpsc::channel(1);
    let frames = futures_util::stream::unfold(request, async |mut request| {
        let bytes = request.recv().await?;
        Some((Ok::<_, Status>(Frame::data(bytes)), request))
    });
    let response = channel.clone().call(request_with(Body::new(StreamBody::new(frames)))).await?;
    Ok((messages, response))
}

/// A unary call: the response's headers and its message.
pub(super) async fn unary(
    channel: &Channel,
    request: http::Request<Body>,
) -> Result<http::Response<Bytes>, Status> {
    let (parts, body) = channel.clone().call(request).await?.into_parts();
    let collected = body.collect().await?;
    let status = collected.trailers().and_then(|trailers| trailers.get("grpc-status"));
    assert_eq!(status.map(|status| status.as_bytes()), Some(&b"0"[..]));
    Ok(http::Response::from_parts(parts, collected.to_bytes()))
}

pub(super) fn request(message: Bytes) -> http::Request<Body> {
    request_with(Body::new(http_body_util::Full::new(message)))
}

fn request_with(body: Body) -> http::Request<Body> {
    let request = http::Request::post("/test.Echo/Echo").header("content-type", "application/grpc");
    request.body(body).unwrap()
}

/// Longer than any test.
const GRACE: Duration = Duration::from_secs(30);
