//! The subchannel: one endpoint with its connections.
//!
//! ```text
//!             attempt             connected
//!    Idle ──────────────▶ Connecting ──────────────▶ Ready ◀─┐ replacement or further connection connected
//!     ▲                    │      ▲                   │  └───┘
//!     │             failed │      │ backoff over      │ last serving connection lost or going away
//!     │                    ▼      │                   ├──────▶ Idle, at once Connecting again
//!     │               TransientFailure                │ (pick_first, lost: Idle until the next call)
//!     │                (until Ready)                  │
//!     └── endpoint listed                             ▼ endpoint left the set, or channel idle
//!                                                  Draining ──▶ forgotten with its last connection
//! ```
//!
//! Several connections may exist at a time. One serves. One is being made, to replace it or because
//! it is full (gRFC A105). Old ones finish their streams. The balancer owns the subchannel and
//! decides what to connect and when; the subchannel only says what it needs.

mod connection;
mod health;
mod short_lives;
mod suspect;

use std::sync::Arc;
use std::time::{Duration, Instant};

use connection::PROVEN_AFTER;
pub(crate) use connection::{Connection, Phase};
use short_lives::ShortLives;

use crate::backoff::{Backoff, BackoffConfig};
use crate::client::picker::lease::{Load, PickableConnection};
use crate::connection_id::ConnectionId;
use crate::endpoint::{Address, EndpointId};
use crate::rng::Rng;

/// The state of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SubchannelState {
    /// No connection, and none wanted yet.
    Idle,
    /// The first connection is being made, or will be soon.
    Connecting,
    /// At least one connection takes calls.
    Ready,
    /// No longer listed by the resolver; open connections finish their calls.
    Draining,
    /// The last attempt failed. Sticky until a connection is made: retrying does not make it
    /// `Connecting` (gRFC A61, A62). Or the server reports that it does not serve (gRFC A17); this
    /// lasts as long as the connection of that report.
    TransientFailure,
}

#[derive(Debug)]
pub(crate) struct Subchannel<C> {
    pub(crate) id: EndpointId,
    pub(crate) address: Address,
    /// True if the resolver's last good answer lists it.
    pub(crate) listed: bool,
    /// Serves only until another endpoint does, and gets no more connections.
    pub(crate) leaving: bool,
    pub(crate) attempt: Option<Attempt>,
    /// Oldest first.
    pub(crate) connections: Vec<Connection<C>>,
    pub(crate) load: Arc<Load>,
    pub(crate) last_error: Option<Arc<str>>,
    /// The sticky part of TRANSIENT_FAILURE.
    pub(crate) failed: bool,
    /// True if it failed since the resolver's last answer.
    pub(crate) failed_since_resolution: bool,
    /// True if calls found all its connections full.
    pub(crate) wants_more: bool,
    /// The weight that the resolver gave.
    pub(crate) weight: u32,
    /// The zone it runs in, if the resolver knows.
    pub(crate) zone: Option<Arc<str>>,
    /// True if it was not there when the channel began, and has had no connection yet.
    newcomer: bool,
    /// How often its server has complained about too many PINGs. Counts only connections that
    /// pinged as the last one does.
    pub(crate) ping_doublings: u32,
    backoff: Backoff,
    /// When the server last closed an attempt, or its connection, early: before it reset the
    /// backoff.
    hung_up_at: Option<Instant>,
    short_lives: ShortLives,
    retry_at: Option<Instant>,
    /// Its backoff was restarted because another endpoint is back, and it has not served since.
    restarted: bool,
}

/// A connection being made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt {
    pub(crate) id: ConnectionId,
    started: Instant,
    ping_doublings: u32,
    /// The connection is made, but held back because its server does not serve.
    held: bool,
}

impl Attempt {
    pub(crate) fn is_held(&self) -> bool {
        self.held
    }
}

impl<C> Subchannel<C> {
    pub(crate) fn new(id: EndpointId, address: Address, backoff: BackoffConfig, newcomer: bool) -> Self {
        Self {
            id,
            address,
            listed: true,
            leaving: false,
            attempt: None,
            connections: Vec::new(),
            load: Arc::default(),
            last_error: None,
            failed: false,
            failed_since_resolution: false,
            wants_more: false,
            weight: 1,
            zone: None,
            newcomer,
            ping_doublings: 0,
            backoff: Backoff::new(backoff),
            hung_up_at: None,
            short_lives: ShortLives::default(),
            retry_at: None,
            restarted: false,
        }
    }

    /// Begins an attempt. Returns how long it may take.
    pub(crate) fn begin(&mut self, now: Instant, id: ConnectionId) -> Duration {
        debug_assert!(self.attempt.is_none(), "one attempt at a time");
        if self.serving().any(|connection| self.shows_more(connection, now)) {
            self.reset_backoff_after_success();
        }
        let ping_doublings = self.ping_doublings;
        self.attempt = Some(Attempt { id, started: now, ping_doublings, held: false });
        self.backoff.connect_timeout()
    }

    pub(crate) fn connected(&mut self, now: Instant, slot: Arc<PickableConnection<C>>) {
        let ping_doublings = self.attempt.take().map_or(0, |attempt| attempt.ping_doublings);
        self.wants_more = false;
        self.newcomer = false;
        self.clear_failure();
        self.connections.push(Connection {
            slot,
            connected_at: now,
            answers_before: self.load.outcomes.successes(),
            phase: Phase::Serving,
            ping_doublings,
        });
    }

    /// Returns true if its next connection is the first after a time without service. Its share
    /// then grows slowly.
    pub(crate) fn is_cold(&self) -> bool {
        !self.is_ready() && (self.failed || self.newcomer)
    }

    pub(crate) fn attempt_failed(&mut self, now: Instant, rng: &mut Rng, error: Arc<str>) {
        let started = self.attempt.take().map_or(now, |attempt| attempt.started);
        // "The backoff is measured from the start of the attempt" (connection-backoff.md).
        let at = started + self.backoff.advance(rng);
        self.retry_at = Some(at.max(now));
        self.wants_more = false;
        self.hung_up_at = None;
        self.fail(error);
    }

    /// The attempt could not be made, and the endpoint is not the cause: its backoff does not
    /// change.
    pub(crate) fn attempt_not_made(&mut self, error: Arc<str>) {
        self.attempt = None;
        self.wants_more = false;
        self.failed |= !self.is_ready();
        self.last_error = Some(error);
    }

    /// The server closed the connection right after the handshake. The first time is ignored; the
    /// second in a row counts as a failed attempt, and true is returned. The time for which the
    /// attempt was held does not matter: only a connection that has served resets this.
    pub(crate) fn attempt_hung_up(&mut self, now: Instant, rng: &mut Rng, error: Arc<str>) -> bool {
        let Some(attempt) = self.attempt.take() else { return false };
        self.wants_more = false;
        if attempt.held {
            self.forget_verdict(attempt.id);
        }
        let again = self.count_early_close(now, rng);
        if again {
            self.fail(error);
        }
        again
    }

    /// The connection `id` has stopped serving, and the balancer did not decide it.
    pub(crate) fn end_service(&mut self, now: Instant, id: ConnectionId, rng: &mut Rng) {
        let Some(position) = self.position(id) else { return };
        let Connection { phase, connected_at, answers_before, .. } = self.connections[position];
        self.ended(now, connected_at, answers_before, rng);
        if phase == Phase::Unhealthy {
            self.forget_verdict(id);
        }
    }

    /// Allows an immediate reconnect, except after two connections in a row that closed within
    /// [`PROVEN_AFTER`]. A server that accepts and then closes is failing. The first time is
    /// ignored, since a restart can close one connection early by chance.
    ///
    /// A row of connections that lived longer, but still not long, causes its own pause
    /// ([`ShortLives`]).
    fn ended(&mut self, now: Instant, connected_at: Instant, answers_before: u64, rng: &mut Rng) {
        let life = now.saturating_duration_since(connected_at);
        if life >= PROVEN_AFTER {
            self.reset_backoff_after_success();
            self.retry_at = None;
        } else {
            self.count_early_close(now, rng);
        }
        let answers = self.load.outcomes.successes().saturating_sub(answers_before);
        if let Some(pause) = self.short_lives.ended(life, answers, rng) {
            self.retry_at = self.retry_at.max(Some(now + pause));
        }
    }

    /// A connection was closed because its server sent too many frames without content.
    pub(crate) fn flooded(&mut self, now: Instant, rng: &mut Rng) {
        self.retry_at = self.retry_at.max(Some(now + self.short_lives.flooded(rng)));
    }

    /// The connection `id` has ended, whose server reported that it does not serve. Nothing is
    /// known about the next one.
    fn forget_verdict(&mut self, id: ConnectionId) {
        let said_on_another =
            |connection: &Connection<C>| connection.slot.id != id && connection.phase == Phase::Unhealthy;
        self.failed = !self.is_ready() && self.connections.iter().any(said_on_another);
    }

    /// Counts an early close. Pauses and returns true if it is not the first in a row.
    fn count_early_close(&mut self, now: Instant, rng: &mut Rng) -> bool {
        let again = self.hung_up_at.replace(now).is_some();
        if again {
            self.retry_at = Some(now + self.backoff.advance(rng));
        }
        again
    }

    fn fail(&mut self, error: Arc<str>) {
        self.last_error = Some(error);
        // While another connection serves, the endpoint is not failing.
        if !self.is_ready() {
            self.failed = true;
            self.failed_since_resolution = true;
        }
    }

    fn reset_backoff_after_success(&mut self) {
        self.backoff.reset();
        self.hung_up_at = None;
        self.restarted = false;
    }

    /// Returns true if this connection lived long enough to reset the backoff, and none has closed
    /// early since.
    fn shows_more(&self, connection: &Connection<C>, now: Instant) -> bool {
        connection.proven_at() <= now && self.hung_up_at.is_none_or(|at| at <= connection.connected_at)
    }

    pub(crate) fn clear_failure(&mut self) {
        self.failed = false;
        self.failed_since_resolution = false;
        self.retry_at = None;
    }

    /// Clears the failures because `pick_first` has connected to another endpoint. A pause for
    /// early closes remains; otherwise endpoints that all close early would end each other's
    /// pauses.
    pub(crate) fn clear_failures(&mut self) {
        self.failed = false;
        self.failed_since_resolution = false;
        if self.hung_up_at.is_none() && !self.short_lives.pauses() {
            self.retry_at = None;
        }
    }

    pub(crate) fn position(&self, id: ConnectionId) -> Option<usize> {
        self.connections.iter().position(|connection| connection.slot.id == id)
    }

    /// Connections that take calls, oldest first.
    pub(crate) fn serving(&self) -> impl Iterator<Item = &Connection<C>> {
        self.connections.iter().filter(|connection| connection.phase == Phase::Serving)
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.serving().next().is_some()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.serving().all(|connection| connection.slot.is_full())
    }

    /// Calls have found its connections full. Returns true if this asks for another connection.
    pub(crate) fn want_more(&mut self) -> bool {
        let wants = !self.wants_more && self.attempt.is_none();
        let wants = wants && self.listed && !self.leaving && self.is_full();
        self.wants_more |= wants;
        wants
    }

    pub(crate) fn calls_in_flight(&self) -> usize {
        self.connections.iter().map(|connection| connection.slot.in_flight() as usize).sum()
    }

    /// Returns true if calls need a connection that is not being made: none serves, or another one
    /// is wanted.
    pub(crate) fn needs_connection(&self, max_connections: usize) -> bool {
        if self.attempt.is_some() || !self.listed || self.leaving {
            return false;
        }
        match self.serving().count() {
            // While its server reports that it does not serve, another connection would get the
            // same report.
            0 => self.unhealthy() == 0,
            serving => self.wants_more && serving < max_connections,
        }
    }

    /// Returns when the backoff allows the next attempt.
    pub(crate) fn retry_at(&self) -> Option<Instant> {
        self.retry_at
    }

    /// Returns true if it waits for its backoff.
    pub(crate) fn pauses(&self, now: Instant) -> bool {
        self.attempt.is_none() && self.retry_at.is_some_and(|at| at > now)
    }

    /// Lets the next attempt begin now.
    pub(crate) fn end_pause(&mut self, now: Instant) {
        self.retry_at = Some(now);
    }

    /// Restarts the backoff as if one attempt had just failed. Does so once, until the endpoint
    /// itself has served. Otherwise each return of another endpoint would bring the attempts at
    /// dead ones back to one a second.
    pub(crate) fn restart_backoff(&mut self, now: Instant, rng: &mut Rng) {
        if std::mem::replace(&mut self.restarted, true) {
            return;
        }
        self.backoff.reset();
        let at = now + self.backoff.advance(rng);
        self.retry_at = self.retry_at.map(|retry_at| retry_at.min(at));
    }

    /// The server has complained about too many PINGs on the connection `id`. Counts once for all
    /// connections that pinged as often.
    pub(crate) fn double_ping_time(&mut self, id: ConnectionId) {
        let of_attempt =
            self.attempt.filter(|attempt| attempt.id == id).map(|attempt| attempt.ping_doublings);
        let of_connection = || Some(self.connections[self.position(id)?].ping_doublings);
        if of_attempt.or_else(of_connection) == Some(self.ping_doublings) {
            self.ping_doublings = (self.ping_doublings + 1).min(PING_DOUBLINGS_MAX);
        }
    }

    /// `at_rest` is true if the channel needs no connection to it for now.
    pub(crate) fn state(&self, at_rest: bool) -> SubchannelState {
        match () {
            () if !self.listed => SubchannelState::Draining,
            () if self.is_ready() => SubchannelState::Ready,
            () if self.failed => SubchannelState::TransientFailure,
            () if self.attempt.is_some() || (self.retry_at.is_some() && !at_rest) => {
                SubchannelState::Connecting
            }
            () => SubchannelState::Idle,
        }
    }
}

/// The shortest time between PINGs, 10 s (gRFC A8), then becomes 2.8 h. A server asks for at most 2
/// h by default.
const PING_DOUBLINGS_MAX: u32 = 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::picker::lease::LoadTracking;
    use crate::virtual_time::epoch;

    fn subchannel() -> Subchannel<()> {
        let address = Address::Tcp(([10, 0, 0, 1], 50051).into());
        Subchannel::new(EndpointId::for_tests(1), address, BackoffConfig::default(), false)
    }

    fn connect(subchannel: &mut Subchannel<()>, now: Instant, id: u64) {
        let id = ConnectionId(id);
        subchannel.begin(now, id);
        let tracking = LoadTracking::default();
        let slot = PickableConnection::new(id, subchannel.id, (), Arc::clone(&subchannel.load), tracking);
        subchannel.connected(now, Arc::new(slot));
    }

    #[test]
    fn a_failure_sticks_until_a_connection_is_made() {
        let (mut subchannel, mut rng) = (subchannel(), Rng::new(1, 1));
        assert_eq!(subchannel.state(false), SubchannelState::Idle);
        subchannel.begin(epoch(), ConnectionId(1));
        assert_eq!(subchannel.state(false), SubchannelState::Connecting);
        subchannel.attempt_failed(epoch(), &mut rng, "refused".into());
        assert_eq!(subchannel.state(false), SubchannelState::TransientFailure);
        subchannel.begin(epoch(), ConnectionId(2));
        assert_eq!(subchannel.state(false), SubchannelState::TransientFailure, "trying again is not news");
        subchannel.attempt = None;
        connect(&mut subchannel, epoch(), 3);
        assert_eq!(subchannel.state(false), SubchannelState::Ready);
    }

    #[test]
    fn the_backoff_counts_from_the_start_of_the_attempt() {
        let (mut subchannel, mut rng) = (subchannel(), Rng::new(1, 1));
        subchannel.begin(epoch(), ConnectionId(1));
        let later = epoch() + Duration::from_secs(20);
        subchannel.attempt_failed(later, &mut rng, "timed out".into());
        assert_eq!(subchannel.retry_at(), Some(later), "more than the delay has passed already");
    }

    #[test]
    fn a_server_that_hangs_up_at_once_is_backed_off_from() {
        let (mut subchannel, mut rng) = (subchannel(), Rng::new(1, 1));
        let mut now = epoch();
        let mut count_early_close = |subchannel: &mut Subchannel<()>, now| {
            connect(subchannel, now, 1);
            subchannel.connections.clear();
            subchannel.ended(now, now, 0, &mut rng);
        };
        count_early_close(&mut subchannel, now);
        assert_eq!(subchannel.retry_at(), None, "once may be chance");
        for expected in [1.0, 1.6, 2.56] {
            count_early_close(&mut subchannel, now);
            let delay = (subchannel.retry_at().unwrap() - now).as_secs_f64();
            assert!((expected * 0.8..=expected * 1.2).contains(&delay), "{delay}");
            now = subchannel.retry_at().unwrap();
        }
        subchannel.ended(now + Duration::from_secs(1), now, 0, &mut rng);
        assert_eq!(subchannel.retry_at(), None, "one that has served is reconnected at once");
    }
}
