//! The balancer: the control plane of one channel.
//!
//! It has one owner, is told what has happened (`handle_*`), and says what is to be done
//! ([`poll_action`](Balancer::poll_action)) and when it wants to be asked again
//! ([`poll_timeout`](Balancer::poll_timeout)). It decides which endpoints to connect to, when to
//! replace a connection, and what calls may pick from; it opens no socket and sees no call.

mod action;
mod config;
mod connect_planner;
mod endpoint_counts;
mod outlier_detection;
mod picker_builder;
mod resolver_update;
mod state;
mod subchannels;
mod timers;
mod weights;

use std::sync::Arc;
use std::time::Instant;

pub use crate::client::connectivity::ConnectivityState;
pub use action::{Action, ResolveHint};
pub use config::{BalancerConfig, ChoiceCount, InvalidChoiceCountError};
use connect_planner::ConnectPlanner;
pub use endpoint_counts::EndpointCounts;
use outlier_detection::OutlierDetector;
pub use outlier_detection::{
    CountsByCause, Ejection, EjectionCause, EjectionConfig, EjectionCounts, OutlierConfig,
};
use picker_builder::PickerBuilder;
use resolver_update::ResolverUpdate;
pub use state::{ChannelState, EndpointState};
use subchannels::Subchannels;
use timers::Timers;
use weights::Weights;
pub use weights::{ReportSink, SlowStartConfig, WeightUpdate, WeightedConfig, ZonePreference};

use crate::client::picker::demand::Demand;
use crate::client::picker::lease::PickableConnection;
use crate::client::picker::outcomes::OutcomeReport;
use crate::client::subchannel::{Phase, Subchannel};
use crate::connection_id::ConnectionId;
use crate::endpoint::{Address, Endpoint, EndpointId};
use crate::ewma::EwmaDecay;
use crate::rng::Rng;

/// Why a resolution failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ResolutionError(pub String);

/// The control plane of one channel. `C` is the driver's handle on a connection, which leases hand
/// to calls.
///
/// Every `handle_*` takes the current time; time must not go backwards. Reports about connections
/// that the balancer has forgotten are ignored, so a driver need not worry about events that have
/// crossed an [`Action::Close`].
#[derive(Debug)]
pub struct Balancer<C> {
    rng: Rng,
    /// No call has asked for a connection since the beginning, or since the last one was lost
    /// (`pick_first`).
    is_idle: bool,
    subchannels: Subchannels<C>,
    resolver: ResolverUpdate,
    planner: ConnectPlanner,
    outliers: OutlierDetector,
    weights: Weights,
    pickers: PickerBuilder<C>,
    timers: Timers,
}

impl<C> Balancer<C> {
    /// A balancer that is idle and knows no endpoint. Calls should find
    /// [`Picker::idle`](crate::Picker::idle) until the first [`Action::UpdatePicker`].
    pub fn new(config: BalancerConfig, mut rng: Rng, now: Instant) -> Self {
        let clock = EwmaDecay::new(now, config.latency_decay);
        let demand = Demand::default();
        let turn = rng.next_u64() as u32;
        Self {
            rng,
            is_idle: true,
            subchannels: Subchannels::new(config.backoff),
            resolver: ResolverUpdate::new(&config),
            planner: ConnectPlanner::new(&config, demand.clone()),
            outliers: OutlierDetector::new(&config),
            weights: Weights::new(&config, clock),
            pickers: PickerBuilder::new(&config, clock, demand, turn),
            timers: Timers::default(),
        }
    }

    /// A call wants to be sent, or the user wants the channel connected: leaves idle.
    ///
    /// What the resolver said last stays known, an error too. It may never say it again.
    pub fn handle_call(&mut self, now: Instant) {
        if self.is_idle {
            self.is_idle = false;
            self.resolver.leave_idle();
            self.advance(now);
        }
    }

    /// The resolver has answered. An error or an empty set leaves the last good set in place; the
    /// resolver tries again by its own rules.
    pub fn handle_resolution(&mut self, now: Instant, answer: Result<Vec<Endpoint>, ResolutionError>) {
        let Self { subchannels, rng, .. } = self;
        match answer {
            Ok(full) if full.is_empty() => {
                let reason = "the resolver found no endpoint".to_owned();
                return self.handle_gone(now, ResolutionError(reason));
            }
            Ok(full) => self.resolver.handle_endpoints(now, full, subchannels, rng),
            Err(error) => self.resolver.handle_error(error, subchannels),
        }
        self.advance(now);
    }

    /// The resolver has answered that the target has no endpoint, and why. Unlike a failure to
    /// answer, this is believed once it has lasted for
    /// [`stale_max`](crate::BalancerConfig::stale_max).
    pub fn handle_gone(&mut self, now: Instant, reason: ResolutionError) {
        self.resolver.handle_gone(now, reason, &mut self.subchannels);
        self.advance(now);
    }

    /// A connection is made, with its HTTP/2 handshake done.
    pub fn handle_connected(&mut self, now: Instant, id: ConnectionId, connection: C) {
        let Self { subchannels, planner, weights, pickers, .. } = self;
        if subchannels.owner(id).is_none() {
            // It crossed the `Close` that abandoned it.
            return subchannels.outbox.push(Action::Close { connection: id, graceful: false });
        }
        let Some(subchannel) = subchannels.attempt_mut(id) else { return };
        let (endpoint, was_full) = (subchannel.id, subchannel.wants_more);
        let tracking = pickers.tracking(weights);
        let slot = PickableConnection::new(id, endpoint, connection, Arc::clone(&subchannel.load), tracking);
        if subchannel.is_cold() {
            weights.begin_slow_start(now, endpoint);
        }
        subchannel.connected(now, Arc::new(slot));
        planner.handle_connected(endpoint, id, was_full, subchannels);
        subchannels.outbox.outdate_picker();
        self.advance(now);
    }

    /// An attempt has failed, or has taken longer than it might.
    pub fn handle_connect_failed(&mut self, now: Instant, id: ConnectionId, error: impl Into<Arc<str>>) {
        let Some(subchannel) = self.subchannels.attempt_mut(id) else { return };
        subchannel.attempt_failed(now, &mut self.rng, error.into());
        self.subchannels.forget_attempt(id);
        // "Re-resolve on connect failure"; without the resolver's pause, if there is nothing else
        // to try.
        self.resolver.request(self.hint_after_failure());
        self.advance(now);
    }

    /// An attempt could not be made, because the process or the system has no file descriptor left.
    /// Connects pause for 1 s, and the resolver is asked. Returns true if this begins the pause:
    /// something to tell people.
    pub fn handle_out_of_descriptors(
        &mut self,
        now: Instant,
        id: ConnectionId,
        error: impl Into<Arc<str>>,
    ) -> bool {
        let Some(subchannel) = self.subchannels.attempt_mut(id) else { return false };
        subchannel.attempt_not_made(error.into());
        self.subchannels.forget_attempt(id);
        let begins = self.planner.handle_out_of_descriptors(now);
        if begins {
            self.resolver.request(ResolveHint::Stale);
        }
        self.advance(now);
        begins
    }

    /// The server at the other end of a connection, or of an attempt that is all but made, says
    /// that it serves, or why not.
    pub fn handle_health(&mut self, now: Instant, id: ConnectionId, health: Result<(), impl Into<Arc<str>>>) {
        let Self { subchannels, planner, .. } = self;
        match health {
            Err(reason) => {
                if let Some(subchannel) = subchannels.owner_mut(id)
                    && subchannel.mark_unhealthy(id, reason.into())
                {
                    subchannels.outbox.outdate_picker();
                }
            }
            Ok(()) if subchannels.connection(id).is_some_and(|(_, one)| one.phase == Phase::Unhealthy) => {
                subchannels.outbox.outdate_picker();
                if planner.has_settled(subchannels) {
                    subchannels.drain(id);
                } else if let Some(subchannel) = subchannels.owner_mut(id) {
                    subchannel.resume_service(id);
                }
            }
            Ok(()) => {}
        }
        self.advance(now);
    }

    /// A connection to which calls were sent has not answered with a single byte for a while
    /// (`silent`), or does so again. The driver decides how long that is, and when to close it.
    pub fn handle_silent(&mut self, now: Instant, id: ConnectionId, silent: bool) {
        let Some(connection) = self.subchannels.connection_mut(id) else { return };
        match (connection.phase, silent) {
            (Phase::Serving, true) => {
                connection.phase = Phase::Suspect;
                // Its address may be one that has gone.
                self.resolver.request(ResolveHint::Stale);
            }
            (Phase::Suspect, false) => self.resume_after_silence(id),
            _ => return,
        }
        self.subchannels.outbox.outdate_picker();
        self.advance(now);
    }

    /// The first GOAWAY was read on a connection: no new call goes there.
    pub fn handle_going_away(&mut self, now: Instant, id: ConnectionId) {
        match self.subchannels.connection(id).map(|(_, connection)| connection.is_draining()) {
            None => return self.end_attempt(now, id, None),
            Some(true) => return,
            Some(false) => {}
        }
        self.end_service(now, id);
        self.subchannels.drain(id);
        self.advance(now);
    }

    /// The server has ended a connection because it was pinged too often (gRFC A8's
    /// `too_many_pings`). Precedes [`handle_going_away`](Self::handle_going_away). Only the next
    /// connections to the same endpoint ping less: another server may permit more, and one that
    /// complains without a reason must not take from all others the PINGs that find a dead peer.
    pub fn handle_too_many_pings(&mut self, id: ConnectionId) {
        if let Some(subchannel) = self.subchannels.owner_mut(id) {
            subchannel.double_ping_time(id);
        }
    }

    /// Nothing remains of a connection: it was closed, by whichever side, or has broken.
    pub fn handle_closed(&mut self, now: Instant, id: ConnectionId, error: impl Into<Arc<str>>) {
        self.connection_closed(now, id, error.into(), false);
    }

    /// The driver has closed a connection since its server sent too many frames that carry nothing.
    /// The next one is made after a pause, which grows each time, however long the connection had
    /// lasted.
    pub fn handle_flooded(&mut self, now: Instant, id: ConnectionId, error: impl Into<Arc<str>>) {
        self.connection_closed(now, id, error.into(), true);
    }

    /// A call found every connection full ([`Wait::Full`](crate::Wait::Full)): another one to
    /// `endpoint` is made, up to the configured number, one at a time (gRFC A105).
    pub fn handle_full(&mut self, now: Instant, endpoint: EndpointId) {
        let Some(subchannel) = self.subchannels.get_mut(endpoint) else { return };
        // It may be outdated: since that pick a call may have ended, or a connection been added.
        if self.planner.may_grow(subchannel) && subchannel.want_more() {
            self.advance(now);
        }
    }

    /// The peer's SETTINGS_MAX_CONCURRENT_STREAMS for a connection; without it, there is no limit.
    /// The driver wakes calls that wait for room.
    pub fn handle_stream_limit(&mut self, id: ConnectionId, limit: u32) {
        if let Some(connection) = self.subchannels.connection_mut(id).filter(|one| !one.is_draining()) {
            connection.slot.set_limit(limit);
        }
    }

    /// A call has ended in a way that matters beyond its endpoint's averages: what
    /// [`Lease::finish`](crate::Lease::finish) returned.
    pub fn handle_outcome(&mut self, now: Instant, report: OutcomeReport) {
        let Self { subchannels, rng, .. } = self;
        if self.outliers.handle_outcome(now, report, subchannels, rng) {
            self.weights.begin_slow_start(now, report.endpoint);
        }
        self.advance(now);
    }

    /// No call was made for as long as the user allows a channel to stay connected: lets everything
    /// go.
    pub fn handle_idle(&mut self, now: Instant) {
        self.is_idle = true;
        self.planner.rest();
        self.subchannels.let_go_all();
        self.advance(now);
    }

    /// The time of [`poll_timeout`](Self::poll_timeout) has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.advance(now);
    }

    /// Whether the resolver follows each [`ResolveHint::AllFailed`] with an answer. Default false.
    /// If true, calls that come after the last backend is lost wait for that answer, at most 5 s.
    pub fn set_resolver_answers(&mut self, answers: bool) {
        self.resolver.set_resolver_answers(answers);
    }

    /// The next thing to do, until `None`.
    pub fn poll_action(&mut self) -> Option<Action<C>> {
        if self.subchannels.outbox.take_picker_outdated() {
            let state = self.connectivity();
            let Self { subchannels, resolver, outliers, weights, .. } = self;
            return Some(Action::UpdatePicker(self.pickers.build(
                state,
                subchannels,
                resolver,
                outliers,
                weights,
            )));
        }
        let request = self.resolver.take_request().map(Action::RequestResolution);
        request.or_else(|| self.subchannels.outbox.poll())
    }

    /// When to call [`handle_timeout`](Self::handle_timeout). Changes with every event.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// The last update of the shares, if there was one since this was last asked; only
    /// `weighted_round_robin` has any.
    pub fn take_weight_update(&mut self) -> Option<WeightUpdate> {
        self.weights.take_update()
    }

    /// What the channel as a whole is doing.
    pub fn connectivity(&self) -> ConnectivityState {
        // READY before CONNECTING before TRANSIENT_FAILURE (gRFC A61), where "a child once in
        // TRANSIENT_FAILURE" counts as that until READY.
        match () {
            () if self.subchannels.any_ready() => ConnectivityState::Ready,
            () if self.is_idle => ConnectivityState::Idle,
            () if self.resolver.has_failed(&self.subchannels) => ConnectivityState::TransientFailure,
            () => ConnectivityState::Connecting,
        }
    }

    /// What the channel is doing, and each of its endpoints.
    pub fn state(&self) -> ChannelState {
        let at_rest = self.is_idle || self.planner.has_settled(&self.subchannels);
        let endpoint = |subchannel: &Subchannel<C>| {
            let (ejection, weight) =
                (self.outliers.ejection(subchannel.id), self.weights.of(subchannel.id).0);
            EndpointState::new(subchannel, at_rest, ejection, weight)
        };
        let (resolved_at, resolution_failures) = self.resolver.staleness();
        ChannelState {
            connectivity: self.connectivity(),
            policy: self.pickers.policy(),
            endpoints: self.subchannels.all().map(endpoint).collect(),
            endpoints_left_out: self.resolver.left_out(),
            resolution_error: self.resolver.error().cloned(),
            resolution_failures,
            resolved_at,
            // Only the driver of the resolver knows.
            resolved_by: None,
        }
    }

    /// The address and the cause, if the endpoint is ejected or on probation.
    pub fn ejection(&self, endpoint: EndpointId) -> Option<(&Address, EjectionCause)> {
        let subchannel = self.subchannels.get(endpoint)?;
        Some((&subchannel.address, self.outliers.ejection(endpoint)?.cause))
    }

    /// How many endpoints are in which state, for metrics. Takes time in proportion to their
    /// number, and allocates nothing.
    pub fn endpoint_counts(&self) -> EndpointCounts {
        let at_rest = self.is_idle || self.planner.has_settled(&self.subchannels);
        EndpointCounts::of(&self.subchannels, at_rest, &self.outliers)
    }

    /// Ejections so far, for metrics.
    pub fn ejection_counts(&self) -> EjectionCounts {
        self.outliers.counts()
    }

    /// Returns true if a call is on any connection.
    pub fn has_calls_in_flight(&self) -> bool {
        self.subchannels.all().any(|subchannel| subchannel.calls_in_flight() > 0)
    }

    /// Whether servers are to be asked for reports apart from calls.
    pub fn wants_reports(&self) -> bool {
        self.weights.wants_reports()
    }

    /// Where the reports of the server at the other end of a connection go; `None` if none are
    /// wanted of it.
    pub fn report_sink(&self, id: ConnectionId) -> Option<ReportSink> {
        self.weights.report_sink(id, &self.subchannels)
    }

    /// Ends every event: each part looks at what has become of the subchannels, and sets its
    /// timers.
    fn advance(&mut self, now: Instant) {
        let Self { rng, is_idle, subchannels, resolver, planner, outliers, timers, .. } = self;
        planner.handle_endpoints(&resolver.advance(subchannels), rng);
        planner.plan(now, *is_idle, subchannels, timers, rng);
        resolver.wait_for_lookup(now, *is_idle, subchannels, timers);
        outliers.judge(now, *is_idle, subchannels, timers, rng);
        if !self.pickers.is_current(self.connectivity()) {
            self.subchannels.outbox.outdate_picker();
        }
        let Self { is_idle, subchannels, outliers, timers, .. } = self;
        if self.weights.weigh(now, *is_idle, subchannels, outliers.eligible(subchannels), timers) {
            subchannels.outbox.outdate_picker();
        }
    }

    fn connection_closed(&mut self, now: Instant, id: ConnectionId, error: Arc<str>, flooded: bool) {
        let Some(connection) = self.subchannels.connection_mut(id) else {
            return self.end_attempt(now, id, Some(error));
        };
        connection.slot.set_limit(0);
        let was_in_service = !connection.is_draining();
        if was_in_service {
            self.end_service(now, id);
        }
        if let Some(subchannel) = self.subchannels.owner_mut(id) {
            if was_in_service {
                subchannel.last_error = Some(error);
            }
            if flooded {
                subchannel.flooded(now, &mut self.rng);
            }
        }
        self.subchannels.remove(id);
        if was_in_service && self.planner.handle_lost(&self.subchannels) {
            self.is_idle = true;
        }
        self.advance(now);
    }

    /// A connection that was not yet in service has gone away, or for `error` is lost. Where the
    /// HTTP/2 handshake was done (only then is there a GOAWAY, or a word about health) that is at
    /// first no failure to connect: such a server is about to be replaced.
    fn end_attempt(&mut self, now: Instant, id: ConnectionId, error: Option<Arc<str>>) {
        let Some(subchannel) = self.subchannels.attempt_mut(id) else { return };
        let error = match error {
            Some(error) if !subchannel.attempt.is_some_and(|attempt| attempt.is_held()) => {
                return self.handle_connect_failed(now, id, error);
            }
            Some(error) => error,
            None => "the server went away before it was ready".into(),
        };
        let failed = subchannel.attempt_hung_up(now, &mut self.rng, error);
        self.subchannels.forget_attempt(id);
        self.subchannels.outbox.outdate_picker();
        self.resolver.request(if failed { self.hint_after_failure() } else { ResolveHint::Stale });
        self.advance(now);
    }

    /// A connection has stopped serving by no decision of ours.
    fn end_service(&mut self, now: Instant, id: ConnectionId) {
        self.subchannels.outbox.outdate_picker();
        self.resolver.request(ResolveHint::Stale);
        self.subchannels.end_service(now, id, &mut self.rng);
    }

    /// It answers after all. Whatever was to replace it is not needed, or has replaced it already.
    fn resume_after_silence(&mut self, id: ConnectionId) {
        let is_replaced = self.planner.has_settled(&self.subchannels);
        let Self { subchannels, .. } = self;
        let Some((subchannel, _)) = subchannels.connection(id) else { return };
        if !subchannel.listed || subchannel.is_ready() || is_replaced {
            return subchannels.drain(id);
        }
        let endpoint = subchannel.id;
        subchannels.abandon(endpoint);
        if let Some(subchannel) = subchannels.get_mut(endpoint) {
            subchannel.resume_service(id);
        }
    }

    /// What to ask the resolver for after an attempt has failed: there may be nothing else to try
    /// that it has named.
    fn hint_after_failure(&self) -> ResolveHint {
        let has_failed = |sub: &Subchannel<C>| sub.failed_since_resolution && !sub.is_ready();
        match self.subchannels.listed().all(has_failed) {
            true => ResolveHint::AllFailed,
            false => ResolveHint::Stale,
        }
    }
}
