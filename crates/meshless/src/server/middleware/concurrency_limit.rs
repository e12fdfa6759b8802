//! Obeys a [`CallLimit`]: keeps the workers and the queue of one server, and sends calls away when
//! it says so.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use h2::Reason;
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use meshless_core::{BusyAnswer, CallLimit, EarlierRefusals};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;

use crate::shared::grpc::bounced::{is_second_attempt, mark_answer, may_bounce_again};

/// Admits a call, if there is a limit.
///
/// # Errors
/// If it is sent away: how.
pub(super) fn admit<R>(gate: Option<&Arc<CallGate>>, request: &Request<R>) -> Result<Worker, Refusal> {
    // A watch would hold a worker for as long as its client lives, and a probe that is shed would
    // take a pod that only has much to do out of its Service.
    let is_call = || !BESIDE_CALLS.iter().any(|service| request.uri().path().starts_with(service));
    match gate.filter(|_| is_call()) {
        Some(gate) => gate.admit(request.headers()),
        None => Ok(Worker::None),
    }
}

/// The workers of one server.
#[derive(Debug)]
pub(in crate::server) struct CallGate {
    limit: CallLimit,
    workers: Arc<Semaphore>,
    queued: AtomicUsize,
}

impl CallGate {
    pub(in crate::server) fn new(limit: CallLimit) -> Self {
        Self { limit, workers: Arc::new(Semaphore::new(limit.running())), queued: AtomicUsize::new(0) }
    }

    fn admit(self: &Arc<Self>, headers: &HeaderMap) -> Result<Worker, Refusal> {
        // The semaphore is fair: while calls wait, no permit is to be had here.
        if let Ok(worker) = self.workers.clone().try_acquire_owned() {
            return Ok(Worker::Busy { _permit: worker });
        }
        let earlier = match (is_second_attempt(headers), may_bounce_again(headers)) {
            (false, _) => EarlierRefusals::None,
            (true, true) => EarlierRefusals::Once,
            (true, false) => EarlierRefusals::Enough,
        };
        match self.limit.when_busy(self.queued.load(Ordering::Relaxed), earlier) {
            BusyAnswer::Bounce => Err(Refusal::Bounced),
            BusyAnswer::BounceAgain => Err(Refusal::BouncedAgain),
            BusyAnswer::Shed => Err(Refusal::Shed),
            BusyAnswer::Wait => {
                let before = self.queued.fetch_add(1, Ordering::Relaxed);
                let place = QueuePlace { gate: self.clone() };
                // Others may have come in between.
                match self.limit.when_busy(before, EarlierRefusals::Enough) {
                    BusyAnswer::Wait => Ok(Worker::Awaited(Box::pin(place.wait()))),
                    _ => Err(Refusal::Shed),
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

/// The worker that a call keeps busy. Dropping it frees the worker, or the place in the queue.
#[derive(Default)]
pub(super) enum Worker {
    /// It needs none, or no longer.
    #[default]
    None,
    /// It waits for one.
    Awaited(Pin<Box<dyn Future<Output = OwnedSemaphorePermit> + Send>>),
    /// Until this is dropped.
    Busy { _permit: OwnedSemaphorePermit },
}

impl Worker {
    /// Waits until it may work on the call.
    pub(super) fn poll_free(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Self::Awaited(worker) = self {
            *self = Self::Busy { _permit: ready!(worker.as_mut().poll(cx)) };
        }
        Poll::Ready(())
    }

    /// Lets it go when `frame` is the last. The handler is done when the trailers are there, however
    /// long the client takes to read them.
    pub(super) fn note_frame<D, E>(&mut self, frame: &Poll<Option<Result<Frame<D>, E>>>) {
        let goes_on = match frame {
            Poll::Ready(Some(Ok(frame))) => !frame.is_trailers(),
            Poll::Ready(None | Some(Err(_))) => false,
            Poll::Pending => true,
        };
        if !goes_on {
            *self = Self::None;
        }
    }
}

/// How a call is sent away.
#[derive(Clone, Copy, Debug)]
pub(super) enum Refusal {
    Bounced,
    BouncedAgain,
    Shed,
}

impl Refusal {
    pub(super) fn answer(self) -> Result<Response<()>, h2::Error> {
        match self {
            Self::Bounced => Err(Reason::REFUSED_STREAM.into()),
            Self::BouncedAgain => {
                let mut answer = Status::unavailable("the server is busy; try another").into_http();
                mark_answer(answer.headers_mut());
                Ok(answer)
            }
            Self::Shed => {
                Ok(Status::resource_exhausted("the server has more calls than it can queue").into_http())
            }
        }
    }
}

/// What asks after the server itself is not among the calls that it limits.
const BESIDE_CALLS: [&str; 2] = ["/grpc.health.v1.Health/", "/xds.service.orca.v3.OpenRcaService/"];
