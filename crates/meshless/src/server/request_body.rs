//! The body of a request, which is read to its end whether its handler wants it or not.
//!
//! h2 charges each short message for a stream whose body was dropped against a budget that the
//! whole connection has (`proto/streams/streams.rs`, `recv_data`), and gives it back only when
//! somebody reads the message. So 17 000 messages, in however many months, would end the connection
//! of a client that streams to handlers which do not listen, or which answer before the end. A body
//! that its handler drops goes on here: what comes is read and thrown away, so that the client is
//! not held up either, until the call has ended.
//!
//! Only then is the stream let go, upon which h2 resets it. The connection's task does that itself,
//! and lets h2 write before it reads: the messages that come after the reset was written are known
//! to the wire (`ResetStreams`).

use std::fmt;
use std::mem;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use futures_core::Stream;
use futures_util::stream::FuturesUnordered;
use futures_util::task::AtomicWaker;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::call::Call;
use super::state::ConnectionState;

/// The body of a request.
///
/// A handler may drop it before its end, and go on with its response: what the client still sends
/// is thrown away.
pub struct RequestBody {
    /// `None` after the end.
    incoming: Option<Incoming>,
    call: Arc<Call>,
}

impl RequestBody {
    pub(super) fn new(incoming: Incoming, call: Arc<Call>) -> Self {
        Self { incoming: Some(incoming), call }
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(incoming) = &mut self.incoming else { return Poll::Ready(None) };
        let frame = Pin::new(incoming).poll_frame(cx);
        if matches!(frame, Poll::Ready(None | Some(Err(_)))) {
            self.incoming = None;
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        // Mostly the rest has come already.
        let mut cx = Context::from_waker(Waker::noop());
        while self.incoming.is_some() && Pin::new(&mut *self).poll_frame(&mut cx).is_ready() {}
        if let Some(incoming) = self.incoming.take() {
            let unread = Unread { incoming: Some(incoming), call: self.call.clone() };
            self.call.connection().unread_bodies().push(unread);
        }
    }
}

impl fmt::Debug for RequestBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestBody").field("ended", &self.incoming.is_none()).finish_non_exhaustive()
    }
}

/// Reads a body that its handler has dropped. Ready with what is left of it once the call has
/// ended, or the body has.
#[derive(Debug)]
struct Unread {
    incoming: Option<Incoming>,
    call: Arc<Call>,
}

impl Future for Unread {
    type Output = Option<Incoming>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Incoming>> {
        let Some(incoming) = &mut self.incoming else { return Poll::Ready(None) };
        // As many as h2 has read: nobody else makes it read on.
        while let Poll::Ready(frame) = Pin::new(&mut *incoming).poll_frame(cx) {
            if !matches!(frame, Some(Ok(_))) {
                return Poll::Ready(None);
            }
        }
        match self.call.poll_task_ended(cx) {
            Poll::Ready(()) => Poll::Ready(self.incoming.take()),
            Poll::Pending => Poll::Pending,
        }
    }
}

/// The bodies that handlers have dropped and the connection's task has not taken yet.
#[derive(Debug, Default)]
pub(super) struct UnreadBodies {
    /// `None` once there is no such task any more.
    waiting: Mutex<Option<Vec<Unread>>>,
    any: AtomicBool,
    task: AtomicWaker,
}

impl UnreadBodies {
    fn push(&self, body: Unread) {
        // If nobody takes it, it is dropped after the lock.
        let mut waiting = self.lock();
        if let Some(waiting) = &mut *waiting {
            waiting.push(body);
            self.any.store(true, Ordering::Release);
            self.task.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Vec<Unread>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The part of a connection's task that reads on what handlers have dropped.
#[derive(Debug)]
pub(super) struct UnreadReader {
    state: Arc<ConnectionState>,
    unread: FuturesUnordered<Unread>,
    /// Of calls that have ended.
    finished: Vec<Incoming>,
    /// h2 was last polled to write resets.
    writes_first: bool,
}

impl UnreadReader {
    /// The one of this connection.
    pub(super) fn new(state: Arc<ConnectionState>) -> Self {
        *state.unread_bodies().lock() = Some(Vec::new());
        Self { state, unread: FuturesUnordered::new(), finished: Vec::new(), writes_first: false }
    }

    /// Reads what has come, and lets the streams of calls go that have ended. Called before h2 is
    /// polled, so that no frame comes between the end of a stream and its reset.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) {
        let bodies = self.state.unread_bodies();
        bodies.task.register(cx.waker());
        if bodies.any.swap(false, Ordering::Acquire)
            && let Some(waiting) = &mut *bodies.lock()
        {
            self.unread.extend(mem::take(waiting));
        }
        while let Poll::Ready(Some(left)) = Pin::new(&mut self.unread).poll_next(cx) {
            self.finished.extend(left);
        }
        // Not twice in a row: h2 must come to read.
        self.writes_first = !self.writes_first && self.may_let_go();
        if self.writes_first {
            self.finished = Vec::new();
            self.state.write_first();
        }
    }

    /// Asks to be polled again, if streams can be let go that could not before.
    pub(super) fn poll_later(&self, cx: &mut Context<'_>) {
        if self.may_let_go() {
            cx.waker().wake_by_ref();
        }
    }

    /// Whether streams can be let go now. While the socket takes no bytes no reset can be written.
    fn may_let_go(&self) -> bool {
        !self.finished.is_empty() && !self.state.is_socket_full()
    }
}

impl Drop for UnreadReader {
    fn drop(&mut self) {
        // The bodies hold the calls, and these the connection's state.
        let waiting = self.state.unread_bodies().lock().take();
        drop(waiting);
    }
}
