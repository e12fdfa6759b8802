//! When one call, above all a long stream, has to end.
//!
//! A stream that never ends keeps its connection, and so its backend, for ever: age tells the
//! client to connect again, but only new calls follow. So the handler is told to end the stream,
//! and after a grace it is ended by force. The lifetime machine makes it when a call begins; the
//! driver keeps the time.

use std::time::Instant;

/// The two moments of one call; `None` where there is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamAge {
    /// When the handler is told to end the stream.
    pub ending_at: Option<Instant>,
    /// When the stream is ended by force.
    pub ended_at: Option<Instant>,
}
