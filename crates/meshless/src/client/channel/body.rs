//! The response of a call: its messages, within the deadline, and the end of the call's accounts.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use meshless_core::{Address, CodeSet, EndpointId, Lease, Outcome};
use tokio::time::{Instant, Sleep};
use tonic::{Code, Status};

use super::shared::{DriverEvent, Shared};
use crate::client::call::{self, CallGuard, MessageLimit, TooLong, core_code, grpc_code};
use crate::client::connection::Connection;
use crate::shared::metrics::{AttemptSpan, CallSpan};
use crate::shared::orca;

/// The body of a response, as tonic's generated clients read it.
///
/// Dropping it before its end cancels the call on the server.
pub struct ResponseBody {
    received: call::ResponseBody<CallEnd>,
    deadline: Option<Instant>,
    /// Made when the first wait begins: the answer of most calls is all there at once.
    timer: Option<Pin<Box<Sleep>>>,
    limit: Option<Box<MessageLimit>>,
}

impl ResponseBody {
    pub(super) fn attach(
        response: http::Response<call::ResponseBody>,
        end: CallEnd,
        deadline: Option<Instant>,
        message_max: Option<u32>,
    ) -> http::Response<Self> {
        let (parts, received) = response.into_parts();
        let received = received.guarded(&parts.headers, end);
        let limit = message_max.map(|max| Box::new(MessageLimit::new(max)));
        http::Response::from_parts(parts, Self { received, deadline, timer: None, limit })
    }

    /// The call ends when this response does.
    pub(super) fn ends(response: &mut http::Response<Self>, call: CallSpan) {
        if response.body_mut().received.guard_mut().is_none() {
            return call.ended(grpc_code(response.headers()));
        }
        if let Some(end) = response.body_mut().received.guard_mut() {
            end.call = call;
        }
    }

    fn check(&mut self, frame: &Frame<Bytes>) -> Result<(), Status> {
        let (Some(limit), Some(bytes)) = (&mut self.limit, frame.data_ref()) else { return Ok(()) };
        limit.pass(bytes).map_err(|TooLong { len, max }| {
            Status::resource_exhausted(format!(
                "a message of {len} bytes is longer than the {max} that the service config allows in a response"
            ))
        })
    }

    fn has_passed(&self) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= Instant::now())
    }

    fn is_late(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(deadline) = self.deadline else { return false };
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        timer.as_mut().poll(cx).is_ready()
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        match Pin::new(&mut this.received).poll_frame(cx) {
            // A stream that always has a message ready is late without ever waiting.
            Poll::Ready(Some(Ok(frame))) if frame.is_data() && this.has_passed() => {}
            Poll::Ready(Some(Ok(frame))) => match this.check(&frame) {
                Ok(()) => return Poll::Ready(Some(Ok(frame))),
                Err(too_long) => {
                    if let Some(end) = this.received.guard_mut() {
                        end.is_blameless = true;
                    }
                    this.received.cancel(Code::ResourceExhausted);
                    return Poll::Ready(Some(Err(too_long)));
                }
            },
            Poll::Ready(frame) => return Poll::Ready(frame),
            Poll::Pending if this.is_late(cx) => {}
            Poll::Pending => return Poll::Pending,
        }
        let status = Status::deadline_exceeded(match this.received.guard() {
            Some(end) => end.deadline_exceeded(),
            None => "the deadline passed while the response was received".to_owned(),
        });
        this.received.cancel(Code::DeadlineExceeded);
        Poll::Ready(Some(Err(status)))
    }

    fn is_end_stream(&self) -> bool {
        self.received.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.received.size_hint()
    }
}

impl fmt::Debug for ResponseBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseBody").field("deadline", &self.deadline).finish_non_exhaustive()
    }
}

/// Ends an attempt's accounts: the lease, what the balancer learns from it, and the call that waits for its room.
pub(super) struct CallEnd {
    lease: Option<Lease<Connection>>,
    /// When the backend answered. `peak_ewma` learns this and not the end of the response, or a stream that lives for
    /// an hour would count as a latency of an hour.
    answered: Option<std::time::Instant>,
    /// The codes that count against the retry throttle; none without a policy.
    failures: CodeSet,
    /// The end is this side's decision: the backend answered as it should.
    is_blameless: bool,
    attempt: AttemptSpan,
    /// Of the attempt whose answer the caller gets.
    call: CallSpan,
    shared: Arc<Shared>,
}

impl CallEnd {
    pub(super) fn new(lease: Lease<Connection>, attempt: AttemptSpan, shared: Arc<Shared>) -> Self {
        let (failures, call) = (CodeSet::EMPTY, CallSpan::default());
        Self { lease: Some(lease), answered: None, failures, is_blameless: false, attempt, call, shared }
    }

    /// The backend has answered, now. From here on the end of the call counts for the retry throttle: against it if its
    /// code is one of `failures`.
    pub(super) fn answered(mut self, failures: CodeSet) -> Self {
        self.answered = Some(Instant::now().into_std());
        self.failures = failures;
        self
    }

    /// Whatever comes, the backend has done its part.
    pub(super) fn without_blame(mut self) -> Self {
        self.is_blameless = true;
        self
    }

    /// Where the attempt went.
    pub(super) fn endpoint(&self) -> EndpointId {
        self.lease().endpoint()
    }

    pub(super) fn address(&self) -> &Address {
        self.lease().connection().address()
    }

    fn lease(&self) -> &Lease<Connection> {
        self.lease.as_ref().expect("the lease is held until the end")
    }

    /// What the caller is told when the deadline has passed with the response under way.
    fn deadline_exceeded(&self) -> String {
        let target = &self.shared.target;
        let endpoint = self.address();
        format!("{target}: the deadline passed while the response of {endpoint} was received")
    }

    /// The attempt's end says nothing about the backend.
    pub(super) fn left_behind(mut self, code: Code) {
        std::mem::take(&mut self.attempt).ended(code);
    }

    /// For how long the backend has had the attempt.
    pub(super) fn elapsed(&self) -> Duration {
        Instant::now().into_std().saturating_duration_since(self.lease().started())
    }

    /// The attempt got no answer, and another one that was made later did.
    pub(super) fn outlasted(mut self) {
        if let Some(lease) = self.lease.take() {
            lease.outlasted(Instant::now().into_std());
        }
    }

    /// The attempt got no answer.
    pub(super) fn failed(self, code: Code) {
        self.ended(code);
    }
}

impl CallGuard for CallEnd {
    fn data(&mut self, bytes: &[u8]) {
        self.attempt.receive(bytes);
    }

    fn trailers(&mut self, trailers: &HeaderMap) {
        if let Some(lease) = self.lease.as_ref().filter(|lease| lease.wants_load())
            && let Some(load) = orca::read(trailers)
        {
            lease.report(Instant::now().into_std(), &load);
        }
    }

    fn ended(mut self, code: Code) {
        std::mem::take(&mut self.attempt).ended(code);
        std::mem::take(&mut self.call).ended(code);
        if !self.failures.is_empty() && !self.is_blameless {
            self.shared.retries.record_end(core_code(code), self.failures);
        }
        if let Some(lease) = self.lease.take() {
            let at = self.answered.unwrap_or_else(|| Instant::now().into_std());
            let outcome = if self.is_blameless { Outcome::Success } else { outcome(code) };
            if let Some(report) = lease.finish(at, outcome) {
                self.shared.tell(DriverEvent::Outcome(report));
            }
        }
    }
}

/// Without an end before, the call was cancelled: counted out, nothing learned.
impl Drop for CallEnd {
    fn drop(&mut self) {
        drop(self.lease.take());
        self.shared.announce_room();
    }
}

/// Whether the backend did its work. Codes that an application gives for its own reasons say nothing against it.
fn outcome(code: Code) -> Outcome {
    match code {
        Code::Unavailable
        | Code::ResourceExhausted
        | Code::Internal
        | Code::Unknown
        | Code::DataLoss
        | Code::DeadlineExceeded => Outcome::Failure,
        _ => Outcome::Success,
    }
}
