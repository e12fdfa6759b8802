//! One HTTP/2 connection to one backend.
//!
//! ```text
//!                          GOAWAY read, drain(), ids used up
//!   connect() ──▶ open ──────────────────────────────────────▶ draining ──▶ closed
//!                  │                                 last stream ended ▲
//!                  └── connection lost, peer silent, abort() ──────────┘
//! ```
//!
//! [`Connection::connect`] dials, and returns when the server's SETTINGS are in force, which is
//! what gRPC calls READY. From then on one task drives h2 and tells the channel's driver what
//! happens ([`Event`]); calls hold a [`StreamPermit`], which is one stream within the peer's
//! MAX_CONCURRENT_STREAMS.
//!
//! It never queues a call: a connection that is full or going away says so at once, with the call
//! still in the caller's hands. Queueing, choosing and retrying are the channel's.

mod config;
mod establish;
mod header_limit;
mod http2_error;
mod shared;
mod task;
#[cfg(test)]
mod tests;
mod wire;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use bytes::Bytes;
use h2::SendStream;
use h2::client::ResponseFuture;
use http::HeaderMap;
use meshless_core::Address;

pub(crate) use self::config::ConnectionConfig;
pub(crate) use self::establish::{ConnectError, Destination};
use self::header_limit::request_size;
pub(crate) use self::header_limit::{HeaderLimit, HeadersTooLong};
pub(crate) use self::http2_error::describe as describe_http2;
use self::shared::ConnectionShared;

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

    /// Reserves a stream that is no call: nobody pings on its behalf, and a connection that drains
    /// does not wait for it.
    pub(crate) fn try_reserve_beside_calls(&self) -> Option<StreamPermit> {
        self.shared().streams.reserve().then(|| {
            self.shared().streams.begin_beside_calls();
            StreamPermit::new(self.shared(), true)
        })
    }

    /// Whether new calls may start, were there room for them.
    pub(crate) fn is_accepting(&self) -> bool {
        self.shared().is_accepting()
    }

    /// Streams that are open or reserved.
    pub(crate) fn open_streams(&self) -> u32 {
        self.shared().streams.open()
    }

    /// Streams that the peer allows at a time, at present; `u32::MAX` if it set no limit.
    pub(crate) fn max_streams(&self) -> u32 {
        self.shared().streams.max()
    }

    /// The backend.
    pub(crate) fn address(&self) -> &Address {
        &self.shared().address
    }

    /// Empty messages have come beyond the first of a call: work for nothing, of which the server
    /// may make only so much.
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
    /// 0 before it is opened.
    stream: AtomicU32,
}

impl StreamPermit {
    fn new(shared: &Arc<ConnectionShared>, beside_calls: bool) -> Self {
        Self { shared: Arc::clone(shared), beside_calls, stream: AtomicU32::new(0) }
    }

    /// Opens the stream with these headers, which `head` builds only if the connection still
    /// accepts calls.
    ///
    /// # Errors
    /// Whatever the error, nothing of the call was sent.
    pub(crate) fn open(
        &self,
        head: impl FnOnce() -> http::Request<()>,
        end_of_stream: bool,
    ) -> Result<(ResponseFuture, SendStream<Bytes>), OpenError> {
        let mut sender = self.shared.sender().ok_or(OpenError::NotAccepting)?;
        let head = head();
        let max = self.shared.peer_header_list_max();
        // Nearly every server has a limit or none that is within reach: the sum is made only if
        // there is one.
        if max < u32::MAX {
            let len = request_size(&head);
            if len > u64::from(max) {
                return Err(OpenError::TooLong(HeadersTooLong { len, max }));
            }
        }
        let opened = sender.send_request(head, end_of_stream).map_err(|error| {
            // An error of the connection: it ended between the check above and here. Any other is
            // about the request.
            if error.is_io() || error.is_go_away() {
                // Said here too: the task says it in its last act, but a task that its runtime
                // drops has none, and the calls would come back to this connection for ever.
                self.shared.stop_accepting();
                OpenError::NotAccepting
            } else {
                OpenError::Invalid(error)
            }
        })?;
        self.stream.store(opened.0.stream_id().as_u32(), Relaxed);
        Ok(opened)
    }

    /// Checks headers or trailers of the response against the limit.
    ///
    /// # Errors
    /// If they are longer than the channel accepts.
    pub(crate) fn check_headers(&self, headers: &HeaderMap) -> Result<(), HeadersTooLong> {
        self.shared.header_limit.check(headers, self.long_block())
    }

    /// The response had headers or trailers above the limit, and perhaps h2 ended the stream or the
    /// connection for it.
    pub(crate) fn headers_too_long(&self) -> Option<HeadersTooLong> {
        let max = self.shared.header_limit.max();
        self.long_block().map(|len| HeadersTooLong { len, max })
    }

    fn long_block(&self) -> Option<u64> {
        self.shared.long_blocks.of(self.stream.load(Relaxed))
    }

    /// The backend.
    pub(crate) fn address(&self) -> &Address {
        &self.shared.address
    }

    /// Whether any byte of a stream's HEADERS was handed to the operating system. If not, the
    /// server cannot have seen the call.
    pub(crate) fn was_written(&self, stream_id: u32) -> bool {
        stream_id <= self.shared.written_up_to()
    }

    /// Why the connection ended, if it has.
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
        self.shared.release();
    }
}

/// Why a stream could not be opened.
#[derive(Debug)]
pub(crate) enum OpenError {
    /// The connection is going away or gone.
    NotAccepting,
    /// Its headers are longer than the server says it accepts.
    TooLong(HeadersTooLong),
    /// h2 refuses this request on any connection.
    Invalid(h2::Error),
}

/// What happens on a connection, as told to the channel's driver.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// No new calls from now on; those in flight go on. Reported at most once.
    GoingAway(GoingAway),
    /// A call was sent, and for a while nothing has been read, or something again: whether new
    /// calls had better go elsewhere.
    Silent(bool),
    /// The peer changed how many streams it allows at a time. What it allowed at first is
    /// [`Connection::max_streams`].
    StreamLimit(u32),
    /// The connection was full, a call wanted in, and now there is room. Reported at most once per
    /// call that was turned away, so a queue of these is bounded by the calls.
    StreamsAvailable,
    /// The connection has ended, and with it every call on it. The last event.
    Closed(CloseReason),
}

/// Where a connection's events go. Called from the connection's task and from whichever thread ends
/// a call; must not block.
pub(crate) type Report = Box<dyn Fn(Event) + Send + Sync>;

/// Why a connection accepts no more calls while it is still alive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum GoingAway {
    /// The server sent GOAWAY.
    Server {
        /// The server's reason in its own words, such as `max_age`; cut and escaped, empty if it
        /// gave none.
        debug_data: String,
        code: h2::Reason,
        /// The server was pinged too often: the next connections to it must ping half as often (A8,
        /// [`meshless_core::LivenessConfig::doubled`]).
        too_many_pings: bool,
    },
    /// All stream ids are used.
    StreamIdsExhausted,
}

/// Why a connection ended.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum CloseReason {
    /// It was draining, and the last call has ended.
    #[error("drained")]
    Drained,
    /// The channel aborted it.
    #[error("closed by the client")]
    Aborted,
    /// The server closed it; after a GOAWAY, perhaps because no stream was left.
    #[error("closed by the server")]
    Server,
    /// Nothing was read for the keepalive timeout after a PING.
    #[error("keepalive: nothing was received within {0:?} after a PING")]
    Keepalive(std::time::Duration),
    /// Nothing was read for that long after a call was sent.
    #[error("silent: nothing was received within {0:?} after a call, not even the answer to a PING")]
    Silent(std::time::Duration),
    /// The server sent more frames that carry nothing than it may.
    #[error("closed by the client: the server sent too many frames that carry nothing")]
    Flooded,
    /// The headers or trailers of one response were so long that h2 gives the connection up.
    #[error(
        "closed by the client: a response had far more headers or trailers than the {max} bytes that this channel accepts \
         (ChannelBuilder::max_header_list_size)"
    )]
    HeadersTooLong {
        /// The channel's limit.
        max: u32,
    },
    /// The task that drives the connection has panicked.
    #[error("the connection's task panicked, which is a bug: {0}")]
    Panicked(String),
    /// The byte stream broke, or one side broke the protocol.
    #[error("{}", describe_http2(.0))]
    Http2(Arc<h2::Error>),
}

impl CloseReason {
    /// Returns true if this client closed the connection since the server made it work for nothing;
    /// h2 has limits of its own.
    pub(crate) fn is_flood(&self) -> bool {
        match self {
            Self::Flooded => true,
            Self::Http2(error) => {
                error.is_go_away()
                    && !error.is_remote()
                    && error.reason() == Some(h2::Reason::ENHANCE_YOUR_CALM)
            }
            _ => false,
        }
    }
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
