//! The HTTP/2 settings of a connection: windows, limits, keepalive, and the reason for each value.
//!
//! The channel's builder fills them in; they are read when a connection is established.

use std::time::Duration;

use meshless_core::LivenessConfig;

use super::header_limit::{HEADER_LIST_SIZE, HeaderLimit};

/// The settings for the connections of one channel.
#[derive(Clone, Debug)]
pub(crate) struct ConnectionConfig {
    /// Longest time from the first SYN to the server's SETTINGS. Default 20 s, gRPC's minimum
    /// connect timeout (connection-backoff.md).
    pub(crate) connect_timeout: Duration,
    /// PINGs that detect a dead peer. Default: none.
    pub(crate) keepalive: Option<LivenessConfig>,
    /// When calls leave a peer that answers nothing. Default: after 1 s.
    pub(crate) stall: Option<LivenessConfig>,
    /// Bytes of one response that the server may send ahead of the reader. Default 2 MiB.
    pub(crate) stream_window: u32,
    /// Bytes of all responses together that the server may send ahead of their readers. Default 64
    /// MiB.
    ///
    /// Two things follow from it. `connection_window / stream_window` responses whose readers have
    /// stopped block the whole connection, so it is 32 times the stream's. And h2 allows half of it
    /// as the overhead of small unread DATA frames (256 bytes less the payload, each) before it
    /// closes the connection with ENHANCE_YOUR_CALM. At 32 MiB it allows a burst of 100 000 calls
    /// that are answered before the first answer is read.
    ///
    /// One hostile backend can pin 96 MiB: the window for payload, and the same 32 MiB for the
    /// frames' bookkeeping. Bytes that readers have taken are not in it: a generated client keeps
    /// an unfinished message of up to its own limit (tonic's default is 4 MiB) for each call.
    pub(crate) connection_window: u32,
    /// Bytes of headers or trailers of one response. Default 64 KiB.
    pub(crate) header_limit: HeaderLimit,
}

impl ConnectionConfig {
    pub(super) fn http2(&self) -> h2::client::Builder {
        let mut builder = h2::client::Builder::new();
        builder
            .enable_push(false)
            .initial_window_size(self.stream_window)
            .initial_connection_window_size(self.connection_window)
            .max_header_list_size(self.header_limit.for_h2())
            .max_concurrent_reset_streams(REMEMBERED_RESETS)
            .reset_stream_duration(RESET_MEMORY)
            .max_local_error_reset_streams(Some(LOCAL_ERROR_RESETS));
        builder
    }
}

impl Default for ConnectionConfig {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(20),
            keepalive: None,
            stall: Some(LivenessConfig::stall(STALL)),
            stream_window: 2 << 20,
            connection_window: 64 << 20,
            header_limit: HeaderLimit::new(HEADER_LIST_SIZE),
        }
    }
}

/// Cancelled streams that h2 remembers, to skip what the server had already sent on them.
///
/// A cancellation itself is free: h2 sends RST_STREAM and counts nothing. But a frame for a stream
/// that it no longer remembers counts as an error of the peer, and a lifetime total of those
/// (below) closes the connection. When the memory is full, h2 remembers no further stream. So this
/// many may be cancelled in each [`RESET_MEMORY`]: 16 000 a second. h2's default of 50 streams is
/// exceeded by the first wave of client deadlines. About 0.4 kB each, 13 MB at the worst.
const REMEMBERED_RESETS: usize = 32_768;

/// How long a cancelled stream is remembered: some round trips to a busy server.
const RESET_MEMORY: Duration = Duration::from_secs(2);

/// Errors of the peer over the connection's life after which h2 gives up on it; h2's own default is
/// 1024.
///
/// With the memory above, only a server that goes on sending on streams seconds after they were
/// reset comes near: one that stands still now and then. At half of them the wire has the
/// connection replaced, and no call is lost. A limit must remain, since each error queues a
/// RST_STREAM that a hostile server need not read (RUSTSEC-2024-0003).
pub(super) const LOCAL_ERROR_RESETS: usize = 100_000;

/// The default of `stall`.
const STALL: Duration = Duration::from_secs(1);
