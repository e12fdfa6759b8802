//! The subchannel: all that is known of one endpoint, and its connections.
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
//! Several connections may be open at a time: the one serving; one being made, its successor or a
//! further one because it is full (gRFC A105); old ones that finish their streams. Owned and driven
//! by the balancer, which decides what to connect and when; a subchannel only answers what it
//! needs.

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

/// What an endpoint is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SubchannelState {
    /// No connection, and none wanted yet.
    Idle,
    /// The first connection is being made, or about to be.
    Connecting,
    /// At least one connection takes calls.
    Ready,
    /// No longer listed by the resolver; open connections finish their calls.
    Draining,
    /// The last attempt failed. Sticky until a connection is made: retrying does not make it
    /// `Connecting` (gRFC A61, A62). Or the server says that it does not serve (gRFC A17), for as
    /// long as the connection lasts on which it said so.
    TransientFailure,
}

#[derive(Debug)]
pub(crate) struct Subchannel<C> {
    pub(crate) id: EndpointId,
    pub(crate) address: Address,
    /// Whether the resolver's last good answer has it.
    pub(crate) listed: bool,
    /// Serves only until another endpoint does: gets no further connection.
    pub(crate) leaving: bool,
    pub(crate) attempt: Option<Attempt>,
    /// Oldest first.
    pub(crate) connections: Vec<Connection<C>>,
    pub(crate) load: Arc<Load>,
    pub(crate) last_error: Option<Arc<str>>,
    /// The sticky half of TRANSIENT_FAILURE.
    pub(crate) failed: bool,
    /// Whether it failed since the resolver last answered.
    pub(crate) failed_since_resolution: bool,
    /// Calls found all its connections full.
    pub(crate) wants_more: bool,
    /// What the resolver says that it weighs.
    pub(crate) weight: u32,
    /// The zone it runs in, if the resolver knows.
    pub(crate) zone: Option<Arc<str>>,
    /// It was not there when the channel began, and has had no connection yet.
    newcomer: bool,
    /// How often its server has complained about too many PINGs, on connections that pinged as the
    /// last one does.
    pub(crate) ping_doublings: u32,
    backoff: Backoff,
    /// When the server ended the last attempt, or the connection that it made, before that had
    /// proven anything.
    hung_up_at: Option<Instant>,
    short_lives: ShortLives,
    retry_at: Option<Instant>,
    /// Its pauses were started over because another endpoint is back, and it has not served since.
    restarted: bool,
}

/// A connection being made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt {
    pub(crate) id: ConnectionId,
    started: Instant,
    ping_doublings: u32,
    /// It is made, and held back because its server does not serve.
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

    /// Begins an attempt, and says how long it may take.
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

    /// Returns true if its next connection is the first after a time in which it could not serve:
    /// its share grows slowly.
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

    /// The attempt could not be made, through no fault of the endpoint: its backoff stays as it is.
    pub(crate) fn attempt_not_made(&mut self, error: Arc<str>) {
        self.attempt = None;
        self.wants_more = false;
        self.failed |= !self.is_ready();
        self.last_error = Some(error);
    }

    /// The server has gone away from an attempt that was all but made. Once that may be chance, and
    /// twice in a row it is a failure, which it says. However long the attempt was held: only one
    /// that has served proves anything.
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

    /// The connection `id` has stopped serving by no decision of ours.
    pub(crate) fn end_service(&mut self, now: Instant, id: ConnectionId, rng: &mut Rng) {
        let Some(position) = self.position(id) else { return };
        let Connection { phase, connected_at, answers_before, .. } = self.connections[position];
        self.ended(now, connected_at, answers_before, rng);
        if phase == Phase::Unhealthy {
            self.forget_verdict(id);
        }
    }

    /// Reconnecting is immediate, unless it lived so short that it was none, and not for the first
    /// time in a row: a server that accepts and hangs up is failing too, but one that is restarted
    /// may by chance be met a moment before.
    ///
    /// A row of connections that lived longer, and still not long, brings a pause of its own
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

    /// A connection was closed since its server sent too many frames that carry nothing.
    pub(crate) fn flooded(&mut self, now: Instant, rng: &mut Rng) {
        self.retry_at = self.retry_at.max(Some(now + self.short_lives.flooded(rng)));
    }

    /// The connection `id`, that its server said not to serve on, has ended, and what was said with
    /// it: nothing is known of the next one.
    fn forget_verdict(&mut self, id: ConnectionId) {
        let said_on_another =
            |connection: &Connection<C>| connection.slot.id != id && connection.phase == Phase::Unhealthy;
        self.failed = !self.is_ready() && self.connections.iter().any(said_on_another);
    }

    /// Pauses if this is not the first time in a row, and says so.
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

    /// Whether a connection has proven what a hang-up since then has not refuted.
    fn shows_more(&self, connection: &Connection<C>, now: Instant) -> bool {
        connection.proven_at() <= now && self.hung_up_at.is_none_or(|at| at <= connection.connected_at)
    }

    pub(crate) fn clear_failure(&mut self) {
        self.failed = false;
        self.failed_since_resolution = false;
        self.retry_at = None;
    }

    /// `pick_first` is connected to another endpoint: what failed here is past. But a pause that
    /// this one has earned by hanging up remains, or endpoints that all hang up would end each
    /// other's.
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

    /// Calls have found its connections full. Returns true if another one is wanted from now on.
    pub(crate) fn want_more(&mut self) -> bool {
        let wants = !self.wants_more && self.attempt.is_none();
        let wants = wants && self.listed && !self.leaving && self.is_full();
        self.wants_more |= wants;
        wants
    }

    pub(crate) fn calls_in_flight(&self) -> usize {
        self.connections.iter().map(|connection| connection.slot.in_flight() as usize).sum()
    }

    /// Returns true if calls need a connection to it that nobody is making: it has none that
    /// serves, or a further one is wanted.
    pub(crate) fn needs_connection(&self, max_connections: usize) -> bool {
        if self.attempt.is_some() || !self.listed || self.leaving {
            return false;
        }
        match self.serving().count() {
            // While its server says that it does not serve, another connection would say the same.
            0 => self.unhealthy() == 0,
            serving => self.wants_more && serving < max_connections,
        }
    }

    /// When an attempt may begin, as far as the backoff is concerned.
    pub(crate) fn retry_at(&self) -> Option<Instant> {
        self.retry_at
    }

    /// Whether it waits for its backoff.
    pub(crate) fn pauses(&self, now: Instant) -> bool {
        self.attempt.is_none() && self.retry_at.is_some_and(|at| at > now)
    }

    /// Lets the next attempt begin now.
    pub(crate) fn end_pause(&mut self, now: Instant) {
        self.retry_at = Some(now);
    }

    /// Lets the next attempt begin as if there had been only one that failed, a moment ago. Does so
    /// once, until the endpoint itself has served: otherwise each return of another one would bring
    /// the attempts at all that are dead for good back to one a second.
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

    /// `at_rest` says that the channel needs no connection to it for now.
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

/// 10 s, the shortest time between PINGs (gRFC A8), becomes 2.8 h: more than the 2 h that a server
/// asks for at most, unless it is set otherwise.
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
