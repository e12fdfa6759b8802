//! When a connection whose peer has fallen silent gets no more calls, and when it is given up.
//!
//! ```text
//!            a call opens       silence: PING        doubt: no new calls       patience
//!   quiet ───────────────▶ asked ────────────▶ pinged ───────────────────▶ suspect ────────▶ close
//!     ▲                      │                   │                            │
//!     └──────────────────────┴─── anything read ─┴────────────────────────────┘
//! ```
//!
//! Keepalive (gRFC A8) finds a dead peer after 40 s by default, because servers punish clients that ping often. Until then every
//! call on that connection is lost. This watch is faster and pings less, since it asks only when there is a reason to: **a call was
//! sent, and since then not one byte has come back.** A slow handler is such a reason too, so silence alone condemns nobody; it
//! brings one PING, which a healthy server answers at once, whatever its handlers do. And a call that was open before the last byte
//! arrived is no reason: a stream that rests for an hour is never asked about.
//!
//! Progress is bytes of any kind, not bytes of calls. A peer that acknowledges PINGs and answers no call is alive, and its handlers
//! may need an hour: only a caller knows how long is too long. Its deadlines end such calls, and five of them eject the backend.
//!
//! That keeps within what servers allow: they count PINGs as abuse only while they send no HEADERS or DATA (gRFC A8, "strikes are
//! reset"), so after an answer the next PINGs are free. Until the next answer this machine sends two, [`SPACING`] apart, and then
//! keeps to the pace that servers permit unless told otherwise, one in 5 min.
//!
//! A machine without a clock, beside [`Keepalive`](super::keepalive): the connection's task feeds it and asks for the deadline.

use std::time::Duration;

use tokio::time::Instant;

/// How soon a silent peer is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StallConfig {
    /// Silence after a call was sent until a PING is sent.
    silence: Duration,
    /// Silence after the PING until new calls go elsewhere: time for its answer.
    doubt: Duration,
    /// Silence after that until the connection is closed.
    patience: Duration,
    /// Shortest time between two PINGs between which the server has answered no call.
    spacing: Duration,
}

impl StallConfig {
    /// A PING after `silence`, no new calls from a quarter of it later, the end after five times `silence`.
    ///
    /// Leaving costs a connect if it was wrong, closing fails the calls in flight. So the first is quick, and the second allows for a
    /// server that stands still to collect garbage: at the default of 1 s, for 5 s.
    pub(crate) fn after(silence: Duration) -> Self {
        let silence = silence.clamp(MIN_SILENCE, MAX_SILENCE);
        let doubt = silence / 4;
        Self { silence, doubt, patience: silence * PATIENCE - doubt, spacing: SPACING }
    }

    /// What a client must use after a server ended `times` connections with GOAWAY
    /// `too_many_pings`: each doubles the time between PINGs (A8).
    pub(crate) fn doubled(self, times: u32) -> Self {
        let spacing = self.spacing.saturating_mul(2u32.saturating_pow(times));
        Self { spacing: spacing.min(MAX_SILENCE), ..self }
    }
}

impl Default for StallConfig {
    fn default() -> Self {
        Self::after(Duration::from_secs(1))
    }
}

/// What [`StallWatch::handle_timeout`] wants done.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StallAction {
    /// Nothing yet.
    Wait,
    /// Send a PING.
    Ping,
    /// Let new calls go elsewhere.
    Suspect,
    /// The peer is gone: close.
    Close,
}

/// What was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Read {
    /// Bytes of any kind.
    Bytes,
    /// HEADERS or DATA among them.
    Answer,
}

/// The state of one connection's watch.
#[derive(Debug)]
pub(super) struct StallWatch {
    config: StallConfig,
    /// Since when a call waits to hear anything.
    asked_at: Option<Instant>,
    stage: Stage,
    /// The last PING, unless a call was answered since.
    pinged_at: Option<Instant>,
    /// PINGs since a call was answered.
    unanswered_pings: u32,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    /// Asked or not.
    Trusted,
    Pinged(Instant),
    Suspect(Instant),
}

impl StallWatch {
    pub(super) fn new(config: StallConfig) -> Self {
        Self { config, asked_at: None, stage: Stage::Trusted, pinged_at: None, unanswered_pings: 0 }
    }

    /// A call was opened.
    pub(super) fn handle_call(&mut self, now: Instant) {
        self.asked_at.get_or_insert(now);
    }

    /// Bytes arrived: the peer is there. Whether it was suspected not to be.
    pub(super) fn handle_read(&mut self, read: Read) -> bool {
        self.asked_at = None;
        if read == Read::Answer {
            self.pinged_at = None;
            self.unanswered_pings = 0;
        }
        matches!(std::mem::replace(&mut self.stage, Stage::Trusted), Stage::Suspect(_))
    }

    /// What is due at `now`.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> StallAction {
        if self.poll_timeout().is_none_or(|deadline| now < deadline) {
            return StallAction::Wait;
        }
        match self.stage {
            Stage::Trusted => {
                self.stage = Stage::Pinged(now);
                self.pinged_at = Some(now);
                self.unanswered_pings = self.unanswered_pings.saturating_add(1);
                StallAction::Ping
            }
            Stage::Pinged(_) => {
                self.stage = Stage::Suspect(now);
                StallAction::Suspect
            }
            Stage::Suspect(_) => StallAction::Close,
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is to be called, if at all.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        match self.stage {
            Stage::Trusted => {}
            Stage::Pinged(at) => return Some(at + self.config.doubt),
            Stage::Suspect(at) => return Some(at + self.config.patience),
        }
        let silent_at = self.asked_at? + self.config.silence;
        let spacing = match self.unanswered_pings {
            0..FREE_PINGS => self.config.spacing,
            _ => self.config.spacing.max(PERMITTED_SPACING),
        };
        Some(self.pinged_at.map_or(silent_at, |pinged_at| silent_at.max(pinged_at + spacing)))
    }

    /// The silence after which the peer is given up.
    pub(super) fn limit(&self) -> Duration {
        self.config.silence + self.config.doubt + self.config.patience
    }
}

/// Below this, a busy machine is taken for a dead one.
const MIN_SILENCE: Duration = Duration::from_millis(50);

/// Nothing waits longer: it keeps sums of instants far from overflow.
const MAX_SILENCE: Duration = Duration::from_secs(24 * 60 * 60);

/// How many times as long after its PING a connection is closed.
const PATIENCE: u32 = 4;

/// PINGs that are safe before a call is answered: a server forgives two strikes (A8), and keepalive may need one of them.
pub(super) const FREE_PINGS: u32 = 2;

/// What servers permit without data, by default (A8).
pub(super) const PERMITTED_SPACING: Duration = Duration::from_secs(5 * 60);

/// "Clients … will not send more than one ping every 10 seconds" (A8).
const SPACING: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn watch() -> (StallWatch, Instant) {
        (StallWatch::new(StallConfig::default()), Instant::now())
    }

    #[test]
    fn silence_after_a_call_is_suspect_and_then_ends() {
        let (mut watch, start) = watch();
        assert_eq!(watch.poll_timeout(), None, "nobody has asked anything");
        watch.handle_call(start);
        watch.handle_call(start + 700 * MS);
        assert_eq!(watch.poll_timeout(), Some(start + 1000 * MS), "the first call counts");
        assert_eq!(watch.handle_timeout(start + 999 * MS), StallAction::Wait);
        assert_eq!(watch.handle_timeout(start + 1000 * MS), StallAction::Ping);
        assert_eq!(watch.handle_timeout(start + 1249 * MS), StallAction::Wait);
        assert_eq!(watch.handle_timeout(start + 1250 * MS), StallAction::Suspect);
        assert_eq!(watch.handle_timeout(start + 4999 * MS), StallAction::Wait);
        assert_eq!(watch.handle_timeout(start + 5000 * MS), StallAction::Close);
    }

    #[test]
    fn a_stream_that_rests_is_asked_about_once_at_most() {
        let (mut watch, start) = watch();
        watch.handle_call(start);
        assert_eq!(watch.handle_timeout(start + 1000 * MS), StallAction::Ping);
        assert!(!watch.handle_read(Read::Bytes), "the PONG came before anyone had doubts");
        assert_eq!(watch.poll_timeout(), None);
    }

    #[test]
    fn a_late_sign_of_life_ends_the_suspicion() {
        let (mut watch, start) = watch();
        watch.handle_call(start);
        assert_eq!(watch.handle_timeout(start + 1000 * MS), StallAction::Ping);
        assert_eq!(watch.handle_timeout(start + 1250 * MS), StallAction::Suspect);
        assert!(watch.handle_read(Read::Bytes));
        assert!(!watch.handle_read(Read::Bytes), "once");
        assert_eq!(watch.poll_timeout(), None);
    }

    #[test]
    fn pings_are_ten_seconds_apart_unless_a_call_was_answered_in_between() {
        let (mut watch, start) = watch();
        watch.handle_call(start);
        assert_eq!(watch.handle_timeout(start + 1000 * MS), StallAction::Ping);
        watch.handle_read(Read::Bytes);
        watch.handle_call(start + 1500 * MS);
        assert_eq!(watch.poll_timeout(), Some(start + 11_000 * MS));
        watch.handle_read(Read::Answer);
        watch.handle_call(start + 1500 * MS);
        assert_eq!(watch.poll_timeout(), Some(start + 2500 * MS));
    }

    #[test]
    fn a_scolding_doubles_the_time_between_pings() {
        let mut watch = StallWatch::new(StallConfig::default().doubled(1));
        let start = Instant::now();
        watch.handle_call(start);
        assert_eq!(watch.handle_timeout(start + 1000 * MS), StallAction::Ping);
        watch.handle_read(Read::Bytes);
        watch.handle_call(start + 1500 * MS);
        assert_eq!(watch.poll_timeout(), Some(start + 21_000 * MS));
    }
}
