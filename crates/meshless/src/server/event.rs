//! What a server tells about its connections.

use std::fmt;
use std::time::Duration;

use meshless_core::{CloseReason, GoAwayReason};

use super::peer::Peer;

/// Something happened to a connection. See [`Server::on_connection_event`](crate::Server::on_connection_event).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ConnectionEvent {
    /// Counts the connections of one server from 0 on.
    pub connection: u64,
    /// The client.
    pub peer: Peer,
    /// What happened.
    pub change: ConnectionChange,
    /// Time since the connection was accepted.
    pub age: Duration,
    /// Calls accepted on it so far.
    pub calls: u64,
}

/// The stations of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectionChange {
    /// It was accepted.
    Opened,
    /// Its client was told to open no further calls on it.
    GoingAway(GoAwayReason),
    /// It is gone, and so are its calls.
    Closed(ClosedReason),
}

/// Why a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClosedReason {
    /// The client closed it.
    Client,
    /// It was sent away, and all its calls were done.
    GoneAway(GoAwayReason),
    /// The server cut it.
    Cut(CloseReason),
    /// The server's shutdown was hurried. See [`ShutdownHandle::hurry`](crate::ShutdownHandle::hurry).
    Hurried,
    /// The client was silent, and sent nothing in time after a keepalive PING either.
    KeepaliveTimeout,
    /// Transport or protocol failed.
    Failed(String),
}

/// The end of a connection, from [`serve_connection`](crate::serve_connection).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ConnectionSummary {
    /// Why it ended.
    pub reason: ClosedReason,
    /// How long it lived.
    pub age: Duration,
    /// How many calls it carried.
    pub calls: u64,
}

impl fmt::Display for ClosedReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client => "closed by the client",
            Self::GoneAway(GoAwayReason::MaxAge) => "max age",
            Self::GoneAway(GoAwayReason::MaxIdle) => "max idle",
            Self::GoneAway(GoAwayReason::Drain) => "drained",
            Self::GoneAway(_) => "sent away",
            Self::Cut(CloseReason::GraceOver) => "cut after the grace",
            Self::Cut(CloseReason::DrainTimeout) => "cut after the drain timeout",
            Self::Cut(CloseReason::TooManyPings) => "too many pings",
            Self::Cut(CloseReason::HandshakeTimeout) => "handshake timeout",
            Self::Cut(CloseReason::FrameFlood) => "too many control frames",
            Self::Cut(CloseReason::SlowReader) => "slow reader",
            Self::Cut(_) => "cut",
            Self::Hurried => "cut by a hurried shutdown",
            Self::KeepaliveTimeout => "keepalive timeout",
            Self::Failed(error) => return write!(f, "failed: {error}"),
        })
    }
}
