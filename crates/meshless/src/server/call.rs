//! One call as the server sees it: its time limits, and what its handler may query.
//!
//! The call's task, its body and its handler share it. It does nothing by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use meshless_core::{GoAwayReason, StreamAge};
use tokio::time::Instant;

use super::middleware::CallEnd;
use super::state::{Blocked, ConnectionState};

/// What a handler can learn about its call and its connection, from each request's extensions.
///
/// A handler of a long stream can end it before it is cut, and tell its client where to continue:
///
/// ```
/// # async fn handle(request: tonic::Request<()>) -> Result<(), tonic::Status> {
/// let call = request.extensions().get::<meshless::CallContext>().cloned();
/// let ending = async {
///     match &call {
///         Some(call) => call.stream_ending().await,
///         None => std::future::pending().await,
///     }
/// };
/// # let next_message = async {};
/// tokio::select! {
///     () = next_message => { /* send it */ }
///     () = ending => { /* say goodbye and return */ }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct CallContext {
    call: Arc<Call>,
}

impl CallContext {
    pub(super) fn new(call: Arc<Call>) -> Self {
        Self { call }
    }

    /// Returns how long the connection may still serve new calls. `None` if its age has no limit,
    /// zero after its GOAWAY. With levelled ages it is an estimate.
    ///
    /// Its open calls may continue for
    /// [`LifetimeConfig::max_age_grace`](crate::server::LifetimeConfig::max_age_grace) longer.
    pub fn remaining_connection_age(&self) -> Option<Duration> {
        let state = &self.call.connection;
        if state.going_away().is_some() {
            return Some(Duration::ZERO);
        }
        let ages_at = state.lifetime().ages_at()?;
        Some(ages_at.saturating_duration_since(Instant::now().into_std()))
    }

    /// Waits until the connection gets a GOAWAY: for its age, for idleness, or because the server
    /// shuts down.
    pub async fn connection_going_away(&self) -> GoAwayReason {
        self.call.connection.sent_away().await
    }

    /// Waits until the handler should end its stream.
    ///
    /// Then the stream has reached
    /// [`LifetimeConfig::max_stream_age`](crate::server::LifetimeConfig::max_stream_age), or its
    /// connection got a GOAWAY. When the corresponding grace is over, the stream is cut.
    pub async fn stream_ending(&self) {
        let aged = async {
            match self.call.age.ending_at {
                Some(at) => tokio::time::sleep_until(Instant::from_std(at)).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = aged => {}
            _ = self.connection_going_away() => {}
        }
    }

    /// Returns when the call must end: at the client's deadline (`grpc-timeout`) or at the end of
    /// the grace after the maximum stream age, whichever is sooner. `None`: no limit.
    pub fn ends_at(&self) -> Option<Instant> {
        self.call.end.at()
    }

    pub(super) fn end(&self) -> CallEnd {
        self.call.end
    }
}

/// The shared state of one call.
#[derive(Debug)]
pub(super) struct Call {
    connection: Arc<ConnectionState>,
    age: StreamAge,
    end: CallEnd,
    /// The body has produced a message that HTTP/2 has not taken.
    waits: AtomicBool,
    /// Nothing of the call is left but perhaps its request.
    task_ended: AtomicBool,
    /// Who reads on what is left of the request.
    reader: AtomicWaker,
}

impl Call {
    pub(super) fn new(connection: Arc<ConnectionState>, deadline: Option<Instant>, age: StreamAge) -> Self {
        Self {
            connection,
            age,
            end: CallEnd::new(deadline, age),
            waits: AtomicBool::new(false),
            task_ended: AtomicBool::new(false),
            reader: AtomicWaker::new(),
        }
    }

    pub(super) fn connection(&self) -> &ConnectionState {
        &self.connection
    }

    pub(super) fn end(&self) -> CallEnd {
        self.end
    }

    /// Called with true when the body produced a message that is not empty, else with false.
    pub(super) fn set_waits(&self, waits: bool) {
        self.waits.store(waits, Ordering::Relaxed);
    }

    /// Returns the longest header list that the client accepts.
    pub(super) fn client_header_list_max(&self) -> u32 {
        self.connection.client_header_list_max()
    }

    /// Returns a mark on the connection if a message waits for the client.
    pub(super) fn blocked(&self) -> Option<Blocked> {
        self.waits.load(Ordering::Relaxed).then(|| self.connection.block())
    }

    pub(super) fn waits(&self) -> bool {
        self.waits.load(Ordering::Relaxed)
    }

    /// The task of the call has let go of all that it held.
    pub(super) fn end_task(&self) {
        self.task_ended.store(true, Ordering::Release);
        self.reader.wake();
    }

    /// Ready once it has.
    pub(super) fn poll_task_ended(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.reader.register(cx.waker());
        if self.task_ended.load(Ordering::Acquire) { Poll::Ready(()) } else { Poll::Pending }
    }
}

/// One open call. Dropping it ends the call, for whatever reason.
#[derive(Debug)]
pub(super) struct CallLease {
    call: Arc<Call>,
    /// How many bytes its headers pin.
    pinned: usize,
}

impl CallLease {
    /// Returns the lease of a call whose headers have been counted.
    pub(super) fn new(call: Arc<Call>, pinned: usize) -> Self {
        Self { call, pinned }
    }

    pub(super) fn call(&self) -> &Call {
        &self.call
    }
}

impl Drop for CallLease {
    fn drop(&mut self) {
        self.call.connection.unpin_headers(self.pinned);
        self.call.connection.end_call();
    }
}
