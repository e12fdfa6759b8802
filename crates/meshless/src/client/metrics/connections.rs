//! Metrics of a channel's connections: its subchannels (gRFC A94).
//!
//! Each is a guard, made with the connection and told why it ended. If it is dropped without a
//! reason, this side closed the connection.

use std::io::ErrorKind;
use std::sync::Arc;

use h2::Reason;
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Meter, UpDownCounter};

use super::calls::{ChannelMetrics, Instruments};
use crate::client::connection::{CloseReason, GoingAway};
use crate::shared::metrics::instrument::{counter, label, up_down};

/// The instruments of a channel.
pub(super) struct Subchannels {
    succeeded: Counter<u64>,
    failed: Counter<u64>,
    open: UpDownCounter<i64>,
    disconnections: Counter<u64>,
}

impl Subchannels {
    pub(super) fn new(meter: &Meter, target: &[KeyValue; 1]) -> Self {
        let subchannels = Self::made_by(meter);
        subchannels.begin_at_zero(target);
        subchannels
    }

    /// Starts the counters at zero, so that a rate or an alert finds them before the first event.
    fn begin_at_zero(&self, target: &[KeyValue; 1]) {
        self.succeeded.add(0, target);
        self.failed.add(0, target);
        self.open.add(0, target);
        for error in DISCONNECT_ERRORS {
            self.disconnections.add(0, &[target[0].clone(), label(DISCONNECT_ERROR, error)]);
        }
    }

    fn made_by(meter: &Meter) -> Self {
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

/// An open connection of a channel. Dropped without a reason, it counts as shut down by the
/// channel.
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
            CloseReason::Keepalive(_) | CloseReason::Silent(_) => TIMED_OUT,
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
        let error = label(DISCONNECT_ERROR, self.error.unwrap_or(SHUTDOWN));
        instruments.subchannels.disconnections.add(1, &[target.clone(), error]);
        instruments.subchannels.open.add(-1, &instruments.target);
    }
}

fn socket(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::ConnectionReset => "connection reset",
        ErrorKind::TimedOut => TIMED_OUT,
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
        // "Unknown or unsupported error codes […] MAY be treated by an implementation as being
        // equivalent to INTERNAL_ERROR" (RFC 9113 §7). With a label for each code, a server could
        // invent labels.
        _ => "GOAWAY INTERNAL_ERROR",
    }
}

const DISCONNECT_ERROR: &str = "grpc.disconnect_error";

/// The common ones. The others appear with their first event.
const DISCONNECT_ERRORS: [&str; 5] = ["GOAWAY NO_ERROR", "connection reset", TIMED_OUT, SHUTDOWN, UNKNOWN];

const TIMED_OUT: &str = "connection timed out";
const SHUTDOWN: &str = "subchannel shutdown";
const UNKNOWN: &str = "unknown";
