//! Runs one call up to the headers of its response: picks a backend, attempts it, and repeats that
//! if needed. It is repeated if the server provably did not process it, or if the call's retry
//! policy allows it. This is the only place that repeats attempts; `meshless-core` decides about
//! it. [`hedge`](super::hedge) runs several of these at a time.

mod after;

use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::Arc;

use http::header::{
    CONNECTION, CONTENT_LENGTH, HOST, HeaderName, HeaderValue, TRANSFER_ENCODING, UPGRADE, USER_AGENT,
};
use http::uri::Uri;
use meshless_core::{CallRetry, CodeSet, Ending, RetryPolicy, Rng};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tonic::body::Body;
use tonic::{Code, Status};

use super::attempt_log::AttemptLog;
use super::body::{LeaseEnd, ResponseBody};
use super::call_options::{Retry, WaitForReady};
use super::hedge::{HedgedAttempts, hedge};
use super::method::{MethodSettings, Repeat};
use super::never_sent::NeverSent;
use super::pick::{PickedStream, WaitsFor, try_pick, wait_for_pick};
use super::shared::{CallSettings, ChannelShared};
use super::{Channel, deadline};
use crate::client::call::{self, Failure, Outgoing, attempt};
use crate::client::connection::StreamPermit;
use crate::client::metrics::{AttemptKind, AttemptSpan, Attempts};
use crate::shared::grpc::bounced;

/// Runs `request`. Holds the channel, so that the driver lives while the call needs it.
pub(super) async fn run_call(
    channel: Channel,
    request: http::Request<Body>,
) -> Result<http::Response<ResponseBody>, Status> {
    let shared = channel.shared();
    let call = shared.metrics.begin_call(request.extensions());
    match answer(shared, request, call.attempts()).await {
        Ok(mut response) => {
            ResponseBody::ends(&mut response, call);
            Ok(response)
        }
        Err(status) => {
            call.ended(status.code());
            Err(shared.settings.shown(status))
        }
    }
}

async fn answer(
    shared: &Arc<ChannelShared>,
    mut request: http::Request<Body>,
    attempts: Attempts,
) -> Result<http::Response<ResponseBody>, Status> {
    let now = Instant::now();
    let method = shared.settings.methods.of(request.uri().path());
    let deadline = deadline::deadline(request.headers(), method.timeout, now);
    let wait_for_ready = request.extensions().get().map_or(method.wait_for_ready, |WaitForReady(wait)| *wait);
    let own: Option<Retry> = request.extensions_mut().remove();
    address(&mut request, &shared.settings)?;
    bounced::clear(request.headers_mut());
    if method.timeout.is_some() {
        deadline::announce(deadline, request.headers_mut(), now);
    }
    let outgoing = Outgoing::new(request).until(deadline).with_message_max(method.request_message_max);
    if deadline.is_some_and(|at| at <= now) {
        // Otherwise it would be sent, and executed, before the deadline is checked.
        let message = format!("{}: the deadline had passed before the call was made", shared.target);
        return Err(NeverSent::mark(Status::deadline_exceeded(message)));
    }
    let (policy, failures) = match (&own, &method.repeat) {
        (Some(Retry(own)), _) => (own.as_deref(), own.as_ref().map(|policy| policy.retryable())),
        (None, Some(repeat)) => (repeat.retry(), Some(repeat.failures())),
        (None, None) => (None, None),
    };
    let mut call = Call {
        shared,
        method,
        began: now,
        outgoing,
        wait_for_ready,
        waits_for: WaitsFor::Backend(None),
        attempts,
        kind: AttemptKind::First,
        attempt: AttemptSpan::default(),
        attempted: None,
        policy,
        failures: failures.unwrap_or(CodeSet::EMPTY),
        tried: AttemptLog::default(),
        was_sent: false,
        beside: None,
        number: 0,
    };
    match method.repeat.as_ref().and_then(Repeat::hedge) {
        Some(policy) if own.is_none() => Box::pin(hedge(call, policy)).await,
        _ => call.run_with_deadline().await,
    }
}

/// A call, or one attempt of a hedged one.
pub(super) struct Call<'a> {
    shared: &'a Arc<ChannelShared>,
    method: &'a MethodSettings,
    began: Instant,
    /// Also knows the deadline.
    outgoing: Outgoing,
    wait_for_ready: bool,
    waits_for: WaitsFor,
    attempts: Attempts,
    /// The kind of the next attempt.
    kind: AttemptKind,
    /// The attempt that has no backend yet.
    attempt: AttemptSpan,
    /// The attempt under way. It is here and not in `run`, so that a deadline counts against the
    /// backend.
    attempted: Option<LeaseEnd>,
    policy: Option<&'a RetryPolicy>,
    /// Codes that count against the throttle; none without a policy.
    failures: CodeSet,
    tried: AttemptLog,
    /// True if an attempt may have left this process.
    was_sent: bool,
    /// The endpoints of the other attempts of a hedged call.
    beside: Option<Arc<HedgedAttempts>>,
    /// The number of this attempt among them.
    number: u32,
}

/// When to attempt a call again.
enum Again {
    Now,
    At(Instant),
}

impl<'a> Call<'a> {
    pub(super) fn shared(&self) -> &'a Arc<ChannelShared> {
        self.shared
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.outgoing.deadline()
    }

    /// Copies the call, for an attempt beside those that share `beside`. `None` if its request is a
    /// stream.
    pub(super) async fn fork(
        &mut self,
        previous_attempts: u32,
        beside: &Arc<HedgedAttempts>,
    ) -> Option<Self> {
        let mut outgoing = std::future::poll_fn(|cx| std::task::Poll::Ready(self.outgoing.fork(cx))).await?;
        if previous_attempts > 0 {
            number(&mut outgoing, previous_attempts);
            deadline::announce(self.deadline(), outgoing.headers_mut(), Instant::now());
        }
        Some(Self {
            shared: self.shared,
            method: self.method,
            began: Instant::now(),
            outgoing,
            wait_for_ready: self.wait_for_ready,
            waits_for: WaitsFor::Backend(None),
            attempts: self.attempts.clone(),
            kind: if previous_attempts > 0 { AttemptKind::Hedge } else { AttemptKind::First },
            attempt: AttemptSpan::default(),
            attempted: None,
            policy: None,
            failures: self.failures,
            tried: AttemptLog::default(),
            was_sent: self.was_sent,
            beside: Some(Arc::clone(beside)),
            number: previous_attempts,
        })
    }

    /// Runs the call within its deadline. If it fails, the status tells what is known.
    pub(super) async fn run_with_deadline(&mut self) -> Result<http::Response<ResponseBody>, Status> {
        let result = self.run_within_deadline().await;
        // An attempt of a hedged call does not know if the others were sent.
        let was_sent = self.was_sent || self.beside.is_some();
        result.map_err(|status| if was_sent { status } else { NeverSent::mark(status) })
    }

    async fn run_within_deadline(&mut self) -> Result<http::Response<ResponseBody>, Status> {
        let Some(at) = self.deadline() else { return self.run().await };
        match timeout_at(at, self.run()).await {
            Ok(result) => result,
            Err(_) => {
                std::mem::take(&mut self.attempt).ended(Code::DeadlineExceeded);
                if let Some(end) = self.attempted.take() {
                    self.was_sent = true;
                    let had_less_than_half = end.elapsed() < at.saturating_duration_since(self.began) / 2;
                    end.failed(Code::DeadlineExceeded, Ending::TimedOut { had_less_than_half });
                }
                Err(self.tried.add_to(self.waits_for.deadline_exceeded(&self.shared.target)))
            }
        }
    }

    async fn run(&mut self) -> Result<http::Response<ResponseBody>, Status> {
        let mut rng = self.shared.begin_call();
        let mut retry = CallRetry::new(self.policy, self.shared.retries.throttle());
        loop {
            let waiting = self.beside.as_ref().map(|beside| {
                self.tried.avoid_also(beside.taken_by_others(self.number));
                beside.wait(self.number)
            });
            self.attempt = self.attempts.begin(self.kind);
            let place = match try_pick(self.shared, &mut rng, self.tried.avoid()) {
                Ok(place) => place,
                Err(_) => match self.wait(&mut rng).await {
                    Ok(place) => {
                        deadline::announce(self.deadline(), self.outgoing.headers_mut(), Instant::now());
                        place
                    }
                    Err(status) => {
                        std::mem::take(&mut self.attempt).ended(status.code());
                        let again = self.after_no_place(&mut retry, &mut rng, status)?;
                        self.pause(again).await;
                        continue;
                    }
                },
            };
            let PickedStream { slot, lease } = place;
            let endpoint = lease.endpoint();
            waiting.into_iter().for_each(|waiting| waiting.placed(endpoint));
            self.waits_for = WaitsFor::Answer(slot.address().clone());
            self.outgoing.set_meter(self.attempt.sender());
            let span = std::mem::take(&mut self.attempt);
            self.attempted = Some(LeaseEnd::new(lease, span, Arc::clone(self.shared)));
            let answer = match self.policy.and_then(RetryPolicy::per_attempt_timeout) {
                None => attempt(slot, &mut self.outgoing).await,
                Some(limit) => self.attempt_within(limit, slot).await,
            };
            self.was_sent |= answer.as_ref().err().is_none_or(Failure::may_have_been_sent);
            let end = self.attempted.take().expect("set above, and taken elsewhere only after the deadline");
            let again = match answer {
                Ok(response) => match self.after_response(&mut retry, &mut rng, response, end) {
                    ControlFlow::Break(response) => return Ok(response),
                    ControlFlow::Continue(again) => again,
                },
                Err(failure) => self.after_failure(&mut retry, &mut rng, failure, end)?,
            };
            self.pause(again).await;
        }
    }

    /// Boxed: this rare path must not make the future of every call larger.
    fn wait<'b>(
        &'b mut self,
        rng: &'b mut Rng,
    ) -> Pin<Box<dyn Future<Output = Result<PickedStream, Status>> + Send + 'b>> {
        self.waits_for = WaitsFor::Backend(None);
        let avoid = self.tried.avoid();
        Box::pin(wait_for_pick(self.shared, rng, avoid, self.wait_for_ready, &mut self.waits_for))
    }

    fn attempt_within<'b>(
        &'b mut self,
        limit: std::time::Duration,
        slot: StreamPermit,
    ) -> Pin<Box<dyn Future<Output = Result<http::Response<call::AttemptBody>, Failure>> + Send + 'b>> {
        Box::pin(async move {
            let endpoint = slot.address().clone();
            match timeout(limit, attempt(slot, &mut self.outgoing)).await {
                Ok(answer) => answer,
                Err(_) => Err(Failure::timed_out(endpoint, limit)),
            }
        })
    }

    async fn pause(&mut self, again: Again) {
        // The cause of this failure must be processed first: a chain of retries must not occupy a
        // thread.
        tokio::task::yield_now().await;
        self.kind = AttemptKind::TransparentRetry;
        if let Again::At(at) = again {
            self.kind = AttemptKind::Retry;
            Box::pin(sleep_until(at)).await;
        }
        deadline::announce(self.deadline(), self.outgoing.headers_mut(), Instant::now());
    }
}

/// An attempt of a hedged call ends here if another was faster.
impl Drop for Call<'_> {
    fn drop(&mut self) {
        if let (Some(beside), Some(end)) = (&self.beside, self.attempted.take()) {
            beside.gave_up(end);
        }
    }
}

/// Tells the server how many attempts came before this one (gRFC A6, "Exposed Retry Metadata").
fn number(outgoing: &mut Outgoing, previous_attempts: u32) {
    outgoing.headers_mut().insert(PREVIOUS_ATTEMPTS, HeaderValue::from(previous_attempts));
}

/// Completes the URI, sets the user agent, and removes headers that belong to HTTP. HTTP/2 sends
/// the whole URI with every request.
fn address(request: &mut http::Request<Body>, settings: &CallSettings) -> Result<(), Status> {
    let mut parts = std::mem::take(request.uri_mut()).into_parts();
    parts.scheme = Some(settings.scheme.clone());
    parts.authority = Some(settings.authority.clone());
    *request.uri_mut() = Uri::from_parts(parts)
        .map_err(|error| Status::internal(format!("the method's path does not make a URI: {error}")))?;
    let headers = request.headers_mut();
    NOT_METADATA.iter().for_each(|name| drop(headers.remove(name)));
    headers.insert(USER_AGENT, settings.user_agent.clone());
    Ok(())
}

/// Headers that describe one HTTP message or one connection. A caller has them as metadata if it
/// passes on the headers of another request, and they are wrong here. A `content-length` that
/// differs from the body makes servers reset the stream, `host` contradicts `:authority`, and
/// HTTP/2 forbids the others (RFC 9113 §8.2.2). C-core removes `content-length`, and grpc-go's
/// server `host`.
const NOT_METADATA: [HeaderName; 7] = [
    CONTENT_LENGTH,
    HOST,
    CONNECTION,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

const PREVIOUS_ATTEMPTS: HeaderName = HeaderName::from_static("grpc-previous-rpc-attempts");
