//! Runs a hedged call: several attempts run at a time, and the first answer counts.
//!
//! `meshless-core` decides when to start an attempt and which answer counts. Each attempt is a
//! separate call that shares the request, avoids the others' endpoints, and may be sent again
//! transparently. Dropping an attempt cancels it. All of them run in the caller's task, so nothing
//! outlives the call.

use std::future::{Future, pending, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Poll;
use std::time::Duration;

use meshless_core::{Code, EndpointId, HedgeDecision, Hedging, HedgingPolicy};
use tokio::time::{Instant, sleep_until};
use tonic::Status;

use super::attempt_log::AttemptLog;
use super::body::{LeaseEnd, ResponseBody};
use super::call::Call;
use crate::client::call::Refusal;
use crate::shared::grpc::core_code;

type HedgedResult = Result<http::Response<ResponseBody>, Status>;
type Attempt<'a> = Pin<Box<dyn Future<Output = HedgedResult> + Send + 'a>>;

/// The state that the attempts of one call share.
#[derive(Debug, Default)]
pub(super) struct HedgedAttempts {
    /// The endpoint of each attempt.
    endpoints: Mutex<Vec<(u32, EndpointId)>>,
    /// Attempts that wait for a backend.
    waiting: AtomicU32,
    /// The time of the attempt that was answered first.
    quickest: OnceLock<Duration>,
}

impl HedgedAttempts {
    /// Returns the endpoints of the other attempts.
    pub(super) fn taken_by_others(&self, number: u32) -> Vec<EndpointId> {
        self.endpoints().iter().filter(|(by, _)| *by != number).map(|(_, endpoint)| *endpoint).collect()
    }

    fn endpoints(&self) -> MutexGuard<'_, Vec<(u32, EndpointId)>> {
        // The lock is held only for memory accesses.
        self.endpoints.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts an attempt as waiting for a backend, until the result is dropped.
    pub(super) fn wait(self: &Arc<Self>, number: u32) -> WaitingAttempt {
        self.waiting.fetch_add(1, Relaxed);
        WaitingAttempt { beside: Arc::clone(self), number }
    }

    /// An attempt was answered.
    pub(super) fn answered(&self, end: &LeaseEnd) {
        let _ = self.quickest.set(end.elapsed());
    }

    /// An attempt is dropped. If it had waited longer than the answered one took, its backend is
    /// slow, or hangs. Otherwise hedging would hide that from `peak_ewma`, since no call to that
    /// backend ever ends.
    pub(super) fn gave_up(&self, end: LeaseEnd) {
        if self.quickest.get().is_some_and(|quickest| end.elapsed() > *quickest) {
            end.outlasted();
        }
    }

    fn waiting(&self) -> u32 {
        self.waiting.load(Relaxed)
    }
}

/// An attempt that waits for a backend.
pub(super) struct WaitingAttempt {
    beside: Arc<HedgedAttempts>,
    number: u32,
}

impl WaitingAttempt {
    /// The attempt waits no longer, and goes to `endpoint`. A policy's attempts and their
    /// transparent retries limit the number of these.
    pub(super) fn placed(self, endpoint: EndpointId) {
        self.beside.endpoints().push((self.number, endpoint));
    }
}

impl Drop for WaitingAttempt {
    fn drop(&mut self) {
        self.beside.waiting.fetch_sub(1, Relaxed);
    }
}

/// Runs `call` by `policy`. Calls with a streaming request are sent once: several attempts cannot
/// read it at a time.
pub(super) async fn hedge(mut call: Call<'_>, policy: &HedgingPolicy) -> HedgedResult {
    let retries = &call.shared().retries;
    let deadline = call.deadline();
    let mut hedging =
        Hedging::new(policy, retries.throttle(), Instant::now().into_std(), deadline.map(Instant::into_std));
    let beside = Arc::new(HedgedAttempts::default());
    let mut tried = AttemptLog::default();
    let mut attempts: Vec<Attempt<'_>> = Vec::new();
    loop {
        while hedging.poll_start(Instant::now().into_std()) {
            let previous = hedging.started() - 1;
            let Some(mut attempt) = call.fork(previous, &beside).await else {
                return call.run_with_deadline().await;
            };
            if previous > 0 {
                retries.record_hedge();
            }
            attempts.push(Box::pin(async move { attempt.run_with_deadline().await }));
        }
        let answer = next_answer(&mut attempts, &beside, &hedging).await;
        hedging.handle_waiting(Instant::now().into_std(), beside.waiting());
        let Some(answer) = answer else { continue };
        let refusal = answer.as_ref().ok().and_then(Refusal::of);
        let code = match (&answer, &refusal) {
            (Ok(_), None) => Code::Ok,
            (Ok(_), Some(refusal)) => refusal.code,
            (Err(status), _) => core_code(status.code()),
        };
        let pushback = refusal.and_then(|refusal| refusal.pushback);
        match (hedging.after(Instant::now().into_std(), code, pushback), answer) {
            (HedgeDecision::Finish, Ok(response)) => return Ok(response),
            (HedgeDecision::Finish, Err(status)) => {
                return Err(Status::new(status.code(), tried.explain(status.message(), None)));
            }
            (HedgeDecision::Wait, Ok(response)) => {
                let cause = refusal.map(|refusal| refusal.describe(response.headers()));
                tried.failed(None, &cause.unwrap_or_default());
            }
            (HedgeDecision::Wait, Err(status)) => tried.failed(None, status.message()),
        }
    }
}

/// Returns the answer of the attempt that has one first, and removes that attempt. Returns `None`
/// when `hedging` must be asked or told.
async fn next_answer(
    attempts: &mut Vec<Attempt<'_>>,
    beside: &HedgedAttempts,
    hedging: &Hedging<'_>,
) -> Option<HedgedResult> {
    let mut timer = pin!(async {
        match hedging.poll_timeout() {
            Some(at) => sleep_until(Instant::from_std(at)).await,
            None => pending().await,
        }
    });
    poll_fn(|cx| {
        for n in 0..attempts.len() {
            if let Poll::Ready(answer) = attempts[n].as_mut().poll(cx) {
                drop(attempts.swap_remove(n));
                return Poll::Ready(Some(answer));
            }
        }
        // All of them run in this task, so only a poll changes it.
        if beside.waiting() != hedging.waiting() {
            return Poll::Ready(None);
        }
        timer.as_mut().poll(cx).map(|()| None)
    })
    .await
}
