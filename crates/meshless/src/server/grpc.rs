//! What a gRPC server adds to each call: the client's deadline, and the client's address.
//!
//! A call with `grpc-timeout` ends with DEADLINE_EXCEEDED when the time is over, in the middle of
//! its messages too; the handler is dropped. (tonic's own server ends such a call with CANCELLED,
//! and leaves streams alone.) A call without the header costs one look at it and no timer. A stream
//! that reaches the server's maximum age and its grace ends likewise, with UNAVAILABLE. The call's
//! task keeps the timer, and resets a stream whose client has stopped reading: a body is only asked
//! while the client reads.
//!
//! Called by the connection, around the user's services.

use std::pin::Pin;
use std::task::{Context, Poll};

use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::accepted::ConnectInfo;
use super::call::{CallContext, CallEnd};

/// The services of one connection.
#[derive(Clone, Debug)]
pub(super) struct GrpcCalls<S> {
    service: S,
    /// What tonic's `Request::remote_addr` looks for, and its like.
    connect_info: ConnectInfo,
}

impl<S> GrpcCalls<S> {
    pub(super) fn new(service: S, connect_info: ConnectInfo) -> Self {
        Self { service, connect_info }
    }
}

impl<S, R, B> Service<Request<R>> for GrpcCalls<S>
where
    S: Service<Request<R>, Response = Response<B>>,
{
    type Response = Response<DeadlineBody<B>>;
    type Error = S::Error;
    type Future = DeadlineCall<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<R>) -> Self::Future {
        let end = request.extensions().get::<CallContext>().map(CallContext::end).unwrap_or_default();
        self.connect_info.insert_into(request.extensions_mut());
        DeadlineCall { call: self.service.call(request), end }
    }
}

pin_project! {
    /// One call, up to the head of its response.
    pub(super) struct DeadlineCall<F> {
        #[pin]
        call: F,
        end: CallEnd,
    }
}

impl<F, B, E> Future for DeadlineCall<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<DeadlineBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let end = *this.end;
        if let Poll::Ready(response) = this.call.poll(cx) {
            return Poll::Ready(
                response.map(|response| response.map(|body| DeadlineBody { body: Some(body), end })),
            );
        }
        match end.status() {
            Some(status) => {
                let response = status.into_http::<()>();
                Poll::Ready(Ok(response.map(|()| DeadlineBody { body: None, end })))
            }
            None => Poll::Pending,
        }
    }
}

pin_project! {
    /// The response body of one call; `None` when the end of its time ended it.
    pub(super) struct DeadlineBody<B> {
        #[pin]
        body: Option<B>,
        end: CallEnd,
    }
}

impl<B: Body> Body for DeadlineBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let mut this = self.project();
        let Some(body) = this.body.as_mut().as_pin_mut() else { return Poll::Ready(None) };
        let frame = body.poll_frame(cx);
        // A stream that always has a message ready is late without ever waiting.
        let goes_on = match &frame {
            Poll::Ready(Some(Ok(frame))) => frame.is_data(),
            Poll::Ready(_) => false,
            Poll::Pending => true,
        };
        let Some(status) = goes_on.then(|| this.end.status()).flatten() else { return frame };
        this.body.set(None);
        let mut trailers = HeaderMap::new();
        status.add_header(&mut trailers).expect("code and message are valid header values");
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.body {
            // The deadline may cut what the body promises.
            Some(body) if self.end.at().is_none() => body.size_hint(),
            Some(_) => SizeHint::default(),
            None => SizeHint::with_exact(0),
        }
    }
}
