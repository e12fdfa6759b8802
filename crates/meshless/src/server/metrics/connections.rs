//! The connections that a server accepted.
//!
//! Each connection is a guard. It is made when the connection is accepted, and is told why it
//! ended. If it is dropped without a reason, the server dropped the connection.

use std::sync::Arc;

use meshless_core::GoAwayReason;
use opentelemetry::metrics::{Counter, Histogram, Meter, UpDownCounter};

use super::calls::{Instruments, ServerMetrics};
use crate::server::{CloseReason, ConnectionSummary};
use crate::shared::metrics::instrument::{COUNT, counter, label, numbers, seconds, up_down};

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
        let accepted = Self::made_by(meter);
        // So that a rate or an alert finds each time series before its first event.
        accepted.open.add(0, &[]);
        accepted.opened.add(0, &[]);
        for reason in CLOSE_REASONS {
            accepted.closed.add(0, &[label(CLOSE_REASON, reason)]);
        }
        accepted
    }

    fn made_by(meter: &Meter) -> Self {
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

/// A connection of a server. If it is dropped without a reason, it was cut together with the
/// server.
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

    fn end(&mut self, reason: &'static str) -> Option<Arc<Instruments>> {
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

fn close_reason(reason: &CloseReason) -> &'static str {
    match reason {
        CloseReason::Client => "client",
        CloseReason::GoneAway(GoAwayReason::MaxAge) => "max_age",
        CloseReason::GoneAway(GoAwayReason::MaxIdle) => "max_idle",
        CloseReason::GoneAway(GoAwayReason::Drain) => "drain",
        CloseReason::GoneAway(_) => "sent_away",
        CloseReason::GraceOver => "grace_over",
        CloseReason::DrainTimeout => "drain_timeout",
        CloseReason::TooManyPings => "too_many_pings",
        CloseReason::HandshakeTimeout => "handshake_timeout",
        CloseReason::FrameFlood => "frame_flood",
        CloseReason::SlowReader => "slow_reader",
        CloseReason::Hurried => "hurried",
        CloseReason::KeepaliveTimeout => "keepalive_timeout",
        // The text is unbounded, so it cannot be a label.
        CloseReason::Failed(_) => "failed",
    }
}

/// Boundaries for ages of connections, in seconds: from a health check's to a day.
const AGE: &[f64] = &[
    0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0, 7200.0,
    21600.0, 86400.0,
];

const CLOSE_REASON: &str = "meshless.close_reason";

/// The values of [`close_reason`], without those that no server gives today.
const CLOSE_REASONS: [&str; 13] = [
    "client",
    "max_age",
    "max_idle",
    "drain",
    "grace_over",
    "drain_timeout",
    "too_many_pings",
    "handshake_timeout",
    "frame_flood",
    "slow_reader",
    "hurried",
    "keepalive_timeout",
    "failed",
];
