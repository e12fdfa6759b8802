//! What happens after an attempt: the caller gets its result, or the call is attempted again.

use std::ops::ControlFlow;

use meshless_core::{
    AttemptEnd, AttemptFate, CallRetry, CodeSet, Ending, EndpointId, GiveUpReason, RetryDecision, Rng,
};
use tokio::time::Instant;
use tonic::{Code, Status};

use super::{Again, Call, number};
use crate::client::call::{self, Failure, Refusal};
use crate::client::channel::body::{LeaseEnd, ResponseBody};
use crate::shared::grpc::{bounced, core_code};

impl Call<'_> {
    /// Returns the response, unless it is a refusal and the call is tried elsewhere.
    pub(super) fn after_response(
        &mut self,
        retry: &mut CallRetry<'_>,
        rng: &mut Rng,
        mut response: http::Response<call::AttemptBody>,
        end: LeaseEnd,
    ) -> ControlFlow<http::Response<ResponseBody>, Again> {
        if bounced::is_marked(response.headers()) {
            let is_bounced = bounced::is_refusal(self.outgoing.headers_mut(), response.headers());
            bounced::clear(response.headers_mut());
            if is_bounced {
                return self.after_bounce(retry, rng, response, end);
            }
        }
        // Without codes to count there is no policy either.
        let refusal = if self.failures.is_empty() { None } else { Refusal::of(&response) };
        // The end of a refusal is counted when it is decided on: here or by the hedging.
        let failures = if refusal.is_some() { CodeSet::EMPTY } else { self.failures };
        if let (Some(beside), None) = (&self.beside, &refusal) {
            beside.answered(&end);
        }
        let attach = |response, end: LeaseEnd| {
            let end = end.answered(failures);
            let (deadline, max) = (self.deadline(), self.method.response_message_max);
            ControlFlow::Break(ResponseBody::attach(response, end, deadline, max, &self.outgoing))
        };
        let Some(refusal) = refusal else { return attach(response, end) };
        let attempt = AttemptEnd {
            fate: AttemptFate::MaybeProcessed,
            code: refusal.code,
            pushback: refusal.pushback,
            timed_out: false,
            replayable: self.outgoing.can_replay(),
        };
        match self.decide(retry, rng, attempt) {
            Ok(again) => {
                let cause = format!("{}: {}", end.address(), refusal.describe(response.headers()));
                self.note(Some(end.endpoint()), &cause, retry);
                drop(response);
                end.failed(Code::from(i32::from(refusal.code)), Ending::Status(refusal.code));
                ControlFlow::Continue(again)
            }
            // The server's own status is passed on unchanged.
            Err(_) => attach(response, end),
        }
    }

    /// A busy server bounced a second attempt, too. This is no failure of that server.
    fn after_bounce(
        &mut self,
        retry: &mut CallRetry<'_>,
        rng: &mut Rng,
        response: http::Response<call::AttemptBody>,
        end: LeaseEnd,
    ) -> ControlFlow<http::Response<ResponseBody>, Again> {
        let attempt = AttemptEnd {
            fate: AttemptFate::Bounced,
            code: core_code(Code::Unavailable),
            pushback: None,
            timed_out: false,
            replayable: self.outgoing.can_replay(),
        };
        match self.decide(retry, rng, attempt) {
            Ok(again) => {
                let cause = format!("{}: busy", end.address());
                self.note(Some(end.endpoint()), &cause, retry);
                // The first server may get the call again. It was the better choice: if the last
                // server kept the calls that all refuse, the server that is known to be the busiest
                // would fill up.
                self.tried.avoid_only(end.endpoint());
                bounced::mark(self.outgoing.headers_mut());
                drop(response);
                end.failed(Code::Unavailable, Ending::Refused { again: false });
                ControlFlow::Continue(again)
            }
            Err(_) => {
                let (deadline, max) = (self.deadline(), self.method.response_message_max);
                let end = end.answered(CodeSet::EMPTY).without_blame();
                ControlFlow::Break(ResponseBody::attach(response, end, deadline, max, &self.outgoing))
            }
        }
    }

    pub(super) fn after_failure(
        &mut self,
        retry: &mut CallRetry<'_>,
        rng: &mut Rng,
        failure: Failure,
        end: LeaseEnd,
    ) -> Result<Again, Status> {
        let endpoint = end.endpoint();
        let again = bounced::is_second_attempt(self.outgoing.headers_mut());
        end.failed(failure.code(), failure.ending(again));
        let attempt = AttemptEnd {
            fate: failure.fate(),
            code: core_code(failure.code()),
            pushback: None,
            timed_out: failure.is_timeout(),
            replayable: self.outgoing.can_replay(),
        };
        if failure.is_final() {
            return Err(failure.into_status());
        }
        let cause = failure.describe();
        match self.decide(retry, rng, attempt) {
            Ok(again) => {
                self.note(Some(endpoint), &cause, retry);
                if failure.fate() == AttemptFate::Refused {
                    bounced::mark(self.outgoing.headers_mut());
                }
                Ok(again)
            }
            Err(reason) => Err(Status::new(failure.code(), self.tried.explain(&cause, Some(reason)))),
        }
    }

    /// No backend can be reached. A retry policy counts this as an attempt (gRFC A6).
    pub(super) fn after_no_place(
        &mut self,
        retry: &mut CallRetry<'_>,
        rng: &mut Rng,
        status: Status,
    ) -> Result<Again, Status> {
        let attempt = AttemptEnd {
            fate: AttemptFate::Unplaced,
            code: core_code(status.code()),
            pushback: None,
            timed_out: false,
            replayable: self.outgoing.can_replay(),
        };
        let reason = match status.code() {
            Code::Unavailable => match self.decide(retry, rng, attempt) {
                Ok(again) => {
                    self.note(None, status.message(), retry);
                    return Ok(again);
                }
                Err(reason) => Some(reason),
            },
            // Too many calls wait, and a repeated call would wait, too.
            _ => None,
        };
        Err(Status::new(status.code(), self.tried.explain(status.message(), reason)))
    }

    fn decide(
        &self,
        retry: &mut CallRetry<'_>,
        rng: &mut Rng,
        attempt: AttemptEnd,
    ) -> Result<Again, GiveUpReason> {
        let now = Instant::now().into_std();
        match retry.after(now, self.deadline().map(Instant::into_std), attempt, rng) {
            RetryDecision::Retry => {
                self.shared.retries.record_transparent_retry();
                Ok(Again::Now)
            }
            RetryDecision::RetryAt(at) => {
                self.shared.retries.record_retry(at.saturating_duration_since(now));
                Ok(Again::At(Instant::from_std(at)))
            }
            RetryDecision::GiveUp(reason) => Err(reason),
        }
    }

    /// Records an attempt that is not the last.
    fn note(&mut self, endpoint: Option<EndpointId>, cause: &str, retry: &CallRetry<'_>) {
        tracing::debug!(channel = self.shared.label, cause, "sending a call again");
        self.tried.failed(endpoint, cause);
        if retry.previous_attempts() > 0 {
            number(&mut self.outgoing, retry.previous_attempts());
        }
    }
}
