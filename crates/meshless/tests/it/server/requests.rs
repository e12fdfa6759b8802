//! Requests as all kinds of clients make them: what is executed, and what the others are told.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use meshless::Server;
use tonic::body::Body;

use super::pipes::Piped;

/// A service that counts the calls that reach it, and answers each with this head.
#[derive(Clone)]
struct Counted {
    calls: Arc<AtomicUsize>,
    answer: Arc<dyn Fn() -> Response<Body> + Send + Sync>,
}

impl tonic::server::NamedService for Counted {
    const NAME: &'static str = "test.Counted";
}

impl tower_service::Service<Request<Body>> for Counted {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Body>) -> Self::Future {
        self.calls.fetch_add(1, SeqCst);
        let response = (self.answer)();
        Box::pin(async { Ok(response) })
    }
}

struct Client {
    h2: h2::client::SendRequest<Bytes>,
    calls: Arc<AtomicUsize>,
    _server: Piped,
}

impl Client {
    async fn new(answer: impl Fn() -> Response<Body> + Send + Sync + 'static) -> Self {
        let calls = Arc::new(AtomicUsize::new(0));
        let service = Counted { calls: calls.clone(), answer: Arc::new(answer) };
        Self::of(Server::builder().add_service(service), calls).await
    }

    async fn of(server: Server, calls: Arc<AtomicUsize>) -> Self {
        let server = Piped::start(server);
        let (h2, connection) = h2::client::handshake(server.pipe()).await.unwrap();
        tokio::spawn(connection);
        Self { h2, calls, _server: server }
    }

    /// What the server answers, and whether a handler has run for it.
    async fn call(&self, request: http::request::Builder) -> (Answer, bool) {
        let before = self.calls.load(SeqCst);
        let mut h2 = self.h2.clone().ready().await.unwrap();
        let (response, _) = h2.send_request(request.body(()).unwrap(), true).unwrap();
        let (head, mut body) = response.await.unwrap().into_parts();
        while let Some(data) = body.data().await {
            body.flow_control().release_capacity(data.unwrap().len()).unwrap();
        }
        let trailers = body.trailers().await.unwrap();
        (Answer { http: head.status, headers: head.headers, trailers }, self.calls.load(SeqCst) > before)
    }
}

#[derive(Debug)]
struct Answer {
    http: StatusCode,
    headers: HeaderMap,
    trailers: Option<HeaderMap>,
}

impl Answer {
    fn code(&self) -> Option<tonic::Code> {
        self.status().map(|status| status.code())
    }

    fn status(&self) -> Option<tonic::Status> {
        tonic::Status::from_header_map(self.trailers.as_ref().unwrap_or(&self.headers))
    }
}

fn ok() -> Response<Body> {
    Response::builder().header("grpc-status", "0").body(Body::empty()).unwrap()
}

fn request(method: &str) -> http::request::Builder {
    Request::builder().method(method).uri("http://test/test.Counted/Call")
}

fn grpc() -> http::request::Builder {
    request("POST").header("content-type", "application/grpc")
}

#[tokio::test(start_paused = true)]
async fn another_method_than_post_does_not_reach_the_handler() {
    let client = Client::new(ok).await;
    for method in ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW"] {
        let (answer, ran) = client.call(request(method).header("content-type", "application/grpc")).await;
        assert_eq!((answer.http, ran), (StatusCode::METHOD_NOT_ALLOWED, false), "{method}");
        assert_eq!(answer.headers["allow"], "POST", "{method}");
        assert_eq!(answer.code(), Some(tonic::Code::Internal), "{method}");
    }
    assert!(client.call(grpc()).await.1);
}

#[tokio::test(start_paused = true)]
async fn another_content_type_than_grpcs_does_not_reach_the_handler() {
    let client = Client::new(ok).await;
    for content_type in
        [None, Some("text/html"), Some("application/json"), Some("application/grpcx"), Some("")]
    {
        let request = content_type
            .into_iter()
            .fold(request("POST"), |request, value| request.header("content-type", value));
        let (answer, ran) = client.call(request).await;
        assert_eq!((answer.http, ran), (StatusCode::UNSUPPORTED_MEDIA_TYPE, false), "{content_type:?}");
        assert_eq!(answer.code(), Some(tonic::Code::InvalidArgument), "{content_type:?}");
    }
    for content_type in [
        "application/grpc",
        "application/grpc+proto",
        "application/grpc;charset=utf-8",
        "application/grpc+json",
    ] {
        let (answer, ran) = client.call(request("POST").header("content-type", content_type)).await;
        assert_eq!(
            (answer.http, answer.code(), ran),
            (StatusCode::OK, Some(tonic::Code::Ok), true),
            "{content_type}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn the_built_in_health_service_is_checked_too() {
    let client = Client::new(ok).await;
    let get = Request::get("http://test/grpc.health.v1.Health/Check");
    assert_eq!(client.call(get).await.0.http, StatusCode::METHOD_NOT_ALLOWED);
}

/// As layers for gRPC-Web and CORS around a service need it.
#[tokio::test(start_paused = true)]
async fn what_a_layer_may_translate_passes() {
    let client = Client::new(ok).await;
    for content_type in ["application/grpc-web", "application/grpc-web+proto", "application/grpc-web-text"] {
        assert!(client.call(request("POST").header("content-type", content_type)).await.1, "{content_type}");
    }
    let preflight =
        request("OPTIONS").header("origin", "https://a").header("access-control-request-method", "POST");
    assert!(client.call(preflight).await.1);
}

#[tokio::test(start_paused = true)]
async fn plain_routes_are_left_alone_and_services_beside_them_are_not() {
    let calls = Arc::new(AtomicUsize::new(0));
    let app = axum::Router::new().route("/hello", axum::routing::get(|| async { "hello" }));
    let service = Counted { calls: calls.clone(), answer: Arc::new(ok) };
    let client = Client::of(Server::builder().routes(app).add_service(service), calls).await;
    let (answer, _) = client.call(Request::get("http://test/hello").header("grpc-timeout", "soon")).await;
    assert_eq!((answer.http, answer.code()), (StatusCode::OK, None));
    assert_eq!(client.call(request("GET")).await.0.http, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test(start_paused = true)]
async fn te_is_not_asked_for() {
    let client = Client::new(ok).await;
    assert!(client.call(grpc()).await.1);
    assert!(client.call(grpc().header("te", "trailers")).await.1);
}

#[tokio::test(start_paused = true)]
async fn a_timeout_that_cannot_be_read_is_an_error_and_not_none() {
    let client = Client::new(ok).await;
    for timeout in
        ["", "5", "S", "1s", "-1S", "+1S", "1.5S", " 1S", "123456789S", "99999999999999999999n", "1SS"]
    {
        let (answer, ran) = client.call(grpc().header("grpc-timeout", timeout)).await;
        assert_eq!(
            (answer.http, answer.code(), ran),
            (StatusCode::OK, Some(tonic::Code::Internal), false),
            "{timeout}"
        );
    }
    for timeout in ["0S", "0n", "00000000H"] {
        let (answer, ran) = client.call(grpc().header("grpc-timeout", timeout)).await;
        assert_eq!((answer.code(), ran), (Some(tonic::Code::DeadlineExceeded), false), "{timeout}");
    }
    for timeout in ["1S", "99999999H", "00000001m"] {
        assert!(client.call(grpc().header("grpc-timeout", timeout)).await.1, "{timeout}");
    }
}

#[tokio::test(start_paused = true)]
async fn names_of_http_in_the_metadata_do_no_harm() {
    let client = Client::new(ok).await;
    for (name, value) in
        [("host", "elsewhere"), ("content-length", "0"), ("user-agent", ""), ("expect", "100-continue")]
    {
        let (answer, ran) = client.call(grpc().header(name, value)).await;
        assert_eq!((answer.code(), ran), (Some(tonic::Code::Ok), true), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_unknown_method_or_service_is_unimplemented() {
    let client = Client::new(ok).await;
    for path in ["/grpc.health.v1.Health/Nothing", "/no.Such/Call", "/", "/test.Counted", "//", "/a/b/c", "*"]
    {
        let uri = http::Uri::builder().scheme("http").authority("test").path_and_query(path).build().unwrap();
        let request = Request::post(uri).header("content-type", "application/grpc");
        assert_eq!(client.call(request).await.0.code(), Some(tonic::Code::Unimplemented), "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_unknown_encoding_is_unimplemented_and_says_what_is_known() {
    let client = Client::new(ok).await;
    let request =
        Request::post("http://test/grpc.health.v1.Health/Check").header("content-type", "application/grpc");
    let (answer, _) = client.call(request.header("grpc-encoding", "snappy")).await;
    assert_eq!(answer.code(), Some(tonic::Code::Unimplemented), "{answer:?}");
    assert!(answer.headers.contains_key("grpc-accept-encoding"), "{answer:?}");
}

/// tonic says OUT_OF_RANGE, all other implementations RESOURCE_EXHAUSTED.
#[tokio::test]
async fn a_message_above_the_limit_is_resource_exhausted_in_both_directions() {
    use tonic_health::pb::HealthCheckRequest;
    use tonic_health::pb::health_client::HealthClient;
    use tonic_health::pb::health_server::HealthServer;
    let checks = |received: usize, sent: usize| {
        let service = HealthServer::new(Checks);
        service.max_decoding_message_size(received).max_encoding_message_size(sent)
    };
    for (received, sent) in [(8, 1 << 20), (1 << 20, 1)] {
        let server = super::start(Server::builder().add_service(checks(received, sent)), 1);
        let endpoint =
            tonic::transport::Endpoint::from_shared(format!("http://{}", server.addrs[0])).unwrap();
        let mut client = HealthClient::new(endpoint.connect().await.unwrap());
        let request = || HealthCheckRequest { service: "a.service.of.some.length".into() };
        let unary = client.check(request()).await.unwrap_err();
        assert_eq!(unary.code(), tonic::Code::ResourceExhausted, "{unary}");
        let streaming = match client.watch(request()).await {
            Ok(stream) => stream.into_inner().message().await.unwrap_err(),
            Err(status) => status,
        };
        assert_eq!(streaming.code(), tonic::Code::ResourceExhausted, "{streaming}");
        assert!(streaming.message().contains("bytes"), "{streaming}");
    }
}

/// A status of the handler's own is none of the server's business.
#[tokio::test(start_paused = true)]
async fn a_handlers_out_of_range_stays() {
    let out_of_range = || tonic::Status::out_of_range("page 9 of 8").into_http::<Body>();
    let client = Client::new(out_of_range).await;
    assert_eq!(client.call(grpc()).await.0.code(), Some(tonic::Code::OutOfRange));
}

struct Checks;

#[tonic::async_trait]
impl tonic_health::pb::health_server::Health for Checks {
    async fn check(
        &self,
        _: tonic::Request<tonic_health::pb::HealthCheckRequest>,
    ) -> Result<tonic::Response<tonic_health::pb::HealthCheckResponse>, tonic::Status> {
        Ok(tonic::Response::new(tonic_health::pb::HealthCheckResponse { status: 1 }))
    }

    type WatchStream = futures_util::stream::Once<
        std::future::Ready<Result<tonic_health::pb::HealthCheckResponse, tonic::Status>>,
    >;

    async fn watch(
        &self,
        _: tonic::Request<tonic_health::pb::HealthCheckRequest>,
    ) -> Result<tonic::Response<Self::WatchStream>, tonic::Status> {
        Ok(tonic::Response::new(futures_util::stream::once(std::future::ready(Ok(
            tonic_health::pb::HealthCheckResponse { status: 1 },
        )))))
    }
}
