//! A picker's answer to a call.

use std::sync::Arc;

use super::lease::Lease;
use crate::endpoint::EndpointId;

/// A picker's answer to a call.
#[derive(Debug)]
#[must_use]
pub enum Pick<C> {
    /// Send the call on this connection.
    Ready(Lease<C>),
    /// Keep the call until something changes.
    Queue(Wait),
    /// Fail the call with UNAVAILABLE. If it waits for ready, keep it until the next picker.
    Fail(UnavailableError),
}

/// What a queued call waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// The channel is idle. Tell the balancer about the call
    /// ([`Balancer::handle_call`](crate::Balancer::handle_call)), then wait for the next picker.
    Idle,
    /// A connection is being made: wait for the next picker.
    Connecting,
    /// Every connection carries as many streams as it may. Tell the balancer
    /// ([`Balancer::handle_full`](crate::Balancer::handle_full)), then wait for the end of any
    /// call, or for the next picker.
    Full(EndpointId),
}

/// Why no backend can take a call, with the last error of each. Cloning it is cheap.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UnavailableError(pub(crate) Arc<str>);
