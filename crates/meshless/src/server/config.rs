//! How a server treats one connection: its lifetime, its keepalive, and the limits of HTTP/2.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hyper::server::conn::http2;
use meshless_core::{Levelling, Lifetime, LifetimeConfig, Rng};

use super::call_task::CallExecutor;
use super::header_limits::HeaderLimits;

/// The settings of [`serve_connection`](crate::serve_connection). Clones share the random stream
/// and the connection count that ages are levelled by.
///
/// # What one connection can pin
///
/// A hostile client can make the server hold this much on one connection under the defaults
/// (measured: `cargo bench -p meshless --bench pinned`):
///
/// | By | Bounded by | Default | Memory at most |
/// |---|---|---|---|
/// | being there | [`Server::max_connections`](crate::Server::max_connections) | 10 000 | 45 KB each |
/// | open streams | [`max_concurrent_streams`](Self::max_concurrent_streams) | 10 000 | 28 MB, and what handlers hold: 6 KB a stream in all with a small one that waits |
/// | large headers, or many small ones | 6 KiB for each of [`max_concurrent_streams`](Self::max_concurrent_streams), whatever [`max_header_list_size`](Self::max_header_list_size) is | 60 MiB | 63 MB |
/// | bodies that no handler reads | the connection's window, which follows the number of streams | 8 MiB | 14 MB; 33 MB as a byte on each stream |
/// | responses that it does not read | [`slow_reader_timeout`](LifetimeConfig::slow_reader_timeout) | 5 min | one message on each stream |
/// | cancelled calls, PINGs, SETTINGS | [`reset_burst`](LifetimeConfig::reset_burst) | 20 000, then 1000/s | nothing but CPU time |
/// | header blocks without end | h2: five CONTINUATION frames | | 100 KB |
/// | silence | [`handshake_timeout`](LifetimeConfig::handshake_timeout) | 20 s | 45 KB |
///
/// Only [`Server::max_concurrent_calls`](crate::Server::max_concurrent_calls) bounds all
/// connections together: 20 of them with 5 000 waiting calls each took 624 MB of the process.
///
/// A server that untrusted clients can reach should set
/// [`max_concurrent_streams`](Self::max_concurrent_streams) to some hundreds; the memory falls
/// with it. The default is for services that trust each other: a client without a free stream
/// waits without an error, and some gateways have thousands of streams on one connection.
///
/// The size of a message is up to its service: tonic's decode at most 4 MiB
/// (`max_decoding_message_size`), and their handlers hold the decoded messages. If HTTP/2 has taken
/// a response and the client then gives too little window, the response does not count as waiting.
/// It stays until the connection ends by age, idleness or keepalive.
#[derive(Clone, Debug)]
pub struct ConnectionConfig {
    lifetime: LifetimeConfig,
    /// `None`: no keepalive.
    keepalive_time: Option<Duration>,
    keepalive_timeout: Duration,
    max_concurrent_streams: u32,
    max_header_list_size: u32,
    levelling: Option<Arc<Levelling>>,
    seed: u64,
    connections: Arc<AtomicU64>,
}

impl ConnectionConfig {
    /// Sets when connections age, idle and drain, and which pings are allowed. Default:
    /// [`LifetimeConfig::default`].
    #[must_use]
    pub fn lifetime(mut self, lifetime: LifetimeConfig) -> Self {
        self.lifetime = lifetime;
        self
    }

    /// Sets after how much silence of the client the server sends a PING (`time`).
    ///
    /// If neither its acknowledgement nor any other byte arrives within `timeout`, the connection
    /// is closed. Defaults: 2 h and 20 s (gRFC A9). A `time` below 1 s counts as 1 s, as in
    /// grpc-go; `None` turns keepalive off. The PING is sent with or without calls. The timeout
    /// runs even if the socket takes no bytes.
    #[must_use]
    pub fn keepalive(mut self, time: impl Into<Option<Duration>>, timeout: Duration) -> Self {
        self.keepalive_time = time.into();
        self.keepalive_timeout = timeout;
        self
    }

    /// Sets how many calls a client may have open on one connection. Default: 10 000 (grpc-go and
    /// tonic have no limit).
    ///
    /// A client that needs more queues them, or opens another connection. Other limits of a
    /// connection follow from it: up to 64 MiB of unread request bytes from 65 536 on.
    #[must_use]
    pub fn max_concurrent_streams(mut self, streams: u32) -> Self {
        self.max_concurrent_streams = streams;
        self
    }

    /// Sets how many bytes the headers of one request may have, as HTTP/2 counts them. Default:
    /// 64 KiB, like the channel's limit on responses.
    ///
    /// A larger gRPC request is answered with RESOURCE_EXHAUSTED, which names the sizes, and any
    /// other with 431; the connection stays open. More than 16 times as much ends the connection.
    ///
    /// The headers of all open calls together may pin 6 KiB for each of
    /// [`max_concurrent_streams`](Self::max_concurrent_streams), and at least 8 MiB. A call beyond
    /// that gets the same answer.
    #[must_use]
    pub fn max_header_list_size(mut self, bytes: u32) -> Self {
        self.max_header_list_size = bytes;
        self
    }

    /// Ends connections sooner while the server has more of them than on average. Default: off.
    ///
    /// Clients that keep one connection are then spread more evenly. A server with n connections,
    /// n̄ on average, ends each with hazard (n/n̄)ᵃ over the maximum age; without a maximum age
    /// nothing happens. `exponent` is the a, at most 8. A good value is 3: 0.55 of the spread for
    /// some per cent more rotations.
    ///
    /// Ages then have the maximum age as their mean (from a quarter of it to five times), and are
    /// no longer within ±10 %. Leave it off if the fleet changes its size all the time: the costs
    /// are in `meshless-core`, `lifetime/levelling.rs`.
    #[must_use]
    pub fn level_connections(mut self, exponent: u32) -> Self {
        self.levelling = (exponent > 0).then(|| Arc::new(Levelling::new(exponent)));
        self
    }

    /// Sets the seed for the jitter of the connections' ages, so that a run can be repeated.
    /// Default: drawn once from the operating system.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    pub(super) fn header_limits(&self) -> HeaderLimits {
        HeaderLimits::new(self.max_header_list_size, self.max_concurrent_streams)
    }

    pub(super) fn lifetime_mut(&mut self) -> &mut LifetimeConfig {
        &mut self.lifetime
    }

    /// Returns the state machine of the next connection, which was accepted at `now`.
    pub(super) fn begin_lifetime(&self, now: Instant) -> Lifetime {
        // Room to cancel all calls at once, twice.
        let config = self.lifetime.clone().reset_burst(self.max_concurrent_streams.saturating_mul(2));
        let mut rng = Rng::new(self.seed, self.connections.fetch_add(1, Ordering::Relaxed));
        let mut lifetime = Lifetime::new(config, now, &mut rng);
        if let Some(time) = self.keepalive_time {
            lifetime = lifetime.keepalive(time, self.keepalive_timeout);
        }
        match &self.levelling {
            Some(levelling) => lifetime.levelled(levelling.clone()),
            None => lifetime,
        }
    }

    pub(super) fn http2(&self, executor: CallExecutor) -> http2::Builder<CallExecutor> {
        let mut http2 = http2::Builder::new(executor);
        http2
            .initial_connection_window_size(connection_window(self.max_concurrent_streams))
            .initial_stream_window_size(STREAM_WINDOW)
            .max_concurrent_streams(self.max_concurrent_streams)
            .max_header_list_size(self.header_limits().for_h2())
            // Streams that the client reset before h2 has accepted them. h2's default of 20 ends
            // the connection when the deadlines of a burst pass while its requests are still
            // unread. Each costs as much as a call.
            .max_pending_accept_reset_streams(self.max_concurrent_streams as usize)
            // h2 counts these over a connection's whole life, and not every reset is a fault: a
            // message can be on its way when its call has ended. `Wire` holds their rate to the
            // budget for frames.
            .max_local_error_reset_streams(None)
            // No gRPC client reads a date, and every response would carry 29 bytes of it.
            .auto_date_header(false);
        http2
    }
}

impl Default for ConnectionConfig {
    fn default() -> Self {
        Self {
            lifetime: LifetimeConfig::default(),
            keepalive_time: Some(Duration::from_secs(2 * 3600)),
            keepalive_timeout: Duration::from_secs(20),
            max_concurrent_streams: MAX_CONCURRENT_STREAMS,
            max_header_list_size: 64 * 1024,
            levelling: None,
            seed: RandomState::new().hash_one("meshless"),
            connections: Arc::default(),
        }
    }
}

/// More open calls than one connection of a normal client needs.
const MAX_CONCURRENT_STREAMS: u32 = 10_000;

/// Unread request bytes that a client may have on the way, on all streams of a connection together.
///
/// h2 ≥ 0.4.16 (`proto/streams/counts.rs`, `record_data_frame`) closes a connection with
/// ENHANCE_YOUR_CALM when small unread DATA frames exhaust a budget of half this window: a frame of
/// `len` < 256 bytes costs 256 − len. tonic's clients send messages without END_STREAM, so each
/// call of a burst costs up to 256 bytes of that budget: hyper's default of 512 KiB holds 2 150
/// calls. The guard exists because each such frame pins memory (RUSTSEC-2026-0258).
fn connection_window(streams: u32) -> u32 {
    const COST_OF_A_CALL: u32 = 2 * 256;
    streams.saturating_mul(COST_OF_A_CALL).clamp(CONNECTION_WINDOW_MIN, CONNECTION_WINDOW_MAX)
}

/// 800 MB/s over 10 ms of round trip.
const CONNECTION_WINDOW_MIN: u32 = 8 << 20;

/// The budget of 131 000 small calls.
const CONNECTION_WINDOW_MAX: u32 = 64 << 20;

/// Unread request bytes on one stream: 1 MiB carries 100 MB/s over 10 ms of round trip.
const STREAM_WINDOW: u32 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_bears_a_small_call_on_every_stream() {
        for streams in [1, 100, MAX_CONCURRENT_STREAMS, 100_000] {
            let budget = connection_window(streams) / 2;
            assert!(streams * (256 - (5 + 5)) <= budget, "{streams} streams");
        }
    }
}
