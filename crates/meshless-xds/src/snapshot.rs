//! What is known of all services at one moment, as streams read it.
//!
//! The registry makes one after each batch of changes; what has not changed is shared with the one
//! before.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use meshless::resolver::Address;
use meshless_core::{ResourceKind, ResourceState};

use crate::policy::ServicePolicy;
use crate::resources::endpoints::{Assignments, ClientView};
use crate::resources::{Encoded, cluster, listener};

/// All services that are declared or dialled.
#[derive(Clone, Debug, Default)]
pub(crate) struct Snapshot {
    pub(crate) services: BTreeMap<Arc<str>, Arc<Service>>,
}

/// One service.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) listener: Encoded,
    pub(crate) cluster: Encoded,
    pub(crate) availability: Availability,
}

/// What is known of a service.
#[derive(Clone, Debug)]
pub(crate) enum Availability {
    /// Nothing yet, not even that it exists.
    Unknown,
    /// It exists; its endpoints are not known yet.
    Declared,
    /// It does not exist, with a sentence for its clients' developer.
    Missing(Arc<str>),
    /// It exists.
    Known(Arc<Assignments>),
}

impl Service {
    pub(crate) fn new(name: &str, policy: &ServicePolicy, availability: Availability) -> Self {
        Self {
            listener: listener::listener(name, policy),
            cluster: cluster::cluster(name, policy),
            availability,
        }
    }

    /// The same service, in another state.
    pub(crate) fn with(&self, availability: Availability) -> Self {
        Self { listener: self.listener.clone(), cluster: self.cluster.clone(), availability }
    }
}

impl Snapshot {
    /// Whether a resource exists, and the hash of what this client would be sent.
    pub(crate) fn state(
        &self,
        kind: ResourceKind,
        name: &str,
        encoded: impl FnOnce(&Arc<Assignments>) -> Encoded,
    ) -> ResourceState {
        // One that was just asked for is not in here yet.
        let Some(service) = self.services.get(name) else { return ResourceState::Pending };
        match (&service.availability, kind) {
            (Availability::Unknown, _) | (Availability::Declared, ResourceKind::Endpoints) => {
                ResourceState::Pending
            }
            (Availability::Missing(_), _) => ResourceState::Missing,
            (_, ResourceKind::Listener) => ResourceState::Known(service.listener.hash),
            (_, ResourceKind::Cluster) => ResourceState::Known(service.cluster.hash),
            (Availability::Known(assignments), ResourceKind::Endpoints) => {
                ResourceState::Known(encoded(assignments).hash)
            }
            // Routes are in the listener; a client that asks for one means another control plane's.
            (_, ResourceKind::Route) => ResourceState::Missing,
        }
    }

    /// A resource that is known.
    pub(crate) fn resource(
        &self,
        kind: ResourceKind,
        name: &str,
        encoded: impl FnOnce(&Arc<Assignments>) -> Encoded,
    ) -> Option<Encoded> {
        let service = self.services.get(name)?;
        match (kind, &service.availability) {
            (ResourceKind::Listener, _) => Some(service.listener.clone()),
            (ResourceKind::Cluster, _) => Some(service.cluster.clone()),
            (ResourceKind::Endpoints, Availability::Known(assignments)) => Some(encoded(assignments)),
            _ => None,
        }
    }

    /// Why a resource does not exist.
    pub(crate) fn missing(&self, kind: ResourceKind, name: &str) -> Arc<str> {
        match self.services.get(name).map(|service| &service.availability) {
            Some(Availability::Missing(reason)) => Arc::clone(reason),
            _ if kind == ResourceKind::Route => "routes are in the listener".into(),
            _ => "not known here".into(),
        }
    }

    /// The zone of a client by its address, if it is itself an endpoint of some service.
    pub(crate) fn zone_of(&self, ip: IpAddr) -> Option<Arc<str>> {
        let known = self.services.values().filter_map(|service| match &service.availability {
            Availability::Known(assignments) => Some(assignments.endpoints()),
            _ => None,
        });
        let mut same = known.flatten().filter(|endpoint| match endpoint.address {
            Address::Tcp(address) => address.ip() == ip,
            _ => false,
        });
        same.find_map(|endpoint| endpoint.zone.as_deref().map(Arc::from))
    }
}

/// A client as a service sees it.
pub(crate) fn view_of(zone: Option<Arc<str>>, node_id: &str) -> ClientView {
    ClientView { zone, hash: meshless_core::xxh64(node_id.as_bytes(), 0) }
}
