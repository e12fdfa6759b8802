//! What a server does around each call of its services: it measures the call, ends it in time, and
//! holds it until a worker is free.
//!
//! One service, one future and one body for all of it, so that a frame passes one wrapper and not
//! three. Each concern has its file: what it holds of a call, and what it makes of an answer.
//!
//! ```text
//! track ▶ metrics ▶ deadline ▶ concurrency_limit ▶ the services
//! ```
//!
//! The order counts. What a deadline or a full server makes of a call is measured, and a call that
//! waits for a worker ends in time. `track` is a wrapper of its own, since
//! [`serve_connection`](crate::serve_connection) has it around services that are not gRPC's.
//! Behind the routes stand `grpc_service`, which belongs to one service and not to plain HTTP
//! routes beside it, and users' own layers and load reports ([`orca`](super::orca)).
//!
//! Called by the connection, around the user's services.

mod concurrency_limit;
mod deadline;
mod metrics;
pub(super) mod track;

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::accepted::ConnectInfo;
use super::call::CallContext;
use super::metrics::{ServedCalls, ServerCallSpan};
pub(super) use concurrency_limit::CallGate;
use concurrency_limit::{Refusal, Worker};
pub(super) use deadline::CallEnd;
use metrics::MeteredRequest;

/// The services of one connection.
#[derive(Clone)]
pub(super) struct Middleware<S> {
    service: S,
    /// What tonic's `Request::remote_addr` looks for, and its like.
    connect_info: ConnectInfo,
    metrics: ServedCalls,
    gate: Option<Arc<CallGate>>,
}

impl<S> Middleware<S> {
    pub(super) fn new(
        service: S,
        connect_info: ConnectInfo,
        metrics: ServedCalls,
        gate: Option<Arc<CallGate>>,
    ) -> Self {
        Self { service, connect_info, metrics, gate }
    }
}

impl<S, R, B> Service<Request<R>> for Middleware<S>
where
    S: Service<Request<MeteredRequest<R>>, Response = Response<B>, Error = Infallible>,
    B: Body,
{
    type Response = Response<ServedBody<B>>;
    /// hyper looks for it, and resets the stream with its reason (`Error::h2_reason`).
    type Error = h2::Error;
    type Future = ServedCall<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.service.poll_ready(cx).map_err(|never| match never {})
    }

    fn call(&mut self, mut request: Request<R>) -> Self::Future {
        let end = request.extensions().get::<CallContext>().map(CallContext::end).unwrap_or_default();
        let span = metrics::begin(&self.metrics, &request, end);
        self.connect_info.insert_into(request.extensions_mut());
        let stage = match concurrency_limit::admit(self.gate.as_ref(), &request) {
            // A tonic service does nothing before it is polled.
            Ok(worker) => {
                Stage::Admitted { worker, call: self.service.call(MeteredRequest::new(request, &span)) }
            }
            Err(refusal) => Stage::Refused { refusal },
        };
        ServedCall { stage, end, span }
    }
}

pin_project! {
    /// One call, up to the head of its response.
    pub(super) struct ServedCall<F> {
        #[pin]
        stage: Stage<F>,
        end: CallEnd,
        span: ServerCallSpan,
    }
}

pin_project! {
    #[project = StageProjection]
    enum Stage<F> {
        Admitted { worker: Worker, #[pin] call: F },
        Refused { refusal: Refusal },
    }
}

impl<F, B> Future for ServedCall<F>
where
    F: Future<Output = Result<Response<B>, Infallible>>,
    B: Body,
{
    type Output = Result<Response<ServedBody<B>>, h2::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let end = *this.end;
        let answer = match this.stage.poll(cx) {
            Poll::Ready(answer) => answer,
            Poll::Pending => match end.answer() {
                Some(answer) => Ok(answer.map(|()| (None, Worker::default()))),
                None => return Poll::Pending,
            },
        };
        let mut span = std::mem::take(this.span);
        metrics::note_answer(&mut span, &answer, |(body, _)| body.as_ref().is_none_or(Body::is_end_stream));
        Poll::Ready(
            answer.map(|response| response.map(|(body, worker)| ServedBody { body, worker, end, span })),
        )
    }
}

/// A response's body, if it has one, and the worker that is busy with it.
type BodyAndWorker<B> = (Option<B>, Worker);

impl<F, B> Stage<F>
where
    F: Future<Output = Result<Response<B>, Infallible>>,
{
    fn poll(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Response<BodyAndWorker<B>>, h2::Error>> {
        match self.project() {
            StageProjection::Admitted { worker, call } => {
                ready!(worker.poll_free(cx));
                let Ok(response) = ready!(call.poll(cx));
                Poll::Ready(Ok(response.map(|body| (Some(body), std::mem::take(worker)))))
            }
            StageProjection::Refused { refusal } => {
                Poll::Ready(refusal.answer().map(|answer| answer.map(|()| (None, Worker::default()))))
            }
        }
    }
}

pin_project! {
    /// The response body of one call; `None` when it was refused, or when its time ended it.
    pub(super) struct ServedBody<B> {
        #[pin]
        body: Option<B>,
        worker: Worker,
        end: CallEnd,
        span: ServerCallSpan,
    }
}

impl<B: Body<Data = Bytes>> Body for ServedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let mut this = self.project();
        let mut frame = match this.body.as_mut().as_pin_mut() {
            Some(body) => body.poll_frame(cx),
            None => Poll::Ready(None),
        };
        if let Some(trailers) = this.end.cut(&frame) {
            this.body.set(None);
            frame = Poll::Ready(Some(Ok(Frame::trailers(trailers))));
        }
        this.worker.note_frame(&frame);
        metrics::note_frame(this.span, &frame);
        frame
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
