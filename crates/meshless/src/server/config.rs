//! How a server treats one connection: its lifetime, its keepalive, and the limits of HTTP/2.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use meshless_core::{LifetimeConfig, Rng};

/// The settings of [`serve_connection`](crate::serve_connection). Clones share one stream of randomness.
///
/// # What one connection can pin
///
/// With the defaults a hostile client can make the server hold, on one connection, 64 MiB of unread request bytes, and
/// 100 000 open calls with a header list of 16 KiB each (1.6 GB). Between services that trust each other the
/// limits let a burst of 100 000 calls pass; a server that strangers reach should set
/// [`max_concurrent_streams`](Self::max_concurrent_streams) to some hundreds.
#[derive(Clone, Debug)]
pub struct ConnectionConfig {
    lifetime: LifetimeConfig,
    keepalive_time: Duration,
    keepalive_timeout: Duration,
    max_concurrent_streams: u32,
    max_header_list_size: u32,
    seed: u64,
    connections: Arc<AtomicU64>,
}

impl ConnectionConfig {
    /// When connections age, idle and drain, and which pings they bear. Default: [`LifetimeConfig::default`].
    #[must_use]
    pub fn lifetime(mut self, lifetime: LifetimeConfig) -> Self {
        self.lifetime = lifetime;
        self
    }

    /// After how much silence of the client a PING is sent, and how long its acknowledgement may take before the
    /// connection is closed. Defaults: 2 h and 20 s (gRFC A9).
    ///
    /// A `time` below 1 s counts as 1 s, as in grpc-go; `Duration::MAX` turns keepalive off. The PING is sent with or
    /// without calls.
    #[must_use]
    pub fn keepalive(mut self, time: Duration, timeout: Duration) -> Self {
        self.keepalive_time = time.max(KEEPALIVE_TIME_MIN);
        self.keepalive_timeout = timeout.min(KEEPALIVE_OFF);
        self
    }

    /// How many calls a client may have open on one connection; it queues the others. Default: 100 000 (grpc-go and tonic
    /// have no limit).
    #[must_use]
    pub fn max_concurrent_streams(mut self, streams: u32) -> Self {
        self.max_concurrent_streams = streams;
        self
    }

    /// How many bytes the headers of one request may have, as HTTP/2 counts them. Default: 16 KiB. A larger request is
    /// answered with 431.
    #[must_use]
    pub fn max_header_list_size(mut self, bytes: u32) -> Self {
        self.max_header_list_size = bytes;
        self
    }

    /// Where the jitter of the connections' ages comes from, so that a run can be repeated. Default: drawn once from
    /// the operating system.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    pub(super) fn lifetime_mut(&mut self) -> &mut LifetimeConfig {
        &mut self.lifetime
    }

    pub(super) fn lifetime_config(&self) -> LifetimeConfig {
        self.lifetime.clone()
    }

    /// The random stream of the next connection.
    pub(super) fn next_rng(&self) -> Rng {
        Rng::new(self.seed, self.connections.fetch_add(1, Ordering::Relaxed))
    }

    pub(super) fn http2(&self) -> http2::Builder<TokioExecutor> {
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        http2
            .timer(TokioTimer::new())
            .keep_alive_interval((self.keepalive_time < KEEPALIVE_OFF).then_some(self.keepalive_time))
            .keep_alive_timeout(self.keepalive_timeout)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .initial_stream_window_size(STREAM_WINDOW)
            .max_concurrent_streams(self.max_concurrent_streams)
            .max_header_list_size(self.max_header_list_size)
            .max_pending_accept_reset_streams(BURST)
            .max_local_error_reset_streams(BURST)
            // No gRPC client reads a date, and every response would carry 29 bytes of it.
            .auto_date_header(false);
        http2
    }
}

impl Default for ConnectionConfig {
    fn default() -> Self {
        Self {
            lifetime: LifetimeConfig::default(),
            keepalive_time: Duration::from_secs(2 * 3600),
            keepalive_timeout: Duration::from_secs(20),
            max_concurrent_streams: BURST as u32,
            max_header_list_size: 16 * 1024,
            seed: RandomState::new().hash_one("meshless"),
            connections: Arc::default(),
        }
    }
}

/// The calls at once on one connection that all limits below are made for.
///
/// It is also how many streams may wait for their acceptance although the client has reset them: h2's 20 kills the
/// connection when the deadlines of a burst pass while its requests are still unread. Each costs what a call costs
/// until its handler sees the reset. And it is how many resets for stream errors h2 sends in a connection's whole life; its
/// 1024 would kill a busy connection some day. Their memory (some 100 bytes each while unsent) stays at 10 MB.
const BURST: usize = 100_000;

/// Unread request bytes that a client may have on the way, on all streams of a connection together.
///
/// h2 ≥ 0.4.16 (`proto/streams/counts.rs`, `record_data_frame`) closes a connection with ENHANCE_YOUR_CALM when small unread
/// DATA frames exhaust a budget of half this window: a frame of `len` < 256 bytes costs 256 − len. tonic's clients send
/// messages without END_STREAM, so a burst of 100 000 calls of 5 to 20 bytes costs up to 25 MB: 32 MiB hold it, hyper's
/// default of 512 KiB holds 2 150 calls. The guard exists because each such frame pins memory (RUSTSEC-2026-0258); with
/// this window one connection pins at most 64 MiB of bytes, or 131 000 frames of one byte.
const CONNECTION_WINDOW: u32 = 64 << 20;

/// Unread request bytes on one stream: 1 MiB carries 100 MB/s over 10 ms of round trip.
const STREAM_WINDOW: u32 = 1 << 20;

/// "a minimum value of 1s will be used" (grpc-go, `keepalive.ServerParameters`).
const KEEPALIVE_TIME_MIN: Duration = Duration::from_secs(1);

/// A century: no keepalive, and no overflow of instants.
const KEEPALIVE_OFF: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_bears_a_burst_of_tonic_calls() {
        let cost_of_a_call = 256 - (5 + 5);
        assert!(BURST * cost_of_a_call <= CONNECTION_WINDOW as usize / 2);
    }
}
