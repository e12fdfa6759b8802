//! One HTTP/2 connection to one backend.
//!
//! ```text
//!                    GOAWAY read, drain(), ids or errors used up
//!   connect() ──▶ open ──────────────────────────────────────▶ draining ──▶ closed
//!                  │                                 last stream ended ▲
//!                  └── connection lost, peer silent, abort() ──────────┘
//! ```
//!
//! [`Connection::connect`] connects, and returns when the server's SETTINGS are in force: gRPC's
//! READY. From then on one task drives h2 and reports events to the channel's driver ([`Event`]).
//! Calls hold a [`StreamPermit`]: one stream within the peer's MAX_CONCURRENT_STREAMS.
//!
//! It never queues a call: if it is full or going away it refuses at once, and the caller keeps the
//! call. The channel queues, chooses and retries.

mod config;
mod establish;
mod event;
mod header_limit;
mod http2_error;
mod shared;
mod task;
#[cfg(test)]
mod tests;
mod wire;

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use h2::SendStream;
use h2::client::ResponseFuture;
use http::HeaderMap;
use meshless_core::Address;

pub(crate) use self::config::ConnectionConfig;
pub(crate) use self::establish::{ConnectError, Destination};
pub(crate) use self::event::{CloseReason, Event, GoingAway};
use self::header_limit::request_size;
pub(crate) use self::header_limit::{HeaderLimit, HeadersTooLong};
pub(crate) use self::http2_error::describe as describe_http2;
use self::shared::{ConnectionShared, LeftStream};

/// A handle to an established connection. When the last clone is dropped, the connection drains.
#[derive(Clone)]
pub(crate) struct Connection {
    handle: Arc<Handle>,
}

impl Connection {
    /// Reserves a stream; `None` if the peer's limit is reached or the connection is going away.
    ///
    /// After a `None` because of the limit, [`Event::StreamsAvailable`] is reported once a stream
    /// is free.
    pub(crate) fn try_reserve(&self) -> Option<StreamPermit> {
        self.shared().streams.reserve().then(|| StreamPermit::new(self.shared(), false))
    }

    /// Reserves a stream that is not a call. No PING is sent for it, and a draining connection does
    /// not wait for it.
    pub(crate) fn try_reserve_beside_calls(&self) -> Option<StreamPermit> {
        self.shared().streams.reserve().then(|| {
            self.shared().streams.begin_beside_calls();
            StreamPermit::new(self.shared(), true)
        })
    }

    /// Returns true if new calls may start, apart from the stream limit.
    pub(crate) fn is_accepting(&self) -> bool {
        self.shared().is_accepting()
    }

    /// Returns how many streams are open or reserved.
    pub(crate) fn open_streams(&self) -> u32 {
        self.shared().streams.open()
    }

    /// Returns how many streams the peer allows at a time now; `u32::MAX` if it set no limit.
    pub(crate) fn max_streams(&self) -> u32 {
        self.shared().streams.max()
    }

    /// Returns the backend's address.
    pub(crate) fn address(&self) -> &Address {
        &self.shared().address
    }

    /// Counts empty messages beyond the first of a call. They are work for nothing, and the
    /// server's budget for them is limited.
    pub(crate) fn note_empty_messages(&self, messages: u32) {
        self.shared().note_empty_messages(messages);
    }

    /// Accepts no new calls, and closes the connection when the last one has ended.
    pub(crate) fn drain(&self) {
        self.shared().stop_accepting();
    }

    /// Closes the connection now. Calls in flight fail.
    pub(crate) fn abort(&self) {
        self.shared().request_abort();
    }

    fn shared(&self) -> &Arc<ConnectionShared> {
        &self.handle.shared
    }
}

/// One stream within the peer's limit, from before a call starts until nothing of it is left.
/// Dropping it makes room for another call.
pub(crate) struct StreamPermit {
    shared: Arc<ConnectionShared>,
    beside_calls: bool,
    /// 0 before the stream is opened.
    stream: AtomicU32,
    /// What is left of the stream, if the call has ended before it.
    left: Mutex<Option<LeftStream>>,
}

impl StreamPermit {
    fn new(shared: &Arc<ConnectionShared>, beside_calls: bool) -> Self {
        Self { shared: Arc::clone(shared), beside_calls, stream: AtomicU32::new(0), left: Mutex::new(None) }
    }

    /// Opens the stream. `head` builds the headers, but only if the connection still accepts calls.
    ///
    /// # Errors
    /// After any error, nothing of the call was sent.
    pub(crate) fn open(
        &self,
        head: impl FnOnce() -> http::Request<()>,
        end_of_stream: bool,
    ) -> Result<(ResponseFuture, SendStream<Bytes>), OpenError> {
        let mut sender = self.shared.sender().ok_or(OpenError::NotAccepting)?;
        let head = head();
        let max = self.shared.peer_header_list_max();
        // Most servers have no limit that can be reached: the size is computed only if there is
        // one.
        if max < u32::MAX {
            let len = request_size(&head);
            if len > u64::from(max) {
                return Err(OpenError::TooLong(HeadersTooLong { len, max }));
            }
        }
        let opened = sender.send_request(head, end_of_stream).map_err(|error| {
            // The connection ended between the check above and here. Any other error is about the
            // request.
            if error.is_io() || error.is_go_away() {
                // Repeated here: the task does this at its end, but not if its runtime drops it.
                // The calls would then come back to this connection for ever.
                self.shared.stop_accepting();
                OpenError::NotAccepting
            } else {
                OpenError::Invalid(error)
            }
        })?;
        self.stream.store(opened.0.stream_id().as_u32(), Relaxed);
        Ok(opened)
    }

    /// Leaves the last handle of a stream whose response has not ended to the connection's task.
    ///
    /// h2 resets the stream when that handle is dropped. What comes before the reset is written, it
    /// charges to the connection for life (see `ResetStreams`), so nothing must come: the task lets
    /// h2 write before it reads.
    pub(crate) fn leave(&self, stream: impl Send + 'static) {
        // Nothing panics while it is held.
        *self.left.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(stream));
    }

    /// Checks headers or trailers of the response against the limit.
    ///
    /// # Errors
    /// If they are longer than the channel accepts.
    pub(crate) fn check_headers(&self, headers: &HeaderMap) -> Result<(), HeadersTooLong> {
        self.shared.header_limit.check(headers, self.long_block())
    }

    /// Returns the response's headers or trailers that were above the limit, if any. It may be why
    /// h2 ended the stream or the connection.
    pub(crate) fn headers_too_long(&self) -> Option<HeadersTooLong> {
        let max = self.shared.header_limit.max();
        self.long_block().map(|len| HeadersTooLong { len, max })
    }

    fn long_block(&self) -> Option<u64> {
        self.shared.long_blocks.of(self.stream.load(Relaxed))
    }

    /// Returns the backend's address.
    pub(crate) fn address(&self) -> &Address {
        &self.shared.address
    }

    /// Returns true if any byte of a stream's HEADERS was passed to the operating system. If false,
    /// the server cannot have seen the call.
    pub(crate) fn was_written(&self, stream_id: u32) -> bool {
        stream_id <= self.shared.written_up_to()
    }

    /// Returns why the connection ended, if it has.
    pub(crate) fn close_reason(&self) -> Option<&CloseReason> {
        self.shared.close_reason()
    }
}

impl Drop for StreamPermit {
    fn drop(&mut self) {
        if self.beside_calls {
            self.shared.streams.end_beside_calls();
        }
        self.shared.long_blocks.forget(self.stream.load(Relaxed));
        if let Some(stream) = self.left.get_mut().unwrap_or_else(PoisonError::into_inner).take() {
            self.shared.let_go(stream);
        }
        self.shared.release();
    }
}

/// Why a stream could not be opened.
#[derive(Debug)]
pub(crate) enum OpenError {
    /// The connection is going away or gone.
    NotAccepting,
    /// Its headers are longer than the server accepts.
    TooLong(HeadersTooLong),
    /// h2 refuses this request on any connection.
    Invalid(h2::Error),
}

/// The state shared by the clones of a [`Connection`].
struct Handle {
    shared: Arc<ConnectionShared>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.stop_accepting();
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("address", self.address())
            .field("accepting", &self.is_accepting())
            .field("open_streams", &self.open_streams())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for StreamPermit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot").field("address", self.address()).finish_non_exhaustive()
    }
}
