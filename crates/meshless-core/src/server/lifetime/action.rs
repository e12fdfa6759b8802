//! What the lifetime machine tells its driver, and why.
//!
//! Read off [`Lifetime::poll_action`](super::Lifetime::poll_action). Plain data: nothing here
//! decides.

/// What the driver is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LifetimeAction {
    /// Send GOAWAY(2³¹−1, NO_ERROR) and a PING; keep accepting streams.
    GoAway {
        /// Why, which the GOAWAY's debug data should carry.
        reason: GoAwayReason,
    },
    /// Let the second GOAWAY follow, with the highest stream that has arrived: the PING was
    /// acknowledged a round trip ago, or is not acknowledged at all.
    FinishGoAway,
    /// Send a PING, and see that it is flushed; whether it can be sent or not, the time for its
    /// answer runs.
    Ping,
    /// Close the connection now, whatever runs on it.
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
    /// The client pings more often than it may: GOAWAY(ENHANCE_YOUR_CALM, `too_many_pings`) goes
    /// before.
    TooManyPings,
    /// The peer did not open the connection with the HTTP/2 preface in time.
    HandshakeTimeout,
    /// The client sends more PINGs, SETTINGS and resets than calls can explain:
    /// GOAWAY(ENHANCE_YOUR_CALM, `too_many_control_frames`) goes before.
    FrameFlood,
    /// Responses waited, and the client took no byte of any for the slow reader timeout.
    SlowReader,
    /// The client was silent, and still was for the keepalive timeout after a PING.
    KeepaliveTimeout,
}

impl GoAwayReason {
    /// What the GOAWAY's debug data says, in grpc-go's words.
    pub fn debug_data(self) -> &'static str {
        match self {
            Self::MaxAge => "max_age",
            Self::MaxIdle => "max_idle",
            Self::Drain => "graceful_stop",
        }
    }
}
