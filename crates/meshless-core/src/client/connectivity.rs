//! The connectivity state of a channel.

use std::fmt;

/// The connectivity state of a whole channel (grpc/doc/connectivity-semantics-and-api.md).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectivityState {
    /// Not connecting, since no call has asked for a connection.
    Idle,
    /// Calls queue until a connection is made.
    Connecting,
    /// Calls are sent.
    Ready,
    /// Calls fail, unless they wait for ready.
    TransientFailure,
}

impl fmt::Display for ConnectivityState {
    /// gRPC's spelling.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Idle => "IDLE",
            Self::Connecting => "CONNECTING",
            Self::Ready => "READY",
            Self::TransientFailure => "TRANSIENT_FAILURE",
        })
    }
}
