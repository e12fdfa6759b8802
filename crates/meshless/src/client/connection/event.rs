//! The events of a connection, for the channel's driver.

use std::sync::Arc;
use std::time::Duration;

use super::http2_error::describe;

/// What happens on a connection, for the channel's driver.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// No new calls from now on; those in flight go on. Reported at most once.
    GoingAway(GoingAway),
    /// True: a call was sent, and nothing was read for a while. New calls should then go elsewhere.
    /// False: something was read again.
    Silent(bool),
    /// The peer changed how many streams it allows at a time. The first value is
    /// [`Connection::max_streams`](super::Connection::max_streams).
    StreamLimit(u32),
    /// The connection was full, a call was refused, and now there is room. Reported at most once
    /// per refused call, so the calls limit a queue of these.
    StreamsAvailable,
    /// The connection has ended, with every call on it. This is the last event.
    Closed(CloseReason),
}

/// Takes a connection's events. Called from the connection's task and from any thread that ends a
/// call; must not block.
pub(crate) type Report = Box<dyn Fn(Event) + Send + Sync>;

/// Why a connection accepts no more calls while it is still alive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum GoingAway {
    /// The server sent GOAWAY.
    Server {
        /// The server's reason in its own words, such as `max_age`; cut and escaped, empty if there
        /// is none.
        debug_data: String,
        code: h2::Reason,
        /// The server was pinged too often: the next connections to it must ping half as often (A8,
        /// [`meshless_core::LivenessConfig::doubled`]).
        too_many_pings: bool,
    },
    /// All stream ids are used.
    StreamIdsExhausted,
    /// Half of the server's errors have come that h2 bears in a connection's life.
    ManyErrors,
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
    /// The server closed it. After a GOAWAY, perhaps because no stream was left.
    #[error("closed by the server")]
    Server,
    /// Nothing was read for the keepalive timeout after a PING.
    #[error("keepalive: nothing was received within {0:?} after a PING")]
    Keepalive(Duration),
    /// Nothing was read for this time after a call was sent.
    #[error("silent: nothing was received within {0:?} after a call, not even the answer to a PING")]
    Silent(Duration),
    /// The server sent too many frames without content.
    #[error("closed by the client: the server sent too many frames that carry nothing")]
    Flooded,
    /// One response's headers or trailers were far above the limit, and h2 closed the connection.
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
    /// The byte stream broke, or one side violated the protocol.
    #[error("{}", describe(.0))]
    Http2(Arc<h2::Error>),
}

impl CloseReason {
    /// Returns true if this client closed the connection because the server made it work for
    /// nothing. This includes h2's own limits.
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
