//! What the balancer asks of its driver.

use std::sync::Arc;
use std::time::Duration;

use super::ejection::EjectionCause;
use crate::client::picker::Picker;
use crate::connection_id::ConnectionId;
use crate::endpoint::{Address, EndpointId};

/// Something for the driver to do.
#[derive(Debug)]
#[non_exhaustive]
#[must_use]
pub enum Action<C> {
    /// Publish this picker, and wake the calls that wait for one. Precedes every other action of an event, so that
    /// new calls have moved before a connection is closed.
    UpdatePicker(Arc<Picker<C>>),
    /// Connect to `address`, within `timeout` for the TCP, TLS and HTTP/2 handshakes together. Answered by
    /// `handle_connected` or `handle_connect_failed`, unless a `Close` comes first.
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
    /// Close a connection, or abandon the attempt to make it. Answered by `handle_closed` once nothing of it
    /// remains; an abandoned attempt needs no answer.
    Close {
        /// Which one.
        connection: ConnectionId,
        /// Whether its open calls are to be finished first. No new one will be placed on it.
        graceful: bool,
    },
    /// Ask the resolver for the endpoints.
    RequestResolution {
        /// Set when every known address fails: the resolver's pause between two questions does not apply.
        at_once: bool,
    },
    /// The resolver has begun to name more endpoints than [`endpoints_max`](crate::BalancerConfig::endpoints_max) allows.
    /// A random subset is used. Something to tell people: nothing needs to be done.
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
    /// The call that tried an ejected endpoint again succeeded, and it is used like its peers. Likewise.
    ReportRecovered {
        /// Which one.
        endpoint: EndpointId,
        /// Where it listens.
        address: Address,
    },
}
