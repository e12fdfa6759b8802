//! Connections: a channel's subchannels (gRFC A94), and those that a server accepted.
//!
//! Each is a guard: made when the connection is there, told why it ended; dropping it says that this side let go of it.

use std::io::ErrorKind;
use std::sync::Arc;

use h2::Reason;
use meshless_core::{CloseReason as CutReason, GoAwayReason};
use opentelemetry::metrics::{Counter, Histogram, Meter, UpDownCounter};

use super::client::{ChannelMetrics, Instruments};
use super::instrument::{COUNT, counter, label, numbers, seconds, up_down};
use super::server::ServerMetrics;
use crate::client::connection::{CloseReason, GoingAway};
use crate::server::{ClosedReason, ConnectionSummary};

/// The instruments of a channel.
pub(super) struct Subchannels {
    succeeded: Counter<u64>,
    failed: Counter<u64>,
    open: UpDownCounter<i64>,
    disconnections: Counter<u64>,
}

impl Subchannels {
    pub(super) fn new(meter: &Meter) -> Self {
        Self {
            succeeded: counter(
                meter,
                "grpc.subchannel.connection_attempts_succeeded",
                "{attempt}",
                "Number of successful connection attempts.",
            ),
            failed: counter(
                meter,
                "grpc.subchannel.connection_attempts_failed",
                "{attempt}",
                "Number of failed connection attempts.",
            ),
            open: up_down(
                meter,
                "grpc.subchannel.open_connections",
                "{connection}",
                "Number of open connections.",
            ),
            disconnections: counter(
                meter,
                "grpc.subchannel.disconnections",
                "{disconnection}",
                "Number of times the selected subchannel becomes disconnected.",
            ),
        }
    }
}

impl ChannelMetrics {
    pub(crate) fn connected(&self) -> OpenConnection {
        if let Some(instruments) = &self.0 {
            instruments.subchannels.succeeded.add(1, &instruments.target);
            instruments.subchannels.open.add(1, &instruments.target);
        }
        OpenConnection { instruments: self.0.clone(), error: None }
    }

    pub(crate) fn connect_failed(&self) {
        if let Some(instruments) = &self.0 {
            instruments.subchannels.failed.add(1, &instruments.target);
        }
    }
}

/// A connection of a channel. Dropped, the channel shut it down.
#[derive(Default)]
pub(crate) struct OpenConnection {
    instruments: Option<Arc<Instruments>>,
    /// "The first seen reason should be chosen" (A94).
    error: Option<&'static str>,
}

impl OpenConnection {
    pub(crate) fn going_away(&mut self, reason: &GoingAway) {
        if let GoingAway::Server { code, .. } = reason {
            self.error.get_or_insert(goaway(*code));
        }
    }

    pub(crate) fn closed(&mut self, reason: &CloseReason) {
        let error = match reason {
            CloseReason::Drained
            | CloseReason::Aborted
            | CloseReason::Flooded
            | CloseReason::HeadersTooLong { .. } => SHUTDOWN,
            CloseReason::Server | CloseReason::Panicked(_) => UNKNOWN,
            // "Also includes connections closed due to [A8]: gRPC keepalives" (A94).
            CloseReason::Keepalive(_) | CloseReason::Silent(_) => "connection timed out",
            CloseReason::Http2(error) => match error.get_io() {
                Some(error) => socket(error.kind()),
                None if error.is_go_away() && error.is_remote() => error.reason().map_or(UNKNOWN, goaway),
                None => UNKNOWN,
            },
        };
        self.error.get_or_insert(error);
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        let Some(instruments) = self.instruments.take() else { return };
        let [target] = &instruments.target;
        let error = label("grpc.disconnect_error", self.error.unwrap_or(SHUTDOWN));
        instruments.subchannels.disconnections.add(1, &[target.clone(), error]);
        instruments.subchannels.open.add(-1, &instruments.target);
    }
}

fn socket(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::ConnectionReset => "connection reset",
        ErrorKind::TimedOut => "connection timed out",
        ErrorKind::ConnectionAborted => "connection aborted",
        _ => "socket error",
    }
}

/// "GOAWAY <ERROR_CODE>" (A94).
fn goaway(code: Reason) -> &'static str {
    match code {
        Reason::NO_ERROR => "GOAWAY NO_ERROR",
        Reason::PROTOCOL_ERROR => "GOAWAY PROTOCOL_ERROR",
        Reason::FLOW_CONTROL_ERROR => "GOAWAY FLOW_CONTROL_ERROR",
        Reason::SETTINGS_TIMEOUT => "GOAWAY SETTINGS_TIMEOUT",
        Reason::STREAM_CLOSED => "GOAWAY STREAM_CLOSED",
        Reason::FRAME_SIZE_ERROR => "GOAWAY FRAME_SIZE_ERROR",
        Reason::REFUSED_STREAM => "GOAWAY REFUSED_STREAM",
        Reason::CANCEL => "GOAWAY CANCEL",
        Reason::COMPRESSION_ERROR => "GOAWAY COMPRESSION_ERROR",
        Reason::CONNECT_ERROR => "GOAWAY CONNECT_ERROR",
        Reason::ENHANCE_YOUR_CALM => "GOAWAY ENHANCE_YOUR_CALM",
        Reason::INADEQUATE_SECURITY => "GOAWAY INADEQUATE_SECURITY",
        Reason::HTTP_1_1_REQUIRED => "GOAWAY HTTP_1_1_REQUIRED",
        // "Unknown or unsupported error codes […] MAY be treated by an implementation as being equivalent to INTERNAL_ERROR" (RFC
        // 9113 §7). A label for each would let a server make labels up.
        _ => "GOAWAY INTERNAL_ERROR",
    }
}

/// The instruments of a server.
pub(super) struct Accepted {
    open: UpDownCounter<i64>,
    opened: Counter<u64>,
    closed: Counter<u64>,
    age: Histogram<f64>,
    calls: Histogram<u64>,
}

impl Accepted {
    pub(super) fn new(meter: &Meter) -> Self {
        Self {
            open: up_down(meter, "meshless.server.open_connections", "{connection}", "Open connections."),
            opened: counter(
                meter,
                "meshless.server.connections_opened",
                "{connection}",
                "Connections that were served.",
            ),
            closed: counter(
                meter,
                "meshless.server.connections_closed",
                "{connection}",
                "Connections that have ended, by reason.",
            ),
            age: seconds(meter, "meshless.server.connection.age", AGE, "Age of connections at their end."),
            calls: numbers(
                meter,
                "meshless.server.connection.calls",
                "{call}",
                COUNT,
                "Calls that connections carried.",
            ),
        }
    }
}

impl ServerMetrics {
    pub(crate) fn accepted(&self) -> AcceptedConnection {
        if let Some(instruments) = &self.0 {
            instruments.connections.opened.add(1, &[]);
            instruments.connections.open.add(1, &[]);
        }
        AcceptedConnection(self.clone())
    }
}

/// A connection of a server. Dropped, it was cut together with the server.
#[derive(Default)]
pub(crate) struct AcceptedConnection(ServerMetrics);

impl AcceptedConnection {
    pub(crate) fn closed(mut self, summary: &ConnectionSummary) {
        let reason = close_reason(&summary.reason);
        let Some(instruments) = self.end(reason) else { return };
        let reason = [label(CLOSE_REASON, reason)];
        instruments.connections.age.record(summary.age.as_secs_f64(), &reason);
        instruments.connections.calls.record(summary.calls, &[]);
    }

    fn end(&mut self, reason: &'static str) -> Option<Arc<super::server::Instruments>> {
        let instruments = self.0.0.take()?;
        instruments.connections.open.add(-1, &[]);
        instruments.connections.closed.add(1, &[label(CLOSE_REASON, reason)]);
        Some(instruments)
    }
}

impl Drop for AcceptedConnection {
    fn drop(&mut self) {
        let _ = self.end("dropped");
    }
}

fn close_reason(reason: &ClosedReason) -> &'static str {
    match reason {
        ClosedReason::Client => "client",
        ClosedReason::GoneAway(GoAwayReason::MaxAge) => "max_age",
        ClosedReason::GoneAway(GoAwayReason::MaxIdle) => "max_idle",
        ClosedReason::GoneAway(GoAwayReason::Drain) => "drain",
        ClosedReason::GoneAway(_) => "sent_away",
        ClosedReason::Cut(CutReason::GraceOver) => "grace_over",
        ClosedReason::Cut(CutReason::DrainTimeout) => "drain_timeout",
        ClosedReason::Cut(CutReason::TooManyPings) => "too_many_pings",
        ClosedReason::Cut(CutReason::HandshakeTimeout) => "handshake_timeout",
        ClosedReason::Cut(CutReason::FrameFlood) => "frame_flood",
        ClosedReason::Cut(CutReason::SlowReader) => "slow_reader",
        ClosedReason::Cut(_) => "cut",
        ClosedReason::Hurried => "hurried",
        ClosedReason::KeepaliveTimeout => "keepalive_timeout",
        // Its text has no bound.
        ClosedReason::Failed(_) => "failed",
    }
}

/// Boundaries for ages of connections, in seconds: from a health checker's to a day.
const AGE: &[f64] = &[
    0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0, 7200.0,
    21600.0, 86400.0,
];

const CLOSE_REASON: &str = "meshless.close_reason";
const SHUTDOWN: &str = "subchannel shutdown";
const UNKNOWN: &str = "unknown";
