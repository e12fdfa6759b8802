//! Header lists that are longer than one end takes: told with the sizes, and no other call is
//! harmed.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Frame;
use meshless::Server;
use meshless::server::ConnectionConfig;
use tonic::body::Body;

use super::pipes::Piped;

/// Answers with `x-head` and `x-tail` as long as the request's headers of these names say.
#[derive(Clone)]
struct Long;

impl tonic::server::NamedService for Long {
    const NAME: &'static str = "test.Long";
}

impl tower_service::Service<Request<Body>> for Long {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let text = |name| {
            let len = request.headers().get(name).map_or(0, |len| len.to_str().unwrap().parse().unwrap());
            http::HeaderValue::from_maybe_shared(Bytes::from("y".repeat(len))).unwrap()
        };
        let trailers = [("grpc-status", http::HeaderValue::from_static("0")), ("x-tail", text("tail"))];
        let trailers = trailers.map(|(name, value)| (http::HeaderName::from_static(name), value));
        let frames =
            [Frame::data(Bytes::from_static(&[0; 5])), Frame::trailers(HeaderMap::from_iter(trailers))];
        let body =
            http_body_util::StreamBody::new(futures_util::stream::iter(frames.map(Ok::<_, Infallible>)));
        let head =
            Response::builder().header("content-type", "application/grpc").header("x-head", text("head"));
        let response = head.body(Body::new(body)).unwrap();
        let stays = request.uri().path().ends_with("Stay");
        Box::pin(async move {
            if stays {
                std::future::pending::<()>().await;
            }
            // For as long as the call, as a handler's metadata.
            drop(request);
            Ok(response)
        })
    }
}

struct Client {
    h2: h2::client::SendRequest<Bytes>,
    _server: Piped,
}

impl Client {
    /// One that takes lists of `max` bytes, and says so.
    async fn new(server: Server, max: u32) -> Self {
        let server = Piped::start(server.add_service(Long));
        let mut h2 = h2::client::Builder::new();
        h2.max_header_list_size(max).initial_max_send_streams(10_000);
        let (h2, connection) = h2.handshake(server.pipe()).await.unwrap();
        tokio::spawn(connection);
        Self { h2, _server: server }
    }

    async fn call(&self, headers: &[(&'static str, String)]) -> (StatusCode, Option<tonic::Status>) {
        let mut request =
            Request::post("http://test/test.Long/Call").header("content-type", "application/grpc");
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        self.send(request).await
    }

    async fn send(&self, request: http::request::Builder) -> (StatusCode, Option<tonic::Status>) {
        let mut h2 = self.h2.clone().ready().await.unwrap();
        let (response, _) = h2.send_request(request.body(()).unwrap(), true).unwrap();
        let (head, mut body) = response.await.unwrap().into_parts();
        while let Some(data) = body.data().await {
            body.flow_control().release_capacity(data.unwrap().len()).unwrap();
        }
        let trailers = body.trailers().await.unwrap();
        (head.status, tonic::Status::from_header_map(trailers.as_ref().unwrap_or(&head.headers)))
    }
}

fn header(name: &'static str, len: usize) -> (&'static str, String) {
    (name, "x".repeat(len))
}

/// True for RESOURCE_EXHAUSTED that names a limit.
fn is_too_long(status: &tonic::Status, max: u32) -> bool {
    status.code() == tonic::Code::ResourceExhausted && status.message().contains(&format!("than the {max} "))
}

#[tokio::test(start_paused = true)]
async fn a_request_above_the_limit_is_told_and_the_others_go_on() {
    let config = ConnectionConfig::default().max_header_list_size(16_000);
    let app = axum::Router::new().route("/plain", axum::routing::get(|| async { "plain" }));
    let client = Client::new(Server::builder().connection_config(config).routes(app), 1 << 20).await;
    for (len, too_long) in [(15_000, false), (16_000, true), (40_000, true), (15_000, false), (60_000, true)]
    {
        let (http, status) = client.call(&[header("x-long", len)]).await;
        let status = status.unwrap();
        assert_eq!((http, is_too_long(&status, 16_000)), (StatusCode::OK, too_long), "{len}: {status}");
        assert_eq!(status.code() == tonic::Code::Ok, !too_long, "{len}: {status}");
    }
    // Many short ones are a long list too.
    let fields: Vec<_> = (0..500).map(|_| header("x", 1)).collect();
    assert!(is_too_long(&client.call(&fields).await.1.unwrap(), 16_000));
    let plain = Request::get("http://test/plain").header("x-long", "x".repeat(20_000));
    let (http, status) = client.send(plain).await;
    assert!(http == StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE && status.is_none(), "{http} {status:?}");
    let (_, status) = client.call(&[]).await;
    assert_eq!(status.unwrap().code(), tonic::Code::Ok);
}

#[tokio::test(start_paused = true)]
async fn the_default_takes_what_other_implementations_send() {
    let client = Client::new(Server::builder(), 1 << 20).await;
    let (_, status) = client.call(&[header("x-token", 60_000)]).await;
    assert_eq!(status.unwrap().code(), tonic::Code::Ok);
}

#[tokio::test(start_paused = true)]
async fn a_response_that_the_client_does_not_take_is_told() {
    let client = Client::new(Server::builder(), 8192).await;
    for name in ["head", "tail"] {
        for (len, too_long) in [(8000, false), (8192, true), (30_000, true), (100, false)] {
            let (_, status) = client.call(&[(name, len.to_string())]).await;
            let status = status.unwrap();
            assert_eq!(is_too_long(&status, 8192), too_long, "{name} {len}: {status}");
            assert_eq!(status.code() == tonic::Code::Ok, !too_long, "{name} {len}: {status}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_more_is_sent_more() {
    let client = Client::new(Server::builder(), 1 << 20).await;
    let (_, status) = client.call(&[("tail", "200000".into()), ("head", "200000".into())]).await;
    assert_eq!(status.unwrap().code(), tonic::Code::Ok);
}

#[tokio::test(start_paused = true)]
async fn the_headers_of_all_open_calls_have_a_bound_and_make_room_when_they_end() {
    // 8 MiB.
    let client = Client::new(Server::builder().max_concurrent_streams(1000), 1 << 20).await;
    let mut open = Vec::new();
    let mut refused = 0;
    for _ in 0..300 {
        let mut h2 = client.h2.clone().ready().await.unwrap();
        let request = Request::post("http://test/test.Long/Stay").header("content-type", "application/grpc");
        let request = request.header("x-long", "x".repeat(50_000)).body(()).unwrap();
        let mut response = h2.send_request(request, true).unwrap().0;
        match tokio::time::timeout(std::time::Duration::from_millis(1), &mut response).await {
            Ok(answer) => {
                let status = tonic::Status::from_header_map(answer.unwrap().headers()).unwrap();
                assert!(is_too_long(&status, 8 << 20), "{status}");
                refused += 1;
            }
            Err(_) => open.push(response),
        }
    }
    assert!((150..=165).contains(&open.len()) && refused == 300 - open.len(), "{} are open", open.len());
    drop(open);
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    let (_, status) = client.call(&[header("x-long", 50_000)]).await;
    assert_eq!(status.unwrap().code(), tonic::Code::Ok);
}
