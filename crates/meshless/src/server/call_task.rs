//! The task of one call: hyper's future, watched from outside.
//!
//! hyper asks a response's body for its next message only when the client reads. A client that does
//! not read would thus hold a call beyond every deadline, and nobody inside the call would notice.
//! Its task does: it keeps the call's timer, tells the connection when a message waits, and drops a
//! call that cannot end by itself, upon which h2 resets the stream.
//!
//! Spawned by hyper through the executor here.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;
use tokio::time::Sleep;

use super::call::Call;
use super::state::{Blocked, ConnectionState};

/// Spawns the calls of one connection.
#[derive(Clone, Debug)]
pub(super) struct CallExecutor {
    state: Arc<ConnectionState>,
}

impl CallExecutor {
    pub(super) fn new(state: Arc<ConnectionState>) -> Self {
        Self { state }
    }
}

impl<F> hyper::rt::Executor<F> for CallExecutor
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, future: F) {
        match self.state.take_accepted() {
            Some(call) => tokio::spawn(CallTask::new(future, call)),
            // The two directions of an upgraded stream, which is no call any more.
            None => tokio::spawn(future),
        };
    }
}

pin_project! {
    struct CallTask<F> {
        // Goes first.
        #[pin]
        future: F,
        call: RunningCall,
        // Wakes the call when its time is over: what is inside looks at the clock, and keeps no
        // timer.
        timer: Option<Pin<Box<Sleep>>>,
        overdue: bool,
        blocked: Option<Blocked>,
    }
}

impl<F> CallTask<F> {
    fn new(future: F, call: Arc<Call>) -> Self {
        let timer = call.end().at().map(|at| Box::pin(tokio::time::sleep_until(at)));
        Self { future, call: RunningCall(call), timer, overdue: false, blocked: None }
    }
}

impl<F: Future<Output = ()>> Future for CallTask<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        loop {
            if this.future.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            let RunningCall(call) = &*this.call;
            if call.waits() != this.blocked.is_some() {
                *this.blocked = call.blocked();
            }
            let Some(timer) = this.timer else { return Poll::Pending };
            if timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if *this.overdue {
                tracing::debug!("a call that could not end in time is reset");
                return Poll::Ready(());
            }
            *this.overdue = true;
            let reset_at = timer.deadline() + RESET_DELAY;
            timer.as_mut().reset(reset_at);
        }
    }
}

/// Says when nothing of the call's task is left.
struct RunningCall(Arc<Call>);

impl Drop for RunningCall {
    fn drop(&mut self) {
        self.0.end_task();
    }
}

/// How long after its end a call is reset that has not ended: for a client that reads on at the
/// last moment, and to leave to services with a clock of their own the say in how they end.
const RESET_DELAY: Duration = Duration::from_secs(1);
