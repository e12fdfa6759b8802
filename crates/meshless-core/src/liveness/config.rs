//! The settings for the three uses of the machine.

use std::time::Duration;

/// How one end of a connection detects that the other is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LivenessConfig {
    /// Silence before a PING is sent.
    pub(super) silence: Duration,
    /// Silence after the PING before new calls go elsewhere. `None`: they never do.
    pub(super) doubt: Option<Duration>,
    /// Silence after the PING before the connection is closed.
    pub(super) patience: Duration,
    /// Shortest time between two PINGs if the peer has answered no call between them.
    pub(super) spacing: Duration,
    /// True if PINGs slow down to what servers permit by default when the server answers no call.
    pub(super) spares: bool,
    pub(super) reason: Reason,
}

/// When silence causes a PING.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    Silence,
    CallsOpen,
    /// A call was opened, and nothing was read since then.
    CallUnanswered,
}

impl LivenessConfig {
    /// A server's keepalive (gRFC A9), with or without calls. A PING is sent after `time` of
    /// silence, and the connection is closed if nothing was read for `timeout` after it. A `time`
    /// below 1 s counts as 1 s. Times too long to be represented never pass.
    pub fn server_keepalive(time: Duration, timeout: Duration) -> Self {
        Self {
            silence: time.max(SERVER_TIME_MIN),
            patience: timeout,
            reason: Reason::Silence,
            ..Self::keepalive(time)
        }
    }

    /// A client's keepalive (gRFC A8), while calls are open. A PING is sent after `time` of
    /// silence, and the connection is closed after 20 s without an answer.
    ///
    /// "Clients … will not send more than one ping every 10 seconds" (A8), so less than 10 s counts
    /// as 10 s.
    pub fn keepalive(time: Duration) -> Self {
        Self {
            silence: time.clamp(SPACING, TIME_MAX),
            doubt: None,
            patience: DEFAULT_TIMEOUT,
            spacing: Duration::ZERO,
            spares: false,
            reason: Reason::CallsOpen,
        }
    }

    /// A client's stall watch. A PING is sent after `silence`. New calls go elsewhere a quarter of
    /// `silence` later. The connection is closed after five times `silence`.
    ///
    /// A wrong suspicion costs one connect; a wrong close fails the calls in flight. So the first
    /// is quick, and the second allows for a server that stops for garbage collection: at the
    /// default of 1 s, for 5 s.
    pub fn stall(silence: Duration) -> Self {
        let silence = silence.clamp(STALL_MIN, STALL_MAX);
        let doubt = silence / 4;
        Self {
            silence,
            doubt: Some(doubt),
            patience: silence * PATIENCE - doubt,
            spacing: SPACING,
            spares: true,
            reason: Reason::CallUnanswered,
        }
    }

    /// For a time that nobody has agreed on with the server: after two PINGs without HEADERS or
    /// DATA from it, the next ones are 5 min 30 s apart. A server forgives two strikes, and permits one
    /// PING in 5 min (A8).
    pub fn sparing(self) -> Self {
        Self { spares: true, ..self }
    }

    /// Sets the silence after a PING before the connection is closed. Default 20 s.
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { patience: timeout.min(TIME_MAX), ..self }
    }

    /// If true, PINGs are also sent while no call is open. Default `false`; many servers answer
    /// `true` with GOAWAY.
    pub fn without_calls(self, without_calls: bool) -> Self {
        Self { reason: if without_calls { Reason::Silence } else { Reason::CallsOpen }, ..self }
    }

    /// Doubles the time between PINGs `times` times. A client must do so after a server ended that
    /// many connections with GOAWAY `too_many_pings` (A8).
    pub fn doubled(self, times: u32) -> Self {
        let double = |time: Duration, max| time.saturating_mul(2u32.saturating_pow(times)).min(max);
        match self.reason {
            // The reason for a PING does not change, only how often they come.
            Reason::CallUnanswered => Self { spacing: double(self.spacing, STALL_MAX), ..self },
            Reason::Silence | Reason::CallsOpen => Self { silence: double(self.silence, TIME_MAX), ..self },
        }
    }

    /// Returns the silence after a PING before the connection is closed. For TCP it is the time
    /// without an acknowledgement (gRFC A18).
    pub fn patience(&self) -> Duration {
        self.patience.saturating_add(self.doubt.unwrap_or_default())
    }

    /// Returns the silence before the connection is closed.
    pub fn limit(&self) -> Duration {
        self.silence.saturating_add(self.patience())
    }
}

/// "a minimum value of 1s will be used" (grpc-go, `keepalive.ServerParameters`).
const SERVER_TIME_MIN: Duration = Duration::from_secs(1);

/// Longer counts as never. Sums of instants then do not overflow.
const TIME_MAX: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// A8's default of KEEPALIVE_TIMEOUT.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(20);

/// Below this, a busy machine counts as a dead one.
const STALL_MIN: Duration = Duration::from_millis(50);
const STALL_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// A connection is closed this many times `silence` after its PING.
const PATIENCE: u32 = 4;

/// PINGs that are safe before a call is answered. A server allows two strikes (A8), and keepalive
/// may need one of them.
pub(super) const FREE_PINGS: u32 = 2;

/// What servers permit without data is one PING in 5 min, by default (A8). They count from arrival
/// to arrival: a PING that was on its way for longer than the next one makes the time between them
/// shorter. By the defaults no PING is on its way for more than 20 s, or its connection has ended.
pub(super) const PERMITTED_SPACING: Duration = Duration::from_secs(5 * 60 + 30);

/// "Clients … will not send more than one ping every 10 seconds" (A8).
const SPACING: Duration = Duration::from_secs(10);
