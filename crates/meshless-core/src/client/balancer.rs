//! The balancer: the control plane of one channel.
//!
//! It has one owner, is told what has happened (`handle_*`), and says what is to be done ([`poll_action`](Balancer::poll_action))
//! and when it wants to be asked again ([`poll_timeout`](Balancer::poll_timeout)). It decides which endpoints to connect to, when
//! to replace a connection, and what calls may pick from; it opens no socket and sees no call.
//!
//! A driver is a loop:
//!
//! ```
//! # use std::{sync::Arc, time::Instant};
//! # use meshless_core::*;
//! # #[derive(Clone, Debug)] struct Connection;
//! # enum Event { Resolved(Result<Vec<Endpoint>, ResolutionError>), Connected(ConnectionId, Connection),
//! #   ConnectFailed(ConnectionId, String), GoingAway(ConnectionId), Closed(ConnectionId, String), Waiting(Wait),
//! #   Outcome(OutcomeReport), Timeout }
//! # struct Io; impl Io {
//! #   fn publish(&self, _: Arc<Picker<Connection>>) {} fn resolve(&self, _: bool) {}
//! #   fn connect(&self, _: ConnectionId, _: Address, _: std::time::Duration) {} fn close(&self, _: ConnectionId, _: bool) {}
//! #   fn next(&self, _: Option<Instant>) -> Option<Event> { None } }
//! # let (io, now) = (Io, Instant::now);
//! let mut balancer = Balancer::new(BalancerConfig::new(Policy::RoundRobin), Rng::new(7, 1), now());
//! balancer.handle_call(now()); // connect now; without it, with the first call
//! loop {
//!     while let Some(action) = balancer.poll_action() {
//!         match action {
//!             Action::UpdatePicker(picker) => io.publish(picker), // swap the `Arc`, wake the queued calls
//!             Action::Connect { connection, address, timeout, .. } => io.connect(connection, address, timeout),
//!             Action::Close { connection, graceful } => io.close(connection, graceful),
//!             Action::RequestResolution { at_once } => io.resolve(at_once),
//!             _ => {}
//!         }
//!     }
//!     let Some(event) = io.next(balancer.poll_timeout()) else { break };
//!     match event {
//!         Event::Resolved(answer) => balancer.handle_resolution(now(), answer),
//!         Event::Connected(id, connection) => balancer.handle_connected(now(), id, connection),
//!         Event::ConnectFailed(id, error) => balancer.handle_connect_failed(now(), id, error),
//!         Event::GoingAway(id) => balancer.handle_going_away(now(), id),
//!         Event::Closed(id, error) => balancer.handle_closed(now(), id, error),
//!         Event::Waiting(Wait::Idle) => balancer.handle_call(now()),
//!         Event::Waiting(Wait::Full(endpoint)) => balancer.handle_full(now(), endpoint),
//!         Event::Waiting(Wait::Connecting) => {}
//!         Event::Outcome(report) => balancer.handle_outcome(now(), report), // what a `Lease` said at its end
//!         Event::Timeout => balancer.handle_timeout(now()),
//!     }
//! }
//! ```

mod action;
mod adopt;
mod config;
mod connect_budget;
mod connections;
mod descriptors;
pub(crate) mod ejection;
mod health;
pub(crate) mod judge;
mod lookup_wait;
mod out_of_band;
mod plan;
mod probe;
mod publish;
mod staleness;
mod state;
mod subset;
mod succession;
mod suspect;
mod walk;
mod weight_update;
pub(crate) mod weights;
mod zone;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Instant;

pub use action::Action;
pub use config::{BalancerConfig, ChoiceCount, InvalidChoiceCountError};
use connect_budget::ConnectBudget;
use descriptors::Descriptors;
pub use ejection::{CountsByCause, Ejection, EjectionCause, EjectionConfig, EjectionCounts};
use judge::Judge;
use lookup_wait::LookupWait;
pub use out_of_band::ReportSink;
use probe::Probe;
use staleness::Staleness;
pub use state::{ChannelState, ConnectivityState, EndpointState};
use walk::Walk;
pub use weight_update::WeightUpdate;
pub use weights::{SlowStartConfig, WeightedConfig};
pub use zone::ZonePreference;

use crate::client::picker::lease::{LoadTracking, Measure, Slot};
use crate::client::picker::{Picker, Policy};
use crate::client::subchannel::{Connection, Phase, Subchannel};
use crate::connection_id::ConnectionId;
use crate::endpoint::{Endpoint, EndpointId, EndpointSet};
use crate::ewma::EwmaDecay;
use crate::rng::Rng;

/// Why a resolution failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ResolutionError(pub String);

/// The control plane of one channel. `C` is the driver's handle on a connection, which leases hand to calls.
///
/// Every `handle_*` takes the current time; time must not go backwards. Reports about connections that the balancer
/// has forgotten are ignored, so a driver need not worry about events that have crossed an [`Action::Close`].
#[derive(Debug)]
pub struct Balancer<C> {
    config: BalancerConfig,
    rng: Rng,
    endpoints: EndpointSet,
    /// The resolver's last set, while endpoints of the one before still serve in its stead.
    incoming: Option<Vec<Endpoint>>,
    staleness: Staleness,
    /// One per listed endpoint, and one per former endpoint that has open connections.
    subchannels: BTreeMap<EndpointId, Subchannel<C>>,
    /// Whose every known connection and attempt is.
    owners: BTreeMap<ConnectionId, EndpointId>,
    last_connection: u64,
    budget: ConnectBudget,
    walk: Walk,
    judge: Judge,
    next_weighing: Option<Instant>,
    /// Until somebody takes it.
    weight_update: Option<WeightUpdate>,
    subset_seed: Option<u64>,
    /// Endpoints that the resolver named and the subset does not have.
    left_out: usize,
    /// Of these, whether the default bound left them out, and not a subset that was asked for.
    reported_bound: bool,
    lookup_wait: LookupWait,
    descriptors: Descriptors,
    probe: Probe,
    decay: EwmaDecay,
    turn: Arc<AtomicU32>,
    last_picked: Option<EndpointId>,
    /// No call has asked for a connection since the beginning, or since the last one was lost (`pick_first`).
    idle: bool,
    resolution_error: Option<Arc<str>>,
    /// The resolver was asked at once, and has not answered.
    asked_at_once: bool,
    resolution_wanted: Option<bool>,
    actions: VecDeque<Action<C>>,
    published: Arc<Picker<C>>,
    published_state: ConnectivityState,
    /// The published picker is not what it should be.
    outdated: bool,
    wake: Option<Instant>,
}

impl<C> Balancer<C> {
    /// A balancer that is idle and knows no endpoint. Calls should find [`Picker::idle`] until the first
    /// [`Action::UpdatePicker`].
    pub fn new(config: BalancerConfig, mut rng: Rng, now: Instant) -> Self {
        let decay = EwmaDecay::new(now, config.latency_decay);
        let turn = Arc::new(AtomicU32::new(rng.next_u64() as u32));
        Self {
            budget: ConnectBudget::new(&config),
            config,
            rng,
            endpoints: EndpointSet::new(),
            incoming: None,
            staleness: Staleness::default(),
            subchannels: BTreeMap::new(),
            owners: BTreeMap::new(),
            last_connection: 0,
            walk: Walk::default(),
            judge: Judge::default(),
            next_weighing: None,
            weight_update: None,
            subset_seed: None,
            left_out: 0,
            reported_bound: false,
            lookup_wait: LookupWait::default(),
            descriptors: Descriptors::default(),
            probe: Probe::default(),
            decay,
            turn,
            last_picked: None,
            idle: true,
            resolution_error: None,
            asked_at_once: false,
            resolution_wanted: None,
            actions: VecDeque::new(),
            published: Arc::new(Picker::idle()),
            published_state: ConnectivityState::Idle,
            outdated: false,
            wake: None,
        }
    }

    /// A call wants to be sent, or the user wants the channel connected: leaves idle.
    ///
    /// What the resolver said last stays known, an error too. It may never say it again.
    pub fn handle_call(&mut self, now: Instant) {
        if !self.idle {
            return;
        }
        self.idle = false;
        self.lookup_wait.rearm();
        if self.endpoints.is_empty() {
            self.request_resolution(false);
        }
        self.settle(now);
    }

    /// The resolver has answered. An error or an empty set leaves the last good set in place; the resolver tries again
    /// by its own rules.
    pub fn handle_resolution(&mut self, now: Instant, answer: Result<Vec<Endpoint>, ResolutionError>) {
        match answer {
            Ok(full) if !full.is_empty() => {
                self.answered();
                self.staleness.resolved(now);
                self.resolution_error = None;
                self.succeed_with(full);
            }
            Ok(_) => {
                let reason = "the resolver found no endpoint".to_owned();
                return self.handle_gone(now, ResolutionError(reason));
            }
            Err(ResolutionError(error)) => {
                self.answered();
                self.staleness.failed();
                self.resolution_error = Some(error.into());
            }
        }
        self.settle(now);
    }

    /// A connection is made, with its HTTP/2 handshake done.
    pub fn handle_connected(&mut self, now: Instant, id: ConnectionId, connection: C) {
        let Some(&endpoint) = self.owners.get(&id) else {
            // It crossed the `Close` that abandoned it.
            self.actions.push_back(Action::Close { connection: id, graceful: false });
            return;
        };
        let tracking = self.tracking();
        let Some(subchannel) = self.subchannels.get_mut(&endpoint) else { return };
        let Some(attempt) = subchannel.attempt.filter(|attempt| attempt.id == id) else { return };
        if attempt.held_since.is_none() {
            self.budget.end();
        }
        let was_full = subchannel.wants_more;
        let slot = Slot::new(id, endpoint, connection, Arc::clone(&subchannel.load), tracking);
        if !subchannel.is_ready() && (subchannel.failed || subchannel.weight.newcomer) {
            subchannel.weight.begin_slow_start(now);
        }
        subchannel.connected(now, Arc::new(slot));
        if self.config.policy == Policy::PickFirst {
            self.arrive(endpoint, id, was_full);
        }
        self.outdated = true;
        self.settle(now);
    }

    /// An attempt has failed, or has taken longer than it might.
    pub fn handle_connect_failed(&mut self, now: Instant, id: ConnectionId, error: impl Into<Arc<str>>) {
        let Some(&endpoint) = self.owners.get(&id) else { return };
        let Some(subchannel) = self.subchannels.get_mut(&endpoint) else { return };
        let Some(attempt) = subchannel.attempt.filter(|attempt| attempt.id == id) else { return };
        subchannel.attempt_failed(now, &mut self.rng, error.into());
        if attempt.held_since.is_none() {
            self.budget.end();
        }
        self.owners.remove(&id);
        // "Re-resolve on connect failure"; without the resolver's pause, if there is nothing else to try.
        self.request_resolution(self.all_failed());
        self.settle(now);
    }

    /// The first GOAWAY was read on a connection: no new call goes there.
    pub fn handle_going_away(&mut self, now: Instant, id: ConnectionId) {
        let Some(connection) = self.connection_mut(id) else {
            return self.end_attempt(now, id, None);
        };
        if matches!(connection.phase, Phase::Draining { .. }) {
            return;
        }
        self.end_service(now, id);
        self.drain(id);
        self.settle(now);
    }

    /// The server has ended a connection because it was pinged too often (gRFC A8's
    /// `too_many_pings`). Precedes [`handle_going_away`](Self::handle_going_away). Only the next
    /// connections to the same endpoint ping less: another server may permit more, and one that
    /// complains without a reason must not take from all others the PINGs that find a dead peer.
    pub fn handle_too_many_pings(&mut self, id: ConnectionId) {
        if let Some(subchannel) = self.owner_mut(id) {
            subchannel.double_ping_time(id);
        }
    }

    /// Nothing remains of a connection: it was closed, by whichever side, or has broken.
    pub fn handle_closed(&mut self, now: Instant, id: ConnectionId, error: impl Into<Arc<str>>) {
        self.connection_closed(now, id, error.into(), false);
    }

    /// The driver has closed a connection since its server sent too many frames that carry nothing. The next one is made after a
    /// pause, which grows each time, however long the connection had lasted.
    pub fn handle_flooded(&mut self, now: Instant, id: ConnectionId, error: impl Into<Arc<str>>) {
        self.connection_closed(now, id, error.into(), true);
    }

    fn connection_closed(&mut self, now: Instant, id: ConnectionId, error: Arc<str>, flooded: bool) {
        let Some(connection) = self.connection_mut(id) else {
            return self.end_attempt(now, id, Some(error));
        };
        connection.slot.set_limit(0);
        let was_in_service = !matches!(connection.phase, Phase::Draining { .. });
        if was_in_service {
            self.end_service(now, id);
            if let Some(subchannel) = self.owner_mut(id) {
                subchannel.last_error = Some(error);
            }
        }
        if flooded && let Some(&endpoint) = self.owners.get(&id) {
            self.pause_after_flood(now, endpoint);
        }
        self.remove(id);
        let attempting =
            self.listed().any(|subchannel| subchannel.is_ready() || subchannel.attempt.is_some());
        if was_in_service && self.config.policy == Policy::PickFirst && !attempting {
            // "On loss of the connection, pick_first goes IDLE and reconnects on the next call" (gRFC A61).
            self.idle = true;
            self.walk.rest();
        }
        self.settle(now);
    }

    /// A call found every connection full ([`Wait::Full`](crate::Wait::Full)): another one to `endpoint` is made, up to the
    /// configured number, one at a time (gRFC A105).
    pub fn handle_full(&mut self, now: Instant, endpoint: EndpointId) {
        let Some(subchannel) = self.subchannels.get_mut(&endpoint) else { return };
        if subchannel.wants_more || subchannel.attempt.is_some() {
            return;
        }
        let serving = subchannel.serving().count();
        let may_grow = (1..self.config.connections_per_endpoint.get() as usize).contains(&serving);
        // It may be outdated: since that pick a call may have ended, or a connection been added.
        if subchannel.listed && !subchannel.leaving && may_grow && subchannel.is_full() {
            subchannel.wants_more = true;
            self.settle(now);
        }
    }

    /// The peer's SETTINGS_MAX_CONCURRENT_STREAMS for a connection; without it, there is no limit. The driver wakes calls that
    /// wait for room.
    pub fn handle_stream_limit(&mut self, id: ConnectionId, limit: u32) {
        let takes_calls =
            |connection: &&mut Connection<C>| !matches!(connection.phase, Phase::Draining { .. });
        if let Some(connection) = self.connection_mut(id).filter(takes_calls) {
            connection.slot.set_limit(limit);
        }
    }

    /// No call was made for as long as the user allows a channel to stay connected: lets everything go.
    pub fn handle_idle(&mut self, now: Instant) {
        self.idle = true;
        self.walk.rest();
        for endpoint in self.subchannels.keys().copied().collect::<Vec<_>>() {
            self.let_go(endpoint);
        }
        self.settle(now);
    }

    /// The time of [`poll_timeout`](Self::poll_timeout) has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.settle(now);
    }

    /// The next thing to do, until `None`.
    pub fn poll_action(&mut self) -> Option<Action<C>> {
        if self.outdated {
            self.outdated = false;
            self.published = Arc::new(self.make_picker());
            self.published_state = self.connectivity();
            return Some(Action::UpdatePicker(Arc::clone(&self.published)));
        }
        if let Some(at_once) = self.resolution_wanted.take() {
            return Some(Action::RequestResolution { at_once });
        }
        self.actions.pop_front()
    }

    /// When to call [`handle_timeout`](Self::handle_timeout). Changes with every event.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.wake
    }

    /// Ends every event: plans, and sees whether the picker is still right.
    fn settle(&mut self, now: Instant) {
        self.proceed();
        self.plan(now);
        self.wait_for_lookup(now);
        self.judge(now);
        let state = self.connectivity();
        // In TRANSIENT_FAILURE the picker carries the errors, which any event may have changed.
        if state != self.published_state || state == ConnectivityState::TransientFailure {
            self.outdated = true;
        }
        self.weigh(now);
    }

    /// Any answer of the resolver ends the wait for one.
    fn answered(&mut self) {
        self.asked_at_once = false;
        self.lookup_wait.answered();
        for subchannel in self.subchannels.values_mut() {
            subchannel.failed_since_resolution = false;
        }
    }

    /// Whether there is nothing else to try that the resolver has named.
    fn all_failed(&self) -> bool {
        self.listed().all(|subchannel| subchannel.failed_since_resolution && !subchannel.is_ready())
    }

    /// At most one request waits to be polled, and none follows an urgent one before the answer.
    fn request_resolution(&mut self, at_once: bool) {
        if self.asked_at_once {
            return;
        }
        self.asked_at_once = at_once;
        self.resolution_wanted = Some(at_once);
    }

    fn tracking(&self) -> LoadTracking {
        let Self { config, decay, .. } = self;
        let measure = Measure { decay: *decay, failure_penalty: config.failure_penalty };
        let breaker = config.ejection.consecutive_failures;
        let reports = self.rule_for_calls();
        let all = LoadTracking { breaker, ..LoadTracking::default() };
        match config.policy {
            Policy::PickFirst => LoadTracking::default(),
            Policy::RoundRobin => all,
            Policy::LeastRequest => LoadTracking { counts_load: true, ..all },
            Policy::PeakEwma => LoadTracking { counts_load: true, measure: Some(measure), ..all },
            Policy::WeightedRoundRobin => LoadTracking { reports, ..all },
        }
    }

    fn listed(&self) -> impl Iterator<Item = &Subchannel<C>> {
        self.subchannels.values().filter(|subchannel| subchannel.listed)
    }
}
