//! Measures a server's calls, around everything else that it does with them: what a deadline or a
//! full server makes of a call counts.
//!
//! Knows gRPC's framing and where a response says its status. What is counted, and whether,
//! `metrics` knows.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tonic::{Code, Status};
use tower_service::Service;

use super::call::CallContext;
use super::metrics::{ServedCalls, ServerCallSpan};
use crate::shared::grpc::content_type::is_grpc;
use crate::shared::grpc::grpc_code;
use crate::shared::metrics::MessageMeter;

/// The services of one connection.
#[derive(Clone)]
pub(super) struct MeteredCalls<S> {
    service: S,
    metrics: ServedCalls,
}

impl<S> MeteredCalls<S> {
    pub(super) fn new(service: S, metrics: ServedCalls) -> Self {
        Self { service, metrics }
    }
}

impl<S, R, B> Service<Request<R>> for MeteredCalls<S>
where
    S: Service<Request<MeteredRequest<R>>, Response = Response<B>>,
    B: Body,
{
    type Response = Response<MeteredBody<B>>;
    type Error = S::Error;
    type Future = MeteredCall<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, request: Request<R>) -> Self::Future {
        // Others, an axum handler's, have no status that could be counted.
        let span = if is_grpc(request.headers()) {
            let context = request.extensions().get::<CallContext>();
            self.metrics.begin(request.uri().path(), context.and_then(CallContext::ends_at))
        } else {
            ServerCallSpan::default()
        };
        let meter = span.receiver();
        let request = request.map(|body| MeteredRequest { body, meter });
        MeteredCall { call: self.service.call(request), span }
    }
}

pin_project! {
    /// The request body of one call.
    pub(super) struct MeteredRequest<R> {
        #[pin]
        body: R,
        meter: MessageMeter,
    }
}

impl<R: Body<Data = Bytes>> Body for MeteredRequest<R> {
    type Data = Bytes;
    type Error = R::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.project();
        let frame = this.body.poll_frame(cx);
        if let Poll::Ready(Some(Ok(frame))) = &frame
            && let Some(bytes) = frame.data_ref()
        {
            this.meter.pass(bytes);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

pin_project! {
    /// One call, up to the head of its response.
    pub(super) struct MeteredCall<F> {
        #[pin]
        call: F,
        span: ServerCallSpan,
    }
}

impl<F, B, E> Future for MeteredCall<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body,
{
    type Output = Result<Response<MeteredBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Poll::Ready(response) = this.call.poll(cx) else { return Poll::Pending };
        let mut span = std::mem::take(this.span);
        Poll::Ready(match response {
            Ok(response) => {
                if response.headers().contains_key(Status::GRPC_STATUS) || response.body().is_end_stream() {
                    span.end(grpc_code(response.headers()));
                }
                Ok(response.map(|body| MeteredBody { body, span }))
            }
            Err(error) => {
                // REFUSED_STREAM, as a client sees it (gRPC over HTTP/2, "Errors").
                span.end(Code::Unavailable);
                Err(error)
            }
        })
    }
}

pin_project! {
    /// The response body of one call.
    pub(super) struct MeteredBody<B> {
        #[pin]
        body: B,
        span: ServerCallSpan,
    }
}

impl<B: Body<Data = Bytes>> Body for MeteredBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = self.project();
        let frame = this.body.poll_frame(cx);
        match &frame {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(bytes) = frame.data_ref() {
                    this.span.send(bytes);
                } else if let Some(trailers) = frame.trailers_ref() {
                    this.span.end(grpc_code(trailers));
                }
            }
            // Without a status, which clients take for this.
            Poll::Ready(Some(Err(_)) | None) => this.span.end(Code::Unknown),
            Poll::Pending => {}
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
