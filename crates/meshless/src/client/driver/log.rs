//! A channel's log for an operator, through `tracing`: important events once; everything else at
//! DEBUG.
//!
//! The loss of an endpoint and its return have the same level, so that a filter shows both or
//! neither. The field `endpoint` names the endpoint of a line. The field `channel` tells channels
//! apart: it is the target, shortened, because an `ipv4:` target may name a thousand addresses.

use std::collections::BTreeSet;
use std::sync::Arc;

use meshless_core::{Address, ConnectionId, EjectionCause};

use crate::client::channel::ChannelShared;
use crate::client::connection::{CloseReason, ConnectError, GoingAway};
use crate::resolver::Resolution;

/// The log of one channel, and the state that it has logged so far.
pub(super) struct ChannelLog {
    shared: Arc<ChannelShared>,
    /// Endpoints that were reported as lost and are not back. All of them are in the set.
    lost: BTreeSet<Address>,
    /// The last logged error of the resolver, if its last result was an error.
    resolution_error: Option<String>,
}

impl ChannelLog {
    pub(super) fn new(shared: Arc<ChannelShared>) -> Self {
        Self { shared, lost: BTreeSet::new(), resolution_error: None }
    }

    fn channel(&self) -> &str {
        &self.shared.label
    }

    pub(super) fn resolved(&mut self, resolution: &Resolution) {
        let channel = self.channel();
        let error = match resolution {
            Ok(endpoints) if endpoints.is_empty() => "there is no endpoint".to_owned(),
            Ok(endpoints) => {
                tracing::debug!(channel, endpoints = endpoints.len(), "resolved");
                if self.resolution_error.take().is_some() {
                    tracing::warn!(channel = self.channel(), "resolution succeeds again");
                }
                return;
            }
            Err(error) => error.to_string(),
        };
        if self.resolution_error.as_ref() == Some(&error) {
            tracing::debug!(channel, error, "resolution still fails");
        } else {
            tracing::warn!(channel, error, "resolution failed; the last good set stays");
            self.resolution_error = Some(error);
        }
    }

    /// The set of endpoints that are in use has changed.
    pub(super) fn endpoints_changed(&mut self, added: &[Address], removed: &[Address]) {
        for endpoint in removed {
            self.lost.remove(endpoint);
        }
        let channel = self.channel();
        if added.len() + removed.len() > CHANGES_NAMED_MAX {
            tracing::info!(channel, added = added.len(), removed = removed.len(), "endpoints changed");
            for endpoint in added {
                tracing::debug!(channel, %endpoint, "endpoint added");
            }
            for endpoint in removed {
                tracing::debug!(channel, %endpoint, "endpoint removed; its calls finish");
            }
            return;
        }
        for endpoint in added {
            tracing::info!(channel, %endpoint, "endpoint added");
        }
        for endpoint in removed {
            tracing::info!(channel, %endpoint, "endpoint removed; its calls finish");
        }
    }

    pub(super) fn connecting(&self, connection: ConnectionId, endpoint: &Address) {
        tracing::trace!(channel = self.channel(), %connection, %endpoint, "connecting");
    }

    pub(super) fn connected(&self, connection: ConnectionId, endpoint: &Address) {
        tracing::debug!(channel = self.channel(), %connection, %endpoint, "connected");
    }

    pub(super) fn health(&self, connection: ConnectionId, endpoint: &Address, health: &Result<(), String>) {
        tracing::debug!(channel = self.channel(), %connection, %endpoint, ?health, "health");
    }

    /// Calls can no longer go to the endpoint.
    pub(super) fn lost(&mut self, connection: ConnectionId, endpoint: &Address, error: &str) {
        if self.lost.insert(endpoint.clone()) {
            tracing::info!(channel = self.channel(), %connection, %endpoint, error, "endpoint lost");
        } else {
            tracing::debug!(channel = self.channel(), %connection, %endpoint, error, "endpoint still lost");
        }
    }

    /// Calls can go to the endpoint again.
    pub(super) fn serves(&mut self, connection: ConnectionId, endpoint: &Address) {
        if self.lost.remove(endpoint) {
            tracing::info!(channel = self.channel(), %connection, %endpoint, "endpoint is back");
        }
    }

    pub(super) fn out_of_descriptors(&self, endpoint: &Address, error: &ConnectError) {
        tracing::warn!(
            channel = self.channel(), %endpoint, %error,
            "no file descriptor left: connects pause; raise the limit of open files (ulimit -n)"
        );
    }

    pub(super) fn going_away(&self, connection: ConnectionId, endpoint: &Address, reason: &GoingAway) {
        tracing::debug!(channel = self.channel(), %connection, %endpoint, ?reason, "going away");
        if let GoingAway::Server { too_many_pings: true, .. } = reason {
            tracing::warn!(
                channel = self.channel(), %connection, %endpoint,
                "a server was pinged too often: the time between PINGs to it is doubled"
            );
        }
    }

    pub(super) fn silent(&self, connection: ConnectionId, endpoint: &Address, silent: bool) {
        let said = match silent {
            true => "a connection is silent: new calls go elsewhere",
            false => "a connection is silent no longer",
        };
        tracing::info!(channel = self.channel(), %connection, %endpoint, "{said}");
    }

    pub(super) fn closed(&self, connection: ConnectionId, endpoint: &Address, reason: &CloseReason) {
        if reason.is_flood() {
            tracing::warn!(
                channel = self.channel(), %connection, %endpoint, %reason,
                "closed, and connected again after a pause"
            );
        } else {
            tracing::debug!(channel = self.channel(), %connection, %endpoint, %reason, "closed");
        }
    }

    pub(super) fn ejected(&self, endpoint: &Address, cause: &EjectionCause) {
        tracing::warn!(channel = self.channel(), %endpoint, %cause, "endpoint ejected");
    }

    pub(super) fn recovered(&self, endpoint: &Address) {
        tracing::warn!(channel = self.channel(), %endpoint, "endpoint is ejected no longer");
    }

    pub(super) fn too_many_endpoints(&self, used: usize, left_out: usize) {
        tracing::warn!(
            channel = self.channel(),
            used,
            left_out,
            "more endpoints than this channel may connect to; a random subset is used; set endpoints_max and the limit of open files, or subset_size"
        );
    }

    pub(super) fn idle(&self) {
        tracing::debug!(channel = self.channel(), "idle: letting the connections go");
    }

    pub(super) fn panicked(&self, panic: &str) {
        tracing::error!(
            channel = self.channel(),
            panic,
            "the channel's task panicked: the channel has ended"
        );
    }
}

/// How many changes of the set of endpoints have their own line at INFO. More are counted in one
/// line.
const CHANGES_NAMED_MAX: usize = 3;
