//! The endpoints of a service, as each of its clients is to see them.
//!
//! Clients of one zone are told the same, so that there is one encoding for each zone, made when the
//! first client asks. Only with `subsetSize` is a client told something of its own.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use meshless::Endpoint;
use meshless::resolver::Address as EndpointAddress;
use meshless_core::{ResourceKind, xxh64};

use super::zone::{Demand, Group, groups};
use super::{Encoded, subset};
use crate::policy::{ServicePolicy, ZoneMode};
use crate::proto::endpoint::{
    Address, ClusterLoadAssignment, Endpoint as WireEndpoint, LbEndpoint, Locality, LocalityLbEndpoints,
    SocketAddress,
};
use crate::stats::Stats;

/// What distinguishes one client's view from another's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ClientView {
    pub(crate) zone: Option<Arc<str>>,
    /// Of the node id.
    pub(crate) hash: u64,
}

/// All endpoints of a service at one moment.
#[derive(Debug)]
pub(crate) struct Assignments {
    name: Arc<str>,
    /// By address, each once.
    endpoints: Vec<Endpoint>,
    zones: Vec<Option<String>>,
    hashes: Vec<u64>,
    mode: ZoneMode,
    subset_size: Option<NonZeroUsize>,
    demand: Demand,
    by_zone: Mutex<BTreeMap<Option<Arc<str>>, Encoded>>,
    stats: Arc<Stats>,
}

impl Assignments {
    pub(crate) fn new(
        name: Arc<str>,
        endpoints: Vec<Endpoint>,
        policy: &ServicePolicy,
        demand: Demand,
        stats: Arc<Stats>,
    ) -> Self {
        let endpoints = normalized(endpoints);
        let zones = endpoints.iter().map(|endpoint| endpoint.zone.clone()).collect();
        let hashes =
            endpoints.iter().map(|endpoint| xxh64(endpoint.address.to_string().as_bytes(), 0)).collect();
        Self {
            name,
            endpoints,
            zones,
            hashes,
            mode: policy.zone,
            subset_size: policy.subset_size,
            demand,
            by_zone: Mutex::default(),
            stats,
        }
    }

    pub(crate) fn endpoints(&self) -> &[Endpoint] {
        &self.endpoints
    }

    /// True if every client of a zone is told the same.
    pub(crate) fn is_shared(&self) -> bool {
        self.subset_size.is_none_or(|size| size.get() >= self.endpoints.len())
    }

    /// What this client is told.
    pub(crate) fn encoded(&self, client: &ClientView) -> Encoded {
        let zone = client.zone.clone().filter(|zone| self.knows_zone(zone));
        if !self.is_shared() {
            return self.encode(zone.as_deref(), client.hash);
        }
        let mut by_zone = self.by_zone.lock().unwrap_or_else(PoisonError::into_inner);
        by_zone.entry(zone.clone()).or_insert_with(|| self.encode(zone.as_deref(), 0)).clone()
    }

    /// Bounds what is kept by the zones that endpoints are in: clients may name any.
    fn knows_zone(&self, zone: &str) -> bool {
        self.mode != ZoneMode::Off && self.zones.iter().any(|known| known.as_deref() == Some(zone))
    }

    fn encode(&self, zone: Option<&str>, client: u64) -> Encoded {
        let groups = groups(self.mode, &self.zones, zone, &self.demand);
        let mut weights: BTreeMap<u32, u32> = BTreeMap::new();
        for group in &groups {
            *weights.entry(group.priority).or_default() += group.weight;
        }
        let localities = groups.iter().map(|group| self.locality(group, weights[&group.priority], client));
        let assignment =
            ClusterLoadAssignment { cluster_name: self.name.to_string(), endpoints: localities.collect() };
        self.stats.encodings.fetch_add(1, Ordering::Relaxed);
        Encoded::of(ResourceKind::Endpoints, &assignment)
    }

    fn locality(&self, group: &Group, weight_of_priority: u32, client: u64) -> LocalityLbEndpoints {
        let chosen = match self.subset_size {
            Some(size) => {
                let share =
                    (size.get() as u64 * u64::from(group.weight)).div_ceil(u64::from(weight_of_priority));
                let share = usize::try_from(share).unwrap_or(usize::MAX);
                subset::choose(&group.endpoints, &self.hashes, client, share)
            }
            None => group.endpoints.clone(),
        };
        LocalityLbEndpoints {
            locality: Some(Locality { zone: group.zone.clone(), ..Locality::default() }),
            lb_endpoints: chosen.iter().filter_map(|at| wire(&self.endpoints[*at])).collect(),
            load_balancing_weight: Some(group.weight.into()),
            priority: group.priority,
        }
    }
}

/// Sorted, so that equal sets are equal bytes. Clients refuse a set with an address twice, and one
/// of several languages cannot be sent to a Unix socket.
fn normalized(mut endpoints: Vec<Endpoint>) -> Vec<Endpoint> {
    endpoints.retain(|endpoint| matches!(endpoint.address, EndpointAddress::Tcp(_)));
    endpoints.sort_by(|one, other| one.address.cmp(&other.address));
    endpoints.dedup_by(|one, other| one.address == other.address);
    endpoints
}

fn wire(endpoint: &Endpoint) -> Option<LbEndpoint> {
    let EndpointAddress::Tcp(address) = &endpoint.address else { return None };
    let socket_address =
        SocketAddress { address: address.ip().to_string(), port_value: Some(u32::from(address.port())) };
    Some(LbEndpoint {
        endpoint: Some(WireEndpoint { address: Some(Address { socket_address: Some(socket_address) }) }),
        load_balancing_weight: (endpoint.weight > 1).then(|| endpoint.weight.into()),
    })
}
