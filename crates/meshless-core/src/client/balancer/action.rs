//! The actions that the balancer asks of its driver.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::outlier_detection::EjectionCause;
use crate::client::picker::Picker;
use crate::connection_id::ConnectionId;
use crate::endpoint::{Address, EndpointId};

/// An action for the driver.
#[derive(Debug)]
#[non_exhaustive]
#[must_use]
pub enum Action<C> {
    /// Publish this picker, and wake the calls that wait for one. It comes before every other
    /// action of an event, so new calls move before a connection is closed.
    UpdatePicker(Arc<Picker<C>>),
    /// Connect to `address`, within `timeout` for the TCP, TLS and HTTP/2 handshakes together. The
    /// driver answers with `handle_connected` or `handle_connect_failed`, unless a `Close` comes
    /// first.
    Connect {
        /// The id of the connection from now on.
        connection: ConnectionId,
        /// The endpoint of the connection.
        endpoint: EndpointId,
        /// Where to connect.
        address: Address,
        /// How long it may take.
        timeout: Duration,
        /// How many times to double the time between its PINGs. Each connection that this
        /// endpoint's server ended because of too many PINGs adds one
        /// ([`handle_too_many_pings`](crate::Balancer::handle_too_many_pings)).
        ping_doublings: u32,
    },
    /// Close a connection, or abandon the attempt to make it. The driver answers with
    /// `handle_closed` when the connection is gone; an abandoned attempt needs no answer.
    Close {
        /// The connection to close.
        connection: ConnectionId,
        /// If true, its open calls finish first. It gets no new call.
        graceful: bool,
    },
    /// Ask the resolver for the endpoints, for this reason.
    RequestResolution(ResolveHint),
    /// The set of endpoints has changed. For the log only.
    ReportEndpoints {
        /// New endpoints.
        added: Vec<Address>,
        /// Endpoints that are no longer in the set. Their calls finish.
        removed: Vec<Address>,
    },
    /// The resolver has begun to name more endpoints than
    /// [`endpoints_max`](crate::BalancerConfig::endpoints_max) allows. A random subset is used. For
    /// the log only.
    ReportTooManyEndpoints {
        /// How many are used.
        used: usize,
        /// How many are not used.
        left_out: usize,
    },
    /// An endpoint was ejected. For the log only.
    ReportEjected {
        /// The endpoint.
        endpoint: EndpointId,
        /// Where it listens.
        address: Address,
        /// Why it was ejected.
        cause: EjectionCause,
    },
    /// A test call to an ejected endpoint succeeded: the endpoint is used like its peers again. For
    /// the log only.
    ReportRecovered {
        /// The endpoint.
        endpoint: EndpointId,
        /// Where it listens.
        address: Address,
    },
}

/// Why a channel asks its resolver again. Later ones are stronger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum ResolveHint {
    /// A connection was closed, drained or refused: the set may have changed.
    Stale,
    /// Another channel waits for an answer. Only resolvers that share lookups between channels use
    /// this.
    Newcomer,
    /// Every known address failed: no call can succeed before the set changes or a backend comes
    /// back. The resolver's pause between two lookups does not apply.
    AllFailed,
}

/// Actions that the driver has not polled yet. Every part of the balancer adds to them.
#[derive(Debug)]
pub(super) struct Outbox<C> {
    actions: VecDeque<Action<C>>,
    /// True if the published picker is outdated.
    picker_outdated: bool,
}

impl<C> Outbox<C> {
    pub(super) fn push(&mut self, action: Action<C>) {
        self.actions.push_back(action);
    }

    pub(super) fn poll(&mut self) -> Option<Action<C>> {
        self.actions.pop_front()
    }

    /// Marks the published picker as outdated.
    pub(super) fn outdate_picker(&mut self) {
        self.picker_outdated = true;
    }

    pub(super) fn is_picker_outdated(&self) -> bool {
        self.picker_outdated
    }

    /// Returns true, once, if a picker is to be made.
    pub(super) fn take_picker_outdated(&mut self) -> bool {
        std::mem::take(&mut self.picker_outdated)
    }
}

impl<C> Default for Outbox<C> {
    fn default() -> Self {
        Self { actions: VecDeque::new(), picker_outdated: false }
    }
}
