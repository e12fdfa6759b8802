//! The actions of the lifetime machine for its driver, with their reasons.
//!
//! They come from [`Lifetime::poll_action`](super::Lifetime::poll_action). This is plain data:
//! nothing here decides.

/// An action for the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LifetimeAction {
    /// Send GOAWAY(2³¹−1, NO_ERROR) and a PING; keep accepting streams.
    GoAway {
        /// The reason, which the GOAWAY's debug data should carry.
        reason: GoAwayReason,
    },
    /// Send the second GOAWAY, with the highest stream that has arrived. The PING was acknowledged
    /// a round trip ago, or is not acknowledged at all.
    FinishGoAway,
    /// Send a PING, and flush it. The time for its answer runs even if it cannot be sent.
    Ping,
    /// Close the connection now, with all its calls.
    Close {
        /// Why.
        reason: CutReason,
    },
}

/// Why a connection is told to go away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum GoAwayReason {
    /// It reached its maximum age.
    MaxAge,
    /// It had no call for the maximum idle time.
    MaxIdle,
    /// The server shuts down.
    Drain,
}

/// Why a connection is closed by force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CutReason {
    /// Calls still ran when the grace after age or idleness was over.
    GraceOver,
    /// Calls still ran when the drain timeout was over.
    DrainTimeout,
    /// The client pings more often than it may: send GOAWAY(ENHANCE_YOUR_CALM, `too_many_pings`)
    /// before.
    TooManyPings,
    /// The peer did not open the connection with the HTTP/2 preface in time.
    HandshakeTimeout,
    /// The client sends more PINGs, SETTINGS and resets than calls can explain: send
    /// GOAWAY(ENHANCE_YOUR_CALM, `too_many_control_frames`) before.
    FrameFlood,
    /// Responses waited, and the client took no byte of any of them for the slow reader timeout.
    SlowReader,
    /// The client was silent, and stayed silent for the keepalive timeout after a PING.
    KeepaliveTimeout,
}

impl GoAwayReason {
    /// Returns the GOAWAY's debug data, in grpc-go's words.
    pub fn debug_data(self) -> &'static str {
        match self {
            Self::MaxAge => "max_age",
            Self::MaxIdle => "max_idle",
            Self::Drain => "graceful_stop",
        }
    }
}
