//! A channel: the type under a tonic-generated client. It balances every call and loses none.
//!
//! This file holds the handle that users own and its `tower` service for tonic. Behind it, one task
//! ([`driver`](crate::client::driver)) decides what is connected and publishes a picker. [`place`]
//! finds a backend for a call in it. [`call`] runs the call, by [`hedge`] if several attempts run
//! at a time; [`body`] is the response. The handle itself decides nothing.

mod attempt_log;
mod body;
mod builder;
mod call;
mod call_options;
mod deadline;
mod hedge;
mod hidden_endpoints;
mod method;
mod never_sent;
mod pick;
mod retries;
mod shared;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use meshless_core::{ChannelState, ConnectivityState};
use tokio::sync::oneshot;
use tonic::Status;
use tonic::body::Body;
use tower_service::Service;

pub use self::body::ResponseBody;
pub use self::builder::{ChannelBuilder, ChannelError};
pub use self::call_options::{Retry, WaitForReady};
pub(crate) use self::method::{MethodName, MethodSettings, Methods, Repeat};
pub use self::never_sent::NeverSent;
pub use self::retries::RetryStats;
pub(crate) use self::shared::{ChannelShared, DriverEvent};

/// Calls the backends of one target. Any tonic-generated client works on it.
///
/// Cloning is cheap, and clones share everything. Make one channel per target, at start, and clone
/// it into every client. When the last clone is dropped, calls in flight finish and the connections
/// are closed.
///
/// ```no_run
/// # fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let channel = meshless::Channel::builder("dns:///echo.shop.svc.cluster.local:50051")
///     .policy(meshless::Policy::RoundRobin)
///     .connect_lazy()?;
/// # let _ = channel;
/// # Ok(()) }
/// ```
///
/// A call's deadline (tonic's `Request::set_timeout`, or [`ChannelBuilder::timeout`]) covers all of
/// it: waiting for a backend, connecting, every attempt, and the messages of the response. A call
/// that no server has processed is sent again without the caller's notice (gRFC A6, "transparent
/// retries"). A call that a server may have processed is sent again only by a policy
/// ([`ChannelBuilder::retry`]). A status made by the channel, and not by the server, names the
/// endpoints that were tried and the fault of each.
#[derive(Clone)]
pub struct Channel {
    handle: Arc<Handle>,
}

impl Channel {
    /// Starts to build a channel to `target`, in gRPC's naming: see [`Target`](crate::Target).
    pub fn builder(target: impl Into<String>) -> ChannelBuilder {
        ChannelBuilder::new(target.into())
    }

    /// Returns the channel's endpoints, their states, and the calls in flight on each.
    pub async fn state(&self) -> ChannelState {
        let (reply, state) = oneshot::channel();
        self.shared().tell(DriverEvent::StateWanted(reply));
        match state.await {
            Ok(state) => state,
            // The runtime that the channel was made in has ended; otherwise the driver outlives all
            // handles.
            Err(_) => self.shared().last_state().expect("a driver leaves its state behind").clone(),
        }
    }

    /// Returns the channel's connectivity state. Cheap: it reads what the calls read.
    pub fn connectivity(&self) -> ConnectivityState {
        self.shared().connectivity()
    }

    /// Waits until [`connectivity`](Self::connectivity) differs from `last`, and returns the new
    /// state. Returns at once if the channel's runtime has ended.
    ///
    /// ```
    /// # async fn run(channel: meshless::Channel) {
    /// use meshless::client::ConnectivityState;
    ///
    /// let mut state = channel.connectivity();
    /// while state != ConnectivityState::Ready {
    ///     channel.request_connection(); // an idle channel would wait for its first call
    ///     state = channel.wait_for_state_change(state).await;
    /// }
    /// # }
    /// ```
    pub async fn wait_for_state_change(&self, last: ConnectivityState) -> ConnectivityState {
        self.shared().wait_for_state_change(last).await
    }

    /// Connects if the channel is idle, as the next call would. Returns at once.
    pub fn request_connection(&self) {
        if self.connectivity() == ConnectivityState::Idle {
            self.shared().tell(DriverEvent::CallWaits);
        }
    }

    /// Returns how often calls were sent again since the channel was made.
    pub fn retry_stats(&self) -> RetryStats {
        self.shared().retries.stats()
    }

    fn new(shared: Arc<ChannelShared>) -> Self {
        Self { handle: Arc::new(Handle { shared }) }
    }

    fn shared(&self) -> &Arc<ChannelShared> {
        &self.handle.shared
    }
}

impl Service<http::Request<Body>> for Channel {
    type Response = http::Response<ResponseBody>;
    type Error = Status;
    type Future = ResponseFuture;

    /// Always ready: a call waits for a backend within its own deadline, and its status says why.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> ResponseFuture {
        ResponseFuture(Box::pin(call::run_call(self.clone(), request)))
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel").field("target", &self.shared().target).finish_non_exhaustive()
    }
}

/// A call on its way to the headers of its response. Dropping it cancels the call.
#[must_use = "a call does nothing unless it is awaited"]
pub struct ResponseFuture(Pin<Box<dyn Future<Output = Result<http::Response<ResponseBody>, Status>> + Send>>);

impl Future for ResponseFuture {
    type Output = Result<http::Response<ResponseBody>, Status>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for ResponseFuture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

/// What the clones of a channel share. The driver ends when this is dropped: events hold the shared
/// state, not this.
struct Handle {
    shared: Arc<ChannelShared>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.tell(DriverEvent::Dropped);
    }
}
