//! Obeys a [`CallLimit`]: keeps the workers and the queue of one server, and sends calls away when
//! it says so.
//!
//! Called around the user's services, within the call's deadline.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use h2::Reason;
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame, SizeHint};
use meshless_core::{BusyAnswer, CallLimit, EarlierRefusals};
use pin_project_lite::pin_project;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;
use tower_service::Service;

use crate::shared::grpc::bounced::{is_second_attempt, mark_answer, may_bounce_again};

/// The workers of one server.
#[derive(Debug)]
pub(super) struct CallGate {
    limit: CallLimit,
    workers: Arc<Semaphore>,
    queued: AtomicUsize,
}

/// What the gate says to a call.
#[derive(Debug)]
enum Admission {
    Run(OwnedSemaphorePermit),
    Wait(QueuePlace),
    Refuse(Refusal),
}

impl CallGate {
    pub(super) fn new(limit: CallLimit) -> Self {
        Self { limit, workers: Arc::new(Semaphore::new(limit.running())), queued: AtomicUsize::new(0) }
    }

    fn admit(self: &Arc<Self>, headers: &HeaderMap) -> Admission {
        // The semaphore is fair: while calls wait, no permit is to be had here.
        if let Ok(worker) = self.workers.clone().try_acquire_owned() {
            return Admission::Run(worker);
        }
        let earlier = match (is_second_attempt(headers), may_bounce_again(headers)) {
            (false, _) => EarlierRefusals::None,
            (true, true) => EarlierRefusals::Once,
            (true, false) => EarlierRefusals::Enough,
        };
        match self.limit.when_busy(self.queued.load(Ordering::Relaxed), earlier) {
            BusyAnswer::Bounce => Admission::Refuse(Refusal::Bounced),
            BusyAnswer::BounceAgain => Admission::Refuse(Refusal::BouncedAgain),
            BusyAnswer::Shed => Admission::Refuse(Refusal::Shed),
            BusyAnswer::Wait => {
                let before = self.queued.fetch_add(1, Ordering::Relaxed);
                let place = QueuePlace { gate: self.clone() };
                // Others may have come in between.
                match self.limit.when_busy(before, EarlierRefusals::Enough) {
                    BusyAnswer::Wait => Admission::Wait(place),
                    _ => Admission::Refuse(Refusal::Shed),
                }
            }
        }
    }
}

/// A call that waits. Dropping it makes room.
#[derive(Debug)]
struct QueuePlace {
    gate: Arc<CallGate>,
}

impl QueuePlace {
    async fn wait(self) -> OwnedSemaphorePermit {
        let worker = self.gate.workers.clone().acquire_owned().await;
        worker.expect("the semaphore is never closed")
    }
}

impl Drop for QueuePlace {
    fn drop(&mut self) {
        self.gate.queued.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Services behind a gate, if there is one.
#[derive(Clone, Debug)]
pub(super) struct GatedCalls<S> {
    service: S,
    gate: Option<Arc<CallGate>>,
}

impl<S> GatedCalls<S> {
    pub(super) fn new(service: S, gate: Option<Arc<CallGate>>) -> Self {
        Self { service, gate }
    }
}

impl<S, R, B> Service<Request<R>> for GatedCalls<S>
where
    S: Service<Request<R>, Response = Response<B>, Error = std::convert::Infallible>,
{
    type Response = Response<GatedBody<B>>;
    /// hyper looks for it, and resets the stream with its reason (`Error::h2_reason`).
    type Error = h2::Error;
    type Future = GatedCall<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.service.poll_ready(cx).map_err(|never| match never {})
    }

    fn call(&mut self, request: Request<R>) -> Self::Future {
        // A watch would hold a worker for as long as its client lives, and a probe that is shed
        // would take a pod that only has much to do out of its Service.
        let is_call = !BESIDE_CALLS.iter().any(|service| request.uri().path().starts_with(service));
        let gate = self.gate.as_ref().filter(|_| is_call);
        // A tonic service does nothing before it is polled.
        let (wait, worker) = match gate.map(|gate| gate.admit(request.headers())) {
            None => (None, None),
            Some(Admission::Run(worker)) => (None, Some(worker)),
            Some(Admission::Wait(place)) => (Some(Box::pin(place.wait()) as Wait), None),
            Some(Admission::Refuse(how)) => return GatedCall::Refused { how },
        };
        GatedCall::Admitted { wait, worker, call: self.service.call(request) }
    }
}

type Wait = Pin<Box<dyn Future<Output = OwnedSemaphorePermit> + Send>>;

pin_project! {
    /// One call, up to the head of its response.
    #[project = GatedCallProjection]
    pub(super) enum GatedCall<F> {
        Admitted { wait: Option<Wait>, worker: Option<OwnedSemaphorePermit>, #[pin] call: F },
        Refused { how: Refusal },
    }
}

/// How a call is sent away.
#[derive(Clone, Copy, Debug)]
pub(super) enum Refusal {
    Bounced,
    BouncedAgain,
    Shed,
}

impl<F, B> Future for GatedCall<F>
where
    F: Future<Output = Result<Response<B>, std::convert::Infallible>>,
{
    type Output = Result<Response<GatedBody<B>>, h2::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            GatedCallProjection::Admitted { wait, worker, call } => {
                if let Some(waiting) = wait {
                    let Poll::Ready(permit) = waiting.as_mut().poll(cx) else { return Poll::Pending };
                    (*wait, *worker) = (None, Some(permit));
                }
                let Poll::Ready(response) = call.poll(cx) else { return Poll::Pending };
                let Ok(response) = response;
                let worker = worker.take();
                Poll::Ready(Ok(response.map(|body| GatedBody { body: Some(body), worker })))
            }
            GatedCallProjection::Refused { how: Refusal::Bounced } => {
                Poll::Ready(Err(Reason::REFUSED_STREAM.into()))
            }
            GatedCallProjection::Refused { how: Refusal::BouncedAgain } => {
                let mut response = Status::unavailable("the server is busy; try another").into_http::<()>();
                mark_answer(response.headers_mut());
                Poll::Ready(Ok(response.map(|()| GatedBody { body: None, worker: None })))
            }
            GatedCallProjection::Refused { how: Refusal::Shed } => {
                let status = Status::resource_exhausted("the server has more calls than it can queue");
                let response = status.into_http::<()>();
                Poll::Ready(Ok(response.map(|()| GatedBody { body: None, worker: None })))
            }
        }
    }
}

pin_project! {
    /// The response body of one call, which holds its worker until it ends; `None` when the call
    /// was shed.
    pub(super) struct GatedBody<B> {
        #[pin]
        body: Option<B>,
        worker: Option<OwnedSemaphorePermit>,
    }
}

impl<B: Body> Body for GatedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let mut this = self.project();
        let Some(body) = this.body.as_mut().as_pin_mut() else { return Poll::Ready(None) };
        let frame = body.poll_frame(cx);
        // The handler is done when the trailers are there, however long the client takes to read
        // them.
        if matches!(&frame, Poll::Ready(None | Some(Err(_)))) || is_trailers(&frame) {
            *this.worker = None;
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

fn is_trailers<D, E>(frame: &Poll<Option<Result<Frame<D>, E>>>) -> bool {
    matches!(frame, Poll::Ready(Some(Ok(frame))) if frame.is_trailers())
}

/// What asks after the server itself is not among the calls that it limits.
const BESIDE_CALLS: [&str; 2] = ["/grpc.health.v1.Health/", "/xds.service.orca.v3.OpenRcaService/"];
