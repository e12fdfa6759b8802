//! What a gRPC server adds to each call: the client's deadline, and the client's address.
//!
//! A call with `grpc-timeout` ends with DEADLINE_EXCEEDED when the time is over, in the middle of its messages too; the
//! handler is dropped. (tonic's own server ends such a call with CANCELLED, and leaves streams alone.) A call without the
//! header costs one look at it and no timer. A body is only asked while the client reads: a stream whose client has
//! stopped reading is held until it reads on, resets the stream, or loses the connection.
//!
//! Called by the connection, around the user's services.

use std::pin::Pin;
use std::task::{Context, Poll};

use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tokio::time::Sleep;
use tonic::Status;
use tower_service::Service;

use super::accepted::ConnectInfo;
use crate::grpc_timeout;

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
        let deadline = grpc_timeout::read(request.headers()).map(|after| Box::pin(tokio::time::sleep(after)));
        self.connect_info.insert_into(request.extensions_mut());
        DeadlineCall { call: self.service.call(request), deadline }
    }
}

pin_project! {
    /// One call, up to the head of its response.
    pub(super) struct DeadlineCall<F> {
        #[pin]
        call: F,
        deadline: Deadline,
    }
}

impl<F, B, E> Future for DeadlineCall<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<DeadlineBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(response) = this.call.poll(cx) {
            let deadline = this.deadline.take();
            return Poll::Ready(
                response.map(|response| response.map(|body| DeadlineBody { body: Some(body), deadline })),
            );
        }
        if is_over(this.deadline, cx) {
            let response = deadline_exceeded().into_http::<()>();
            return Poll::Ready(Ok(response.map(|()| DeadlineBody { body: None, deadline: None })));
        }
        Poll::Pending
    }
}

pin_project! {
    /// The response body of one call; `None` when the deadline ended it.
    pub(super) struct DeadlineBody<B> {
        #[pin]
        body: Option<B>,
        deadline: Deadline,
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
        match body.poll_frame(cx) {
            // A stream that always has a message ready is late without ever waiting.
            Poll::Ready(Some(Ok(frame))) if frame.is_data() && has_passed(this.deadline) => {}
            Poll::Ready(frame) => return Poll::Ready(frame),
            Poll::Pending if is_over(this.deadline, cx) => {}
            Poll::Pending => return Poll::Pending,
        }
        this.body.set(None);
        let mut trailers = HeaderMap::new();
        deadline_exceeded().add_header(&mut trailers).expect("code and message are valid header values");
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        match &self.body {
            // The deadline may cut what the body promises.
            Some(body) if self.deadline.is_none() => body.size_hint(),
            Some(_) => SizeHint::default(),
            None => SizeHint::with_exact(0),
        }
    }
}

/// A timer only where the client set a deadline.
type Deadline = Option<Pin<Box<Sleep>>>;

fn has_passed(deadline: &Deadline) -> bool {
    deadline.as_ref().is_some_and(|sleep| sleep.deadline() <= tokio::time::Instant::now())
}

fn is_over(deadline: &mut Deadline, cx: &mut Context<'_>) -> bool {
    deadline.as_mut().is_some_and(|sleep| sleep.as_mut().poll(cx).is_ready())
}

fn deadline_exceeded() -> Status {
    Status::deadline_exceeded("the deadline that the client set has passed")
}
