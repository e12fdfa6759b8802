//! The events of a server's connections.

use std::fmt;
use std::time::Duration;

use meshless_core::{CutReason, GoAwayReason};

use super::peer::Peer;

/// An event of one connection. See
/// [`Server::on_connection_event`](crate::Server::on_connection_event).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ConnectionEvent {
    /// The number of the connection; each server counts from 0.
    pub connection: u64,
    /// The client.
    pub peer: Peer,
    /// What happened.
    pub change: ConnectionChange,
    /// Time since the connection was accepted.
    pub age: Duration,
    /// Calls accepted on it so far.
    pub calls: u64,
    /// How many of these calls were health checks.
    pub health_checks: u64,
}

/// What a connection has carried so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Carried {
    pub(super) calls: u64,
    pub(super) health_checks: u64,
}

/// What happens to a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectionChange {
    /// The server accepted it.
    Opened,
    /// It got a GOAWAY: its client must open no further calls on it.
    GoingAway(GoAwayReason),
    /// It is closed, and its calls have ended.
    Closed(CloseReason),
}

/// Why a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CloseReason {
    /// The client closed it.
    Client,
    /// It got a GOAWAY, and all its calls were done.
    GoneAway(GoAwayReason),
    /// Calls still ran when the grace after maximum age or idleness was over.
    GraceOver,
    /// Calls still ran when the drain timeout was over.
    DrainTimeout,
    /// The server's shutdown was hurried. See
    /// [`ShutdownHandle::hurry`](crate::ShutdownHandle::hurry).
    Hurried,
    /// The client did not open the connection with the HTTP/2 preface in time.
    HandshakeTimeout,
    /// The client was silent, and sent nothing in time after a keepalive PING either.
    KeepaliveTimeout,
    /// Responses waited, and the client took no byte of any within the slow reader timeout.
    SlowReader,
    /// The client pinged more often than allowed, and got GOAWAY(ENHANCE_YOUR_CALM,
    /// `too_many_pings`).
    TooManyPings,
    /// The client sent more PINGs, SETTINGS, resets and similar frames than its calls explain, and
    /// got GOAWAY(ENHANCE_YOUR_CALM, `too_many_control_frames`).
    FrameFlood,
    /// The transport or the protocol failed; the text says how.
    Failed(String),
}

/// How a connection ended, from [`serve_connection`](crate::serve_connection).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ConnectionSummary {
    /// Why it ended.
    pub reason: CloseReason,
    /// How long it lived.
    pub age: Duration,
    /// How many calls it carried.
    pub calls: u64,
    /// How many of these calls were health checks.
    pub health_checks: u64,
}

impl ConnectionEvent {
    /// Returns true if the event tells an operator nothing.
    ///
    /// That is: a connection was opened, its client closed it, or it ended after its GOAWAY. On a
    /// connection that carried only health checks, or nothing, all events but abuse are routine.
    /// The server logs such an event at DEBUG, and any other at INFO. A kubelet's probes alone make
    /// 86 000 a day.
    pub fn is_routine(&self) -> bool {
        let carried_calls = self.calls > self.health_checks;
        match &self.change {
            ConnectionChange::Opened => true,
            // A drain sends GOAWAY to all connections, and the server logs that in one line.
            ConnectionChange::GoingAway(reason) => !carried_calls || *reason == GoAwayReason::Drain,
            ConnectionChange::Closed(reason) => match reason {
                CloseReason::Client | CloseReason::GoneAway(_) => true,
                CloseReason::TooManyPings | CloseReason::FrameFlood | CloseReason::SlowReader => false,
                _ => !carried_calls,
            },
        }
    }

    pub(super) fn log(&self) {
        let Self { connection, peer, change, age, calls, health_checks } = self;
        if self.is_routine() {
            tracing::debug!(connection, %peer, ?age, calls, health_checks, "connection {change}");
        } else {
            tracing::info!(connection, %peer, ?age, calls, health_checks, "connection {change}");
        }
    }
}

impl fmt::Display for ConnectionChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Opened => f.write_str("opened"),
            Self::GoingAway(reason) => write!(f, "told to go: {}", go_away_text(*reason)),
            Self::Closed(reason) => write!(f, "closed: {reason}"),
        }
    }
}

impl From<CutReason> for CloseReason {
    fn from(reason: CutReason) -> Self {
        match reason {
            CutReason::GraceOver => Self::GraceOver,
            CutReason::DrainTimeout => Self::DrainTimeout,
            CutReason::TooManyPings => Self::TooManyPings,
            CutReason::HandshakeTimeout => Self::HandshakeTimeout,
            CutReason::FrameFlood => Self::FrameFlood,
            CutReason::SlowReader => Self::SlowReader,
            CutReason::KeepaliveTimeout => Self::KeepaliveTimeout,
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client => "closed by the client",
            Self::GoneAway(reason) => go_away_text(*reason),
            Self::GraceOver => "cut after the grace",
            Self::DrainTimeout => "cut after the drain timeout",
            Self::Hurried => "cut by a hurried shutdown",
            Self::HandshakeTimeout => "handshake timeout",
            Self::KeepaliveTimeout => "keepalive timeout",
            Self::SlowReader => "slow reader",
            Self::TooManyPings => "too many pings",
            Self::FrameFlood => "too many control frames",
            Self::Failed(error) => return write!(f, "failed: {error}"),
        })
    }
}

fn go_away_text(reason: GoAwayReason) -> &'static str {
    match reason {
        GoAwayReason::MaxAge => "max age",
        GoAwayReason::MaxIdle => "max idle",
        GoAwayReason::Drain => "drained",
        _ => "sent away",
    }
}
