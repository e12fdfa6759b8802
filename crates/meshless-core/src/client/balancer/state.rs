//! The state of a channel as data, for people and for tests.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::outlier_detection::Ejection;
use crate::client::connectivity::ConnectivityState;
use crate::client::picker::Policy;
use crate::client::subchannel::{Subchannel, SubchannelState};
use crate::endpoint::{Address, EndpointId};

/// The state of a channel at one moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ChannelState {
    /// The channel's connectivity.
    pub connectivity: ConnectivityState,
    /// The policy in use.
    pub policy: Policy,
    /// Its endpoints in the order of their ids, with former ones that still finish calls.
    pub endpoints: Vec<EndpointState>,
    /// How many endpoints of the resolver the channel does not use.
    /// [`subset_size`](crate::BalancerConfig::subset_size) or
    /// [`endpoints_max`](crate::BalancerConfig::endpoints_max) leaves them out.
    pub endpoints_left_out: usize,
    /// The error of the last resolution, if it failed.
    pub resolution_error: Option<Arc<str>>,
    /// Resolutions since the last good one that failed or found no endpoint.
    pub resolution_failures: u32,
    /// When the resolver last named endpoints. See [`resolution_age`](Self::resolution_age).
    pub resolved_at: Option<Instant>,
    /// The source of the endpoints, in the resolver's words, if it gives any. A resolver with
    /// several sources says here which one it uses, and why not the other.
    pub resolved_by: Option<Arc<str>>,
}

/// The state of an endpoint at one moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct EndpointState {
    /// Its id.
    pub id: EndpointId,
    /// Where it listens.
    pub address: Address,
    /// The subchannel's state.
    pub state: SubchannelState,
    /// Why its last connection or attempt ended.
    pub last_error: Option<Arc<str>>,
    /// Calls on it, over all its connections.
    pub calls_in_flight: usize,
    /// Open connections that take new calls.
    pub connections_serving: usize,
    /// Open connections that are silent. They take new calls only if no other connection does.
    pub connections_silent: usize,
    /// Open connections whose server reports that it does not serve. They take no new calls.
    pub connections_unhealthy: usize,
    /// Open connections that were replaced or told to go away. They take no new calls.
    pub connections_draining: usize,
    /// Set while it is ejected or on probation, also if it gets calls in a panic.
    pub ejection: Option<Ejection>,
    /// The zone it runs in, if the resolver knows.
    pub zone: Option<Arc<str>>,
    /// Its share relative to its peers. Shares differ by slow start, by zone, or in
    /// `weighted_round_robin`. 0 while the client's zone does not need it.
    pub weight: f32,
    /// Consecutive calls that failed, up to now.
    pub consecutive_failures: u32,
    /// Calls so far that succeeded, from the endpoint's point of view.
    pub successes: u64,
    /// Calls so far that failed.
    pub failures: u64,
}

impl ChannelState {
    /// Returns how long ago the resolver last named endpoints, if ever. With DNS it stays below the
    /// poll ceiling while all is well; a fixed list answers once.
    pub fn resolution_age(&self, now: Instant) -> Option<Duration> {
        self.resolved_at.map(|at| now.saturating_duration_since(at))
    }
}

impl EndpointState {
    /// `at_rest` is true if the channel needs no connection to it for now.
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
