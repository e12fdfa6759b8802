//! The response of a call: its messages, its deadline, and the accounting at its end.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http::uri::PathAndQuery;
use http_body::{Body, Frame, SizeHint};
use meshless_core::{
    Address, CodeSet, Ending, EndpointId, Lease, MessageFault, MessageScanner, MessageStop, Outcome,
};
use tokio::time::{Instant, Sleep};
use tonic::{Code, Status};

use super::hidden_endpoints::hide_endpoints;
use super::shared::{ChannelShared, DriverEvent};
use crate::client::call::{self, CallGuard, Outgoing, UnofferedEncoding};
use crate::client::connection::Connection;
use crate::client::metrics::{AttemptSpan, CallSpan};
use crate::shared::grpc::{core_code, grpc_code};
use crate::shared::orca;

/// The body of a response, as tonic's generated clients read it.
///
/// Dropping it before its end cancels the call on the server. The default is an empty body: a tonic
/// interceptor that refuses a call answers with it.
#[derive(Default)]
pub struct ResponseBody {
    received: call::AttemptBody<LeaseEnd>,
    deadline: Option<Instant>,
    /// True if statuses made by the channel name no endpoint.
    hides_endpoints: bool,
    /// Made when the first wait begins: most answers are complete at once.
    timer: Option<Pin<Box<Sleep>>>,
}

impl ResponseBody {
    pub(super) fn attach(
        response: http::Response<call::AttemptBody>,
        end: LeaseEnd,
        deadline: Option<Instant>,
        message_max: Option<u32>,
        request: &Outgoing,
    ) -> http::Response<Self> {
        let (parts, received) = response.into_parts();
        let hides_endpoints = !end.shared.settings.shows_endpoints;
        let end = end.reads(&parts, message_max, request);
        let received = received.guarded(&parts.headers, end);
        http::Response::from_parts(parts, Self { received, deadline, hides_endpoints, timer: None })
    }

    /// Ends `call` when this response ends.
    pub(super) fn ends(response: &mut http::Response<Self>, call: CallSpan) {
        if response.body_mut().received.guard_mut().is_none() {
            return call.ended(grpc_code(response.headers()));
        }
        if let Some(end) = response.body_mut().received.guard_mut() {
            end.call = call;
        }
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
        match self.poll_received(cx) {
            Poll::Ready(Some(Err(status))) if self.hides_endpoints => {
                Poll::Ready(Some(Err(hide_endpoints(status))))
            }
            polled => polled,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.received.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.received.size_hint()
    }
}

impl ResponseBody {
    fn poll_received(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self;
        let mut ending = Ending::TimedOutInStream;
        match Pin::new(&mut this.received).poll_frame(cx) {
            // A stream that always has a message ready never waits, but can still be late.
            Poll::Ready(Some(Ok(frame))) if frame.is_data() && this.has_passed() => {}
            Poll::Ready(Some(Ok(frame))) => match this.received.guard().and_then(LeaseEnd::unreadable) {
                None => return Poll::Ready(Some(Ok(frame))),
                Some((status, ending)) => {
                    this.received.cancel(status.code(), ending);
                    return Poll::Ready(Some(Err(status)));
                }
            },
            Poll::Ready(frame) => return Poll::Ready(frame),
            Poll::Pending if this.is_late(cx) => {
                if this.received.guard().is_some_and(|end| !end.messages.has_passed_any()) {
                    ending = Ending::TimedOut { had_less_than_half: false };
                }
            }
            Poll::Pending => return Poll::Pending,
        }
        let status = Status::deadline_exceeded(match this.received.guard() {
            Some(end) => end.deadline_exceeded(),
            None => "the deadline passed while the response was received".to_owned(),
        });
        this.received.cancel(Code::DeadlineExceeded, ending);
        Poll::Ready(Some(Err(status)))
    }
}

impl fmt::Debug for ResponseBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseBody").field("deadline", &self.deadline).finish_non_exhaustive()
    }
}

/// Ends the accounting of an attempt: its lease, the balancer's report, and the wake-up of a
/// waiting call.
pub(super) struct LeaseEnd {
    lease: Option<Lease<Connection>>,
    /// When the backend answered. `peak_ewma` learns this and not the end of the response:
    /// otherwise a stream that lives for an hour would count as a latency of an hour.
    answered: Option<std::time::Instant>,
    /// The codes that count against the retry throttle; none without a policy.
    failures: CodeSet,
    /// The server bounced the call, as a busy one may. The response does not count as a failure of
    /// the server.
    is_blameless: bool,
    messages: MessageScanner,
    /// Why no more messages can be read.
    stop: Option<MessageStop>,
    /// The response names an encoding that the call did not offer.
    is_encoding_unoffered: bool,
    method: Option<PathAndQuery>,
    attempt: AttemptSpan,
    /// Set for the attempt whose answer the caller gets.
    call: CallSpan,
    shared: Arc<ChannelShared>,
}

impl LeaseEnd {
    pub(super) fn new(lease: Lease<Connection>, attempt: AttemptSpan, shared: Arc<ChannelShared>) -> Self {
        Self {
            lease: Some(lease),
            answered: None,
            failures: CodeSet::EMPTY,
            is_blameless: false,
            messages: MessageScanner::new(false, None),
            stop: None,
            is_encoding_unoffered: false,
            method: None,
            attempt,
            call: CallSpan::default(),
            shared,
        }
    }

    /// Sets how to read the rest, from the head of the response.
    fn reads(mut self, head: &http::response::Parts, message_max: Option<u32>, request: &Outgoing) -> Self {
        let encoding = head.headers.get("grpc-encoding").filter(|encoding| *encoding != "identity");
        self.messages = MessageScanner::new(encoding.is_some(), message_max);
        self.is_encoding_unoffered = head.extensions.get::<UnofferedEncoding>().is_some();
        self.method = request.path();
        self
    }

    /// The backend has answered now. From here on the end of the call counts for the retry
    /// throttle: as a failure if its code is one of `failures`.
    pub(super) fn answered(mut self, failures: CodeSet) -> Self {
        self.answered = Some(Instant::now().into_std());
        self.failures = failures;
        self
    }

    /// The rest of the response does not count as a failure of the backend.
    pub(super) fn without_blame(mut self) -> Self {
        self.is_blameless = true;
        self
    }

    /// Returns the endpoint of the attempt.
    pub(super) fn endpoint(&self) -> EndpointId {
        self.lease().endpoint()
    }

    pub(super) fn address(&self) -> &Address {
        self.lease().connection().address()
    }

    fn lease(&self) -> &Lease<Connection> {
        self.lease.as_ref().expect("the lease is held until the end")
    }

    /// Returns the message for a deadline that passed during the response.
    fn deadline_exceeded(&self) -> String {
        let target = &self.shared.target;
        let endpoint = self.address();
        format!("{target}: the deadline passed while the response of {endpoint} was received")
    }

    /// Returns how long the backend has had the attempt.
    pub(super) fn elapsed(&self) -> Duration {
        Instant::now().into_std().saturating_duration_since(self.lease().started())
    }

    /// The attempt got no answer, but a later one did.
    pub(super) fn outlasted(mut self) {
        if let Some(lease) = self.lease.take() {
            lease.outlasted(Instant::now().into_std());
        }
    }

    /// The attempt got no answer for its caller.
    pub(super) fn failed(self, code: Code, ending: Ending) {
        self.ended(code, ending);
    }

    /// Returns why the last received bytes cannot be given to the caller, if so.
    fn unreadable(&self) -> Option<(Status, Ending)> {
        Some(match self.stop? {
            MessageStop::TooLong { len, max } => {
                let text = format!(
                    "a message of {len} bytes is longer than the {max} that the service config allows in a response"
                );
                (Status::resource_exhausted(text), Ending::CallerLimit)
            }
            MessageStop::Fault(fault) => {
                let text = format!("{}: {fault}", self.address());
                (Status::internal(text), Ending::BadMessage(fault))
            }
        })
    }

    /// Returns the end as the caller sees it, which may differ from the response's last frame.
    fn seen_by_caller(&self, code: Code, ending: Ending) -> (Code, Ending) {
        match (ending, self.stop) {
            (Ending::Status(_) | Ending::NoStatus, Some(MessageStop::Fault(fault))) => {
                (Code::Internal, Ending::BadMessage(fault))
            }
            (Ending::Status(meshless_core::Code::Ok), _) if !self.messages.is_between_messages() => {
                (Code::Internal, Ending::BadMessage(MessageFault::Truncated))
            }
            (Ending::Status(meshless_core::Code::Ok), _) if !self.messages.has_passed_any() => {
                let method = self.method.as_ref().map_or("", PathAndQuery::path);
                let is_usual = self.shared.empty_answers.is_usual(method, self.endpoint());
                (code, Ending::NoMessage { is_usual })
            }
            _ => (code, ending),
        }
    }
}

impl CallGuard for LeaseEnd {
    fn data(&mut self, bytes: &[u8]) {
        self.attempt.receive(bytes);
        if let Err(stop) = self.messages.pass(bytes) {
            let no_encoding = MessageStop::Fault(MessageFault::NoEncoding);
            let stop = if self.is_encoding_unoffered && stop == no_encoding {
                MessageStop::Fault(MessageFault::Encoding)
            } else {
                stop
            };
            self.stop.get_or_insert(stop);
        }
        match self.messages.take_empty() {
            0 => {}
            empty => self.lease().connection().note_empty_messages(empty),
        }
    }

    /// tonic silently drops an incomplete message if an OK follows it.
    fn check_end(&self, code: Code) -> Result<(), (Status, Ending)> {
        if code != Code::Ok || self.messages.is_between_messages() {
            return Ok(());
        }
        let fault = MessageFault::Truncated;
        let status = Status::internal(format!("{}: {fault}", self.address()));
        Err((status, Ending::BadMessage(fault)))
    }

    fn trailers(&mut self, trailers: &HeaderMap) {
        if let Some(lease) = self.lease.as_ref().filter(|lease| lease.wants_load())
            && let Some(load) = orca::read(trailers)
        {
            lease.report(Instant::now().into_std(), &load);
        }
    }

    fn ended(mut self, code: Code, ending: Ending) {
        let (code, ending) = self.seen_by_caller(code, ending);
        std::mem::take(&mut self.attempt).ended(code);
        std::mem::take(&mut self.call).ended(code);
        if !self.failures.is_empty() && !self.is_blameless && ending != Ending::CallerLimit {
            self.shared.retries.record_end(core_code(code), self.failures);
        }
        if let Some(lease) = self.lease.take() {
            finish(&self.shared, lease, self.answered, ending.outcome().filter(|_| !self.is_blameless));
        }
    }
}

/// Without an earlier end, the caller has cancelled, or could not read on. If it cancelled, the
/// lease is dropped without an outcome.
impl Drop for LeaseEnd {
    fn drop(&mut self) {
        if let Some(lease) = self.lease.take() {
            let ending = match self.stop {
                Some(MessageStop::Fault(fault)) => Ending::BadMessage(fault),
                _ => Ending::CallerLeft,
            };
            finish(&self.shared, lease, self.answered, ending.outcome());
        }
        self.shared.announce_room();
    }
}

fn finish(
    shared: &ChannelShared,
    lease: Lease<Connection>,
    answered: Option<std::time::Instant>,
    outcome: Option<Outcome>,
) {
    let Some(outcome) = outcome else { return drop(lease) };
    let at = answered.filter(|_| outcome != Outcome::Late).unwrap_or_else(|| Instant::now().into_std());
    if let Some(report) = lease.finish(at, outcome) {
        shared.tell(DriverEvent::Outcome(report));
    }
}
