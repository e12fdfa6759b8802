//! The state of a channel as data, for people and for tests.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::outlier_detection::Ejection;
use crate::client::connectivity::ConnectivityState;
use crate::client::picker::Policy;
use crate::client::subchannel::{Subchannel, SubchannelState};
use crate::endpoint::{Address, EndpointId};

/// A channel at one moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ChannelState {
    /// What it is doing.
    pub connectivity: ConnectivityState,
    /// How it picks.
    pub policy: Policy,
    /// Its endpoints, and those that have left but still finish calls, in the order of their ids.
    pub endpoints: Vec<EndpointState>,
    /// How many more the resolver named that the channel does not use:
    /// [`subset_size`](crate::BalancerConfig::subset_size) or
    /// [`endpoints_max`](crate::BalancerConfig::endpoints_max) leaves them out.
    pub endpoints_left_out: usize,
    /// Why the last resolution failed, if it did.
    pub resolution_error: Option<Arc<str>>,
    /// Resolutions that have failed or found no endpoint since the last good one.
    pub resolution_failures: u32,
    /// When the resolver last named endpoints: [`resolution_age`](Self::resolution_age).
    pub resolved_at: Option<Instant>,
    /// Where the endpoints came from, in words: as the resolver calls it, if it does. A resolver
    /// that has more than one source says here which one it uses, and why not the other.
    pub resolved_by: Option<Arc<str>>,
}

/// An endpoint at one moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct EndpointState {
    /// Its id.
    pub id: EndpointId,
    /// Where it listens.
    pub address: Address,
    /// What it is doing.
    pub state: SubchannelState,
    /// Why its last connection or attempt ended.
    pub last_error: Option<Arc<str>>,
    /// Calls on it, over all its connections.
    pub calls_in_flight: usize,
    /// Open connections that take new calls.
    pub connections_serving: usize,
    /// Open connections that have fallen silent, and take new calls only while nothing else does.
    pub connections_silent: usize,
    /// Open connections whose server says that it does not serve, and that take no new calls.
    pub connections_unhealthy: usize,
    /// Open connections that do not: replaced, or told to go away.
    pub connections_draining: usize,
    /// Set while it is ejected or on probation, also if a panic lets calls go there all the same.
    pub ejection: Option<Ejection>,
    /// The zone it runs in, if the resolver knows.
    pub zone: Option<Arc<str>>,
    /// Its share relative to its peers', where shares are not equal: by slow start, by zone, or in
    /// `weighted_round_robin`. 0 while the client's zone has no need of it.
    pub weight: f32,
    /// Calls in a row that failed, up to now.
    pub consecutive_failures: u32,
    /// Calls so far that succeeded, as far as the endpoint is concerned.
    pub successes: u64,
    /// Calls so far that failed.
    pub failures: u64,
}

impl ChannelState {
    /// How long ago the resolver last named endpoints, if it ever has. With DNS it stays below the
    /// poll ceiling while all is well; a fixed list answers once.
    pub fn resolution_age(&self, now: Instant) -> Option<Duration> {
        self.resolved_at.map(|at| now.saturating_duration_since(at))
    }
}

impl EndpointState {
    /// `at_rest` says that the channel needs no connection to it for now.
    pub(super) fn new<C>(
        subchannel: &Subchannel<C>,
        at_rest: bool,
        ejection: Option<Ejection>,
        weight: f32,
    ) -> Self {
        let outcomes = &subchannel.load.outcomes;
        Self {
            id: subchannel.id,
            address: subchannel.address.clone(),
            state: subchannel.state(at_rest),
            last_error: subchannel.last_error.clone(),
            calls_in_flight: subchannel.calls_in_flight(),
            connections_serving: subchannel.serving().count(),
            connections_silent: subchannel.suspects().count(),
            connections_unhealthy: subchannel.unhealthy(),
            connections_draining: subchannel.connections.iter().filter(|one| one.is_draining()).count(),
            ejection,
            zone: subchannel.zone.clone(),
            weight,
            consecutive_failures: outcomes.consecutive_failures(),
            successes: outcomes.successes(),
            failures: outcomes.failures(),
        }
    }
}
