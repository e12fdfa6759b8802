//! What `meshless serve` says to one who is no gRPC client: a browser, curl, a load balancer's HTTP
//! probe.
//!
//! A gRPC server answers such a request with headers that no such client shows, so that the user
//! sees an empty page and learns nothing. Calls to services that are not there are answered as gRPC
//! has it.

use std::future::poll_fn;
use std::pin::Pin;

use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Request, Response};
use hyper::body::Body;
use tonic::Status;
use tonic::service::{AxumBody, AxumRouter, Routes};

/// Routes without services, to which services are added.
pub(crate) fn routes() -> AxumRouter {
    Routes::default().into_axum_router().fallback(answer)
}

async fn answer(request: Request<AxumBody>) -> Response<String> {
    if request.headers().get(CONTENT_TYPE).is_some_and(is_grpc) {
        return Status::unimplemented(
            "this server has no such service; it has reflection, so ask it what it has",
        )
        .into_http();
    }
    discard(request.into_body()).await;
    let mut response = Response::new(USAGE.to_owned());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

/// Reads a request to its end. Who sends one may not listen before.
async fn discard(mut body: AxumBody) {
    for _ in 0..FRAMES_DISCARDED_MAX {
        match poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            Some(Ok(_)) => {}
            _ => return,
        }
    }
}

/// "Content-Type → "content-type" "application/grpc" [("+proto" / "+json" / {custom})]" (gRPC over
/// HTTP/2, Requests)
fn is_grpc(content_type: &HeaderValue) -> bool {
    content_type.as_bytes().starts_with(b"application/grpc")
}

/// At most 16 KiB each. What a client sends beyond them is its own affair.
const FRAMES_DISCARDED_MAX: usize = 1_000;

const USAGE: &str = "\
This is `meshless serve`, a gRPC server. Call it with a gRPC client:

  grpcurl -plaintext -d '{\"message\": \"hello\"}' HOST:PORT hello.HelloService/Echo
  grpcurl -plaintext HOST:PORT list
  meshless load --target ipv4:ADDRESS:PORT
";

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_is_no_grpc_client_is_told_how_to_call() {
        let response = answer(Request::new(AxumBody::empty())).await;
        assert_eq!(response.status(), 200);
        assert!(!response.headers().contains_key("grpc-status"));
        assert!(response.body().contains("grpcurl"));
    }

    #[tokio::test]
    async fn a_grpc_client_is_told_that_there_is_no_such_service() {
        let mut request = Request::new(AxumBody::empty());
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc+proto"));
        let response = answer(request).await;
        assert_eq!(response.headers()["grpc-status"], "12");
        assert!(response.body().is_empty());
    }
}
