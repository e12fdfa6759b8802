//! Measures a server's calls.
//!
//! Knows gRPC's framing and where a response says its status. What is counted, and whether,
//! [`ServedCalls`] knows.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tonic::{Code, Status};

use super::CallEnd;
use crate::server::metrics::{ServedCalls, ServerCallSpan};
use crate::shared::grpc::content_type::is_grpc;
use crate::shared::grpc::grpc_code;
use crate::shared::metrics::MessageMeter;

/// A call begins.
pub(super) fn begin<R>(metrics: &ServedCalls, request: &Request<R>, end: CallEnd) -> ServerCallSpan {
    // Others, an axum handler's, have no status that could be counted.
    match is_grpc(request.headers()) {
        true => metrics.begin(request.uri().path(), end.at()),
        false => ServerCallSpan::default(),
    }
}

/// The head of its response, or what the call failed with. `is_end` tells whether a body has
/// nothing to say.
pub(super) fn note_answer<B, E>(
    span: &mut ServerCallSpan,
    answer: &Result<Response<B>, E>,
    is_end: impl FnOnce(&B) -> bool,
) {
    match answer {
        Ok(response) => {
            if response.headers().contains_key(Status::GRPC_STATUS) || is_end(response.body()) {
                span.end(grpc_code(response.headers()));
            }
        }
        // REFUSED_STREAM, as a client sees it (gRPC over HTTP/2, "Errors").
        Err(_) => span.end(Code::Unavailable),
    }
}

/// What its body gives.
pub(super) fn note_frame<E>(span: &mut ServerCallSpan, frame: &Poll<Option<Result<Frame<Bytes>, E>>>) {
    match frame {
        Poll::Ready(Some(Ok(frame))) => {
            if let Some(bytes) = frame.data_ref() {
                span.send(bytes);
            } else if let Some(trailers) = frame.trailers_ref() {
                span.end(grpc_code(trailers));
            }
        }
        // Without a status, which clients take for this.
        Poll::Ready(Some(Err(_)) | None) => span.end(Code::Unknown),
        Poll::Pending => {}
    }
}

pin_project! {
    /// The request body of one call.
    pub(in crate::server) struct MeteredRequest<R> {
        #[pin]
        body: R,
        meter: MessageMeter,
    }
}

impl<R> MeteredRequest<R> {
    pub(super) fn new(request: Request<R>, span: &ServerCallSpan) -> Request<Self> {
        request.map(|body| Self { body, meter: span.receiver() })
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
