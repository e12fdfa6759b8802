//! What the balancer asks of its driver.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::outlier_detection::EjectionCause;
use crate::client::picker::Picker;
use crate::connection_id::ConnectionId;
use crate::endpoint::{Address, EndpointId};

/// Something for the driver to do.
#[derive(Debug)]
#[non_exhaustive]
#[must_use]
pub enum Action<C> {
    /// Publish this picker, and wake the calls that wait for one. Precedes every other action of an
    /// event, so that new calls have moved before a connection is closed.
    UpdatePicker(Arc<Picker<C>>),
    /// Connect to `address`, within `timeout` for the TCP, TLS and HTTP/2 handshakes together.
    /// Answered by `handle_connected` or `handle_connect_failed`, unless a `Close` comes first.
    Connect {
        /// The name of the connection from here on.
        connection: ConnectionId,
        /// Whose connection it is to be.
        endpoint: EndpointId,
        /// Where to connect.
        address: Address,
        /// How long it may take.
        timeout: Duration,
        /// How many times to double the time between PINGs on it: as often as this endpoint's
        /// server has ended a connection for too many of them
        /// ([`handle_too_many_pings`](crate::Balancer::handle_too_many_pings)).
        ping_doublings: u32,
    },
    /// Close a connection, or abandon the attempt to make it. Answered by `handle_closed` once
    /// nothing of it remains; an abandoned attempt needs no answer.
    Close {
        /// Which one.
        connection: ConnectionId,
        /// Whether its open calls are to be finished first. No new one will be placed on it.
        graceful: bool,
    },
    /// Ask the resolver for the endpoints, for this reason.
    RequestResolution(ResolveHint),
    /// The set of endpoints has changed. Something to tell people: nothing needs to be done.
    ReportEndpoints {
        /// Endpoints that are new.
        added: Vec<Address>,
        /// Endpoints that are no longer in the set. Their calls finish.
        removed: Vec<Address>,
    },
    /// The resolver has begun to name more endpoints than
    /// [`endpoints_max`](crate::BalancerConfig::endpoints_max) allows. A random subset is used.
    /// Something to tell people: nothing needs to be done.
    ReportTooManyEndpoints {
        /// How many are used.
        used: usize,
        /// How many are not.
        left_out: usize,
    },
    /// An endpoint was ejected: something to tell people. Nothing needs to be done.
    ReportEjected {
        /// Which one.
        endpoint: EndpointId,
        /// Where it listens.
        address: Address,
        /// Why.
        cause: EjectionCause,
    },
    /// The call that tried an ejected endpoint again succeeded, and it is used like its peers.
    /// Likewise.
    ReportRecovered {
        /// Which one.
        endpoint: EndpointId,
        /// Where it listens.
        address: Address,
    },
}

/// Why a channel asks its resolver for another look. Later ones are stronger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum ResolveHint {
    /// A connection was closed, drained or refused: the set may have changed.
    Stale,
    /// Another channel waits for an answer. Only resolvers whose lookups several channels share
    /// tell each other so.
    Newcomer,
    /// Every known address failed: no call can succeed before the set changes or a backend comes
    /// back. The resolver's pause between two questions does not apply.
    AllFailed,
}

/// What the driver has not polled yet. Every part of the balancer writes it.
#[derive(Debug)]
pub(super) struct Outbox<C> {
    actions: VecDeque<Action<C>>,
    /// The published picker is not what it should be.
    picker_outdated: bool,
}

impl<C> Outbox<C> {
    pub(super) fn push(&mut self, action: Action<C>) {
        self.actions.push_back(action);
    }

    pub(super) fn poll(&mut self) -> Option<Action<C>> {
        self.actions.pop_front()
    }

    /// The next picker differs from the published one.
    pub(super) fn outdate_picker(&mut self) {
        self.picker_outdated = true;
    }

    pub(super) fn is_picker_outdated(&self) -> bool {
        self.picker_outdated
    }

    /// Returns true if a picker is to be made, once.
    pub(super) fn take_picker_outdated(&mut self) -> bool {
        std::mem::take(&mut self.picker_outdated)
    }
}

impl<C> Default for Outbox<C> {
    fn default() -> Self {
        Self { actions: VecDeque::new(), picker_outdated: false }
    }
}
