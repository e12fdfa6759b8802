//! Decides when to ping a silent peer, when to send new calls elsewhere, and when to close.
//!
//! ```text
//!            silence: PING         doubt: Suspect          patience: Close
//!   heard ────────────────▶ pinged ──────────────▶ suspect ───────────────▶
//!     ▲                       │                       │
//!     └────── anything read ──┴───────────────────────┘
//! ```
//!
//! One machine for both ends of a connection, with three settings ([`LivenessConfig`]):
//!
//! - a **server's keepalive** (gRFC A9) pings whenever a client was silent, with or without calls,
//!   and has no suspect phase;
//! - a **client's keepalive** (A8) pings only while calls are open, since servers count other PINGs
//!   as abuse;
//! - a **client's stall watch** is faster and pings less, since it pings only for a reason: *a call
//!   was sent, and no byte has come back since.* A slow handler is such a reason too, so silence
//!   alone only causes one PING. A healthy peer answers it at once, even while its handlers are
//!   busy. A call that was open before the last byte arrived is no reason: a stream that is idle
//!   for an hour causes no PING.
//!
//! Bytes of any kind count as progress, not only bytes of calls. A peer that acknowledges PINGs and
//! answers no call is alive, and its handlers may need an hour: only a caller knows how long is too
//! long. Deadlines end such calls, and five of them eject the backend.
//!
//! Servers count PINGs as abuse only while they send no HEADERS or DATA (gRFC A8, "strikes are
//! reset"), so after an answer the next PINGs are free. Until the next answer a machine that is set
//! so sends two, and then keeps to the pace that servers permit unless told otherwise: one in 5 min,
//! and some more for what the network adds.
//!
//! The connection's driver owns it, reports reads and calls, and asks for the next deadline.

mod config;

use std::time::Instant;

pub use config::LivenessConfig;
use config::{FREE_PINGS, PERMITTED_SPACING, Reason};

/// What was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// Bytes of any kind.
    Bytes,
    /// HEADERS or DATA among them.
    Answer,
}

/// What to do about the silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LivenessAction {
    /// Send a PING.
    Ping,
    /// Send new calls elsewhere.
    Suspect,
    /// The peer is gone: close.
    Close,
}

/// The silence of one peer.
#[derive(Clone, Debug)]
pub struct Liveness {
    config: LivenessConfig,
    phase: Phase,
    /// When something was last read, or when the connection was established.
    heard_at: Instant,
    /// When the oldest call opened since the last byte was read.
    asked_at: Option<Instant>,
    /// The last PING, unless a call was answered since then.
    pinged_at: Option<Instant>,
    /// PINGs since a call was last answered.
    unanswered_pings: u32,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Heard,
    Pinged(Instant),
    Suspect(Instant),
}

impl Liveness {
    /// Creates the state of a connection that is established at `now`.
    pub fn new(config: LivenessConfig, now: Instant) -> Self {
        let phase = Phase::Heard;
        Self { config, phase, heard_at: now, asked_at: None, pinged_at: None, unanswered_pings: 0 }
    }

    /// A call was opened.
    pub fn handle_call(&mut self, now: Instant) {
        self.asked_at.get_or_insert(now);
    }

    /// Bytes arrived, so the peer is there. A PING's acknowledgement counts like any other frame.
    /// Returns true if the peer was suspect.
    pub fn handle_received(&mut self, now: Instant, received: Received) -> bool {
        self.heard_at = now;
        self.asked_at = None;
        if received == Received::Answer {
            self.pinged_at = None;
            self.unanswered_pings = 0;
        }
        matches!(std::mem::replace(&mut self.phase, Phase::Heard), Phase::Suspect(_))
    }

    /// Returns what is due at `now`, if anything.
    pub fn handle_timeout(&mut self, now: Instant, calls_open: bool) -> Option<LivenessAction> {
        self.poll_timeout(calls_open).filter(|deadline| *deadline <= now)?;
        match self.phase {
            Phase::Heard => {
                self.phase = Phase::Pinged(now);
                self.pinged_at = Some(now);
                self.unanswered_pings = self.unanswered_pings.saturating_add(1);
                Some(LivenessAction::Ping)
            }
            Phase::Pinged(_) if self.config.doubt.is_some() => {
                self.phase = Phase::Suspect(now);
                Some(LivenessAction::Suspect)
            }
            Phase::Pinged(_) | Phase::Suspect(_) => Some(LivenessAction::Close),
        }
    }

    /// Returns when to call [`handle_timeout`](Self::handle_timeout), if ever. It is in the past
    /// for a connection whose first call opens after a long silence: the PING is then sent at once.
    #[must_use]
    pub fn poll_timeout(&self, calls_open: bool) -> Option<Instant> {
        let LivenessConfig { silence, doubt, patience, spacing, spares, reason } = self.config;
        let pace = match spares && self.unanswered_pings >= FREE_PINGS {
            true => PERMITTED_SPACING,
            false => spacing,
        };
        match self.phase {
            Phase::Pinged(at) => at.checked_add(doubt.unwrap_or(patience)),
            Phase::Suspect(at) => at.checked_add(patience),
            Phase::Heard if reason == Reason::CallsOpen && !calls_open => None,
            Phase::Heard if reason == Reason::CallUnanswered => {
                let silent_at = self.asked_at?.checked_add(silence)?;
                let spaced_at =
                    self.pinged_at.map_or(Some(silent_at), |at| at.checked_add(spacing.max(pace)));
                Some(silent_at.max(spaced_at?))
            }
            Phase::Heard => self.heard_at.checked_add(silence.max(pace)),
        }
    }

    /// Returns true if a PING was sent and nothing has come since.
    pub fn is_pinged(&self) -> bool {
        !matches!(self.phase, Phase::Heard)
    }

    /// Returns the settings.
    pub fn config(&self) -> &LivenessConfig {
        &self.config
    }
}

#[cfg(test)]
mod tests;
