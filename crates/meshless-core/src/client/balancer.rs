//! The balancer: the control plane of one channel.
//!
//! It has one owner, the driver. The driver passes events in (`handle_*`), takes actions out
//! ([`poll_action`](Balancer::poll_action)), and learns when to call again
//! ([`poll_timeout`](Balancer::poll_timeout)). The balancer decides which endpoints to connect to,
//! when to replace a connection, and what calls may pick from. It opens no socket and sees no call.

mod action;
mod config;
mod connect_planner;
mod endpoint_counts;
mod outlier_detection;
mod picker_builder;
mod resolution_error;
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
pub use resolution_error::ResolutionError;
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

/// The control plane of one channel. `C` is the driver's handle on a connection, which leases hand
/// to calls.
///
/// Every `handle_*` takes the current time; time must not go backwards. Events about forgotten
/// connections are ignored, so events may cross an [`Action::Close`].
#[derive(Debug)]
pub struct Balancer<C> {
    rng: Rng,
    /// True at first, and in `pick_first` after the last connection is lost, until a call asks for
    /// a connection.
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
    /// Creates an idle balancer without endpoints. Calls should find
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

    /// Leaves idle: a call is to be sent, or the user asks to connect.
    ///
    /// The resolver's last answer stays known, also an error, since the resolver may never repeat
    /// it.
    pub fn handle_call(&mut self, now: Instant) {
        if self.is_idle {
            self.is_idle = false;
            self.resolver.leave_idle();
            self.advance(now);
        }
    }

    /// The resolver has answered. After an error or an empty set the last good set stays in use;
    /// the resolver tries again by its own rules.
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

    /// The resolver has answered that the target has no endpoint, and why. The set is dropped only
    /// once this has lasted for [`stale_max`](crate::BalancerConfig::stale_max); a failure to
    /// answer never drops it.
    pub fn handle_gone(&mut self, now: Instant, reason: ResolutionError) {
        self.resolver.handle_gone(now, reason, &mut self.subchannels);
        self.advance(now);
    }

    /// A connection is made, and its HTTP/2 handshake is done.
    pub fn handle_connected(&mut self, now: Instant, id: ConnectionId, connection: C) {
        let Self { subchannels, planner, weights, pickers, .. } = self;
        if subchannels.owner(id).is_none() {
            // It crossed the `Close` that abandoned the attempt.
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

    /// An attempt has failed, or has timed out.
    pub fn handle_connect_failed(&mut self, now: Instant, id: ConnectionId, error: impl Into<Arc<str>>) {
        let Some(subchannel) = self.subchannels.attempt_mut(id) else { return };
        subchannel.attempt_failed(now, &mut self.rng, error.into());
        self.subchannels.forget_attempt(id);
        // "Re-resolve on connect failure". If there is nothing else to try, the resolver's pause
        // does not apply.
        self.resolver.request(self.hint_after_failure());
        self.advance(now);
    }

    /// An attempt failed because the process or the system has no file descriptor left. Connects
    /// pause for 1 s, and the resolver is asked. Returns true if the pause begins now, which the
    /// driver should log.
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

    /// The server of a connection, or of an attempt after its HTTP/2 handshake, reports that it
    /// serves, or why not.
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

    /// A connection is `silent` or has ended its silence. It is silent if calls were sent and no
    /// byte has come back for a while. The driver decides how long that is, and when to close it.
    pub fn handle_silent(&mut self, now: Instant, id: ConnectionId, silent: bool) {
        let Some(connection) = self.subchannels.connection_mut(id) else { return };
        match (connection.phase, silent) {
            (Phase::Serving, true) => {
                connection.phase = Phase::Suspect;
                // Its address may no longer exist.
                self.resolver.request(ResolveHint::Stale);
            }
            (Phase::Suspect, false) => self.resume_after_silence(id),
            _ => return,
        }
        self.subchannels.outbox.outdate_picker();
        self.advance(now);
    }

    /// The first GOAWAY was read on a connection: it gets no new calls.
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

    /// The server has ended a connection because of too many PINGs (gRFC A8's `too_many_pings`).
    /// Call it before [`handle_going_away`](Self::handle_going_away). Only the next connections to
    /// this endpoint ping less. Other servers may permit more PINGs, and without PINGs a dead peer
    /// is not found.
    pub fn handle_too_many_pings(&mut self, id: ConnectionId) {
        if let Some(subchannel) = self.subchannels.owner_mut(id) {
            subchannel.double_ping_time(id);
        }
    }

    /// A connection is gone: it was closed by either side, or has broken.
    pub fn handle_closed(&mut self, now: Instant, id: ConnectionId, error: impl Into<Arc<str>>) {
        self.connection_closed(now, id, error.into(), false);
    }

    /// The driver has closed a connection whose server sent too many frames without content. The
    /// next attempt waits for a pause, which grows each time, also after a long connection.
    pub fn handle_flooded(&mut self, now: Instant, id: ConnectionId, error: impl Into<Arc<str>>) {
        self.connection_closed(now, id, error.into(), true);
    }

    /// A call found every connection full ([`Wait::Full`](crate::Wait::Full)). Another connection
    /// to `endpoint` is made, up to the configured number, one at a time (gRFC A105).
    pub fn handle_full(&mut self, now: Instant, endpoint: EndpointId) {
        let Some(subchannel) = self.subchannels.get_mut(endpoint) else { return };
        // The event may be outdated: since that pick a call may have ended, or a connection may
        // have been added.
        if self.planner.may_grow(subchannel) && subchannel.want_more() {
            self.advance(now);
        }
    }

    /// Sets the peer's SETTINGS_MAX_CONCURRENT_STREAMS for a connection. There is no limit before
    /// that. The driver wakes calls that wait for room.
    pub fn handle_stream_limit(&mut self, id: ConnectionId, limit: u32) {
        if let Some(connection) = self.subchannels.connection_mut(id).filter(|one| !one.is_draining()) {
            connection.slot.set_limit(limit);
        }
    }

    /// A call has ended in a way that concerns the balancer:
    /// [`Lease::finish`](crate::Lease::finish) returned this report.
    pub fn handle_outcome(&mut self, now: Instant, report: OutcomeReport) {
        let Self { subchannels, rng, .. } = self;
        if self.outliers.handle_outcome(now, report, subchannels, rng) {
            self.weights.begin_slow_start(now, report.endpoint);
        }
        self.advance(now);
    }

    /// No call was made for the user's idle timeout: closes all connections and becomes idle.
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

    /// If true, the resolver follows each [`ResolveHint::AllFailed`] with an answer. Default false.
    /// If true, calls that come after the last backend is lost wait for that answer, at most 5 s.
    pub fn set_resolver_answers(&mut self, answers: bool) {
        self.resolver.set_resolver_answers(answers);
    }

    /// Returns the next action. Call it until it returns `None`.
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

    /// Returns when to call [`handle_timeout`](Self::handle_timeout). Changes with every event.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// Returns the last update of the shares, if there was one since the last call. Only
    /// `weighted_round_robin` has any.
    pub fn take_weight_update(&mut self) -> Option<WeightUpdate> {
        self.weights.take_update()
    }

    /// Returns the connectivity state of the whole channel.
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

    /// Returns the state of the channel and of each endpoint.
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
            // Only the resolver's driver knows.
            resolved_by: None,
        }
    }

    /// Returns the address and the cause if the endpoint is ejected or on probation.
    pub fn ejection(&self, endpoint: EndpointId) -> Option<(&Address, EjectionCause)> {
        let subchannel = self.subchannels.get(endpoint)?;
        Some((&subchannel.address, self.outliers.ejection(endpoint)?.cause))
    }

    /// Returns how many endpoints are in which state, for metrics. Takes time in proportion to
    /// their number, and allocates nothing.
    pub fn endpoint_counts(&self) -> EndpointCounts {
        let at_rest = self.is_idle || self.planner.has_settled(&self.subchannels);
        EndpointCounts::of(&self.subchannels, at_rest, &self.outliers)
    }

    /// Returns the number of ejections so far, for metrics.
    pub fn ejection_counts(&self) -> EjectionCounts {
        self.outliers.counts()
    }

    /// Returns true if a call is on any connection.
    pub fn has_calls_in_flight(&self) -> bool {
        self.subchannels.all().any(|subchannel| subchannel.calls_in_flight() > 0)
    }

    /// Returns true if servers are to be asked for reports in a separate stream.
    pub fn wants_reports(&self) -> bool {
        self.weights.wants_reports()
    }

    /// Returns where to put reports from a connection's server. `None` if its reports are not
    /// wanted.
    pub fn report_sink(&self, id: ConnectionId) -> Option<ReportSink> {
        self.weights.report_sink(id, &self.subchannels)
    }

    /// Ends every event: each part updates itself to the changed subchannels and sets its timers.
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

    /// A connection was lost before it was in service: the server went away, or `error` says why.
    /// If the HTTP/2 handshake was done (only then can there be a GOAWAY or a health report), the
    /// first such loss is not a failure to connect: that server is probably about to be replaced.
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

    /// A connection has stopped serving, and the balancer did not decide it.
    fn end_service(&mut self, now: Instant, id: ConnectionId) {
        self.subchannels.outbox.outdate_picker();
        self.resolver.request(ResolveHint::Stale);
        self.subchannels.end_service(now, id, &mut self.rng);
    }

    /// The connection answers again. Its replacement is no longer needed, or has already replaced
    /// it.
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

    /// Returns what to ask the resolver for after a failed attempt. All known endpoints may have
    /// failed.
    fn hint_after_failure(&self) -> ResolveHint {
        let has_failed = |sub: &Subchannel<C>| sub.failed_since_resolution && !sub.is_ready();
        match self.subchannels.listed().all(has_failed) {
            true => ResolveHint::AllFailed,
            false => ResolveHint::Stale,
        }
    }
}
