//! When to ask a silent peer whether it is still there, when to send new calls elsewhere, and when
//! to give it up.
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
//! - a **server's keepalive** (gRFC A9) asks whenever a client was silent, with or without calls,
//!   and knows no suspicion;
//! - a **client's keepalive** (A8) asks only while calls are open, since servers count other PINGs
//!   as abuse;
//! - a **client's stall watch** is faster and pings less, since it asks only when there is a reason
//!   to: *a call was sent, and since then not one byte has come back.* A slow handler is such a
//!   reason too, so silence alone condemns nobody; it brings one PING, which a healthy peer answers
//!   at once, whatever its handlers do. And a call that was open before the last byte arrived is no
//!   reason: a stream that rests for an hour is never asked about.
//!
//! Progress is bytes of any kind, not bytes of calls. A peer that acknowledges PINGs and answers no
//! call is alive, and its handlers may need an hour: only a caller knows how long is too long. Its
//! deadlines end such calls, and five of them eject the backend.
//!
//! Servers count PINGs as abuse only while they send no HEADERS or DATA (gRFC A8, "strikes are
//! reset"), so after an answer the next PINGs are free. Until the next answer a machine that is set
//! so sends two, and then keeps to the pace that servers permit unless told otherwise: one in 5 min,
//! and some more for what the network adds.
//!
//! Owned by whatever drives the connection, which tells it of reads and calls and asks for the next
//! deadline.

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

/// What the silence calls for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LivenessAction {
    /// Send a PING.
    Ping,
    /// Let new calls go elsewhere.
    Suspect,
    /// The peer is gone: close.
    Close,
}

/// The silence of one peer.
#[derive(Clone, Debug)]
pub struct Liveness {
    config: LivenessConfig,
    phase: Phase,
    /// When something was last read, or the connection was established.
    heard_at: Instant,
    /// Since when a call waits to hear anything.
    asked_at: Option<Instant>,
    /// The last PING, unless a call was answered since.
    pinged_at: Option<Instant>,
    /// PINGs since a call was answered.
    unanswered_pings: u32,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Heard,
    Pinged(Instant),
    Suspect(Instant),
}

impl Liveness {
    /// A connection that is established at `now`.
    pub fn new(config: LivenessConfig, now: Instant) -> Self {
        let phase = Phase::Heard;
        Self { config, phase, heard_at: now, asked_at: None, pinged_at: None, unanswered_pings: 0 }
    }

    /// A call was opened.
    pub fn handle_call(&mut self, now: Instant) {
        self.asked_at.get_or_insert(now);
    }

    /// Bytes arrived: the peer is there. A PONG is one way of saying so, any other frame as good.
    /// Returns true if it was suspected not to be.
    pub fn handle_received(&mut self, now: Instant, received: Received) -> bool {
        self.heard_at = now;
        self.asked_at = None;
        if received == Received::Answer {
            self.pinged_at = None;
            self.unanswered_pings = 0;
        }
        matches!(std::mem::replace(&mut self.phase, Phase::Heard), Phase::Suspect(_))
    }

    /// What is due at `now`, if anything.
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

    /// When to call [`handle_timeout`](Self::handle_timeout), if at all. In the past for a
    /// connection whose first call opens after a long silence: that call wants to know at once
    /// whether the peer is there.
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

    /// Returns true if a PING is out, and nothing has come since.
    pub fn is_pinged(&self) -> bool {
        !matches!(self.phase, Phase::Heard)
    }

    /// How it is set.
    pub fn config(&self) -> &LivenessConfig {
        &self.config
    }
}

#[cfg(test)]
mod tests;
