//! Which endpoints of a Service a channel uses: the rules of kube-proxy, applied to the slices by
//! the client itself.
//!
//! In this order: the wanted port; one address family for each pod; pods that are ready, or if
//! there are none those that are going but still answer (KEP-1669); of those that are ready the
//! ones hinted for the client's zone, if there are any. Pure: called by the resolver for each
//! snapshot of the table. An endpoint that is not chosen is drained by the balancer, which lets its
//! streams finish.
//!
//! The controller writes the slices of a Service one after the other, so for a moment two of them
//! disagree: about a pod that moves between them, or about one that is in a slice for each family.
//! Nothing says which is the newer. What is true of a pod then follows from all its entries: it is
//! ending if one says so, since no pod comes back from that; else it is ready if one says so.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use super::endpoint_slice::{
    EndpointCondition, EndpointIdentity, EndpointSlice, Fitness, SliceEndpoint, SlicePort,
};
use crate::endpoint::Endpoint;

/// What a channel wants of a Service.
#[derive(Clone, Copy, Debug)]
pub struct EndpointChoice<'a> {
    /// The port of its pods.
    pub port: &'a KubernetesPort,
    /// Which address of a pod that has several.
    pub addresses: AddressPreference,
    /// The zone that the client runs in, if it is known.
    pub zone: Option<&'a str>,
}

/// Which port of a Service's pods to connect to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum KubernetesPort {
    /// The number that the pods listen on: a Service's `targetPort`, not its `port`. Its
    /// EndpointSlices must list it.
    Number(u16),
    /// The name that the Service gives to its port. Each pod's own number is looked up, so a
    /// rollout may change it.
    Name(String),
}

impl fmt::Display for KubernetesPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Name(name) => name.fmt(f),
        }
    }
}

/// Which address of a pod with several is used. A pod is one endpoint however many it has: what DNS
/// cannot tell, slices do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AddressPreference {
    /// IPv4 where a pod has it, else IPv6.
    #[default]
    Ipv4First,
    /// IPv6 where a pod has it, else IPv4.
    Ipv6First,
    /// Pods without IPv4 are left out.
    Ipv4Only,
    /// Pods without IPv6 are left out.
    Ipv6Only,
}

/// Why a Service has no endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoEndpoint {
    /// There is no slice.
    NoSlice,
    /// No slice has the port. What they have, as `name (number)`.
    NoSuchPort {
        /// At most ten of them.
        listed: Vec<String>,
    },
    /// None can take calls.
    NoneReady {
        /// How many endpoints there are.
        listed: usize,
    },
}

impl EndpointChoice<'_> {
    /// The endpoints in the order of their addresses, each once.
    ///
    /// # Errors
    /// If there is none: why.
    pub fn of<'s>(
        self,
        slices: impl IntoIterator<Item = &'s EndpointSlice> + Clone,
    ) -> Result<Vec<Endpoint>, NoEndpoint> {
        let mut pods: BTreeMap<(&EndpointIdentity, u16), Pod<'s>> = BTreeMap::new();
        let mut port_found = false;
        let any_lists_ports = slices.clone().into_iter().any(|slice| !slice.ports.is_empty());
        for slice in slices.clone() {
            let Some(port) = self.port_in(slice, any_lists_ports) else { continue };
            port_found = true;
            for endpoint in &slice.endpoints {
                pods.entry((&endpoint.identity, port)).or_default().add(endpoint);
            }
        }
        if !port_found {
            return Err(no_port(slices));
        }
        // Two pods have the same address while a slice still lists the one that had it before.
        let mut candidates: BTreeMap<SocketAddr, Merged<'s>> = BTreeMap::new();
        for ((_, port), pod) in pods {
            for (ip, merged) in pod.preferred(self.addresses) {
                candidates.entry(SocketAddr::new(ip, port)).or_default().absorb(merged);
            }
        }
        let fittest = candidates.values().map(|candidate| candidate.fitness()).max();
        let Some(fitness) = fittest.filter(|fitness| *fitness != Fitness::Unfit) else {
            return Err(NoEndpoint::NoneReady { listed: candidates.len() });
        };
        candidates.retain(|_, candidate| candidate.fitness() == fitness);
        // As in kube-proxy, the last resort takes every pod that still answers, wherever it is.
        let by_hints = fitness == Fitness::Ready && self.keep_hinted(&mut candidates);
        Ok(candidates
            .into_iter()
            .map(|(address, candidate)| match candidate.zone {
                // Hints may lend a zone the endpoints of another. A preference for the zone would
                // undo that.
                Some(zone) if !by_hints => Endpoint::new(address).with_zone(zone),
                _ => Endpoint::new(address),
            })
            .collect())
    }

    fn port_in(self, slice: &EndpointSlice, any_lists_ports: bool) -> Option<u16> {
        match self.port {
            KubernetesPort::Name(wanted) => {
                slice.ports.iter().filter(|port| port.name == *wanted).find_map(|port| port.number)
            }
            KubernetesPort::Number(wanted) => {
                // A headless Service may leave its ports out; its pods then listen on what the user
                // says. But where other slices have ports, one without is of pods that lack the
                // ports which the Service names.
                let open = slice.ports.is_empty() && !any_lists_ports;
                let listed =
                    open || slice.ports.iter().any(|port| port.number.is_none_or(|number| number == *wanted));
                listed.then_some(*wanted)
            }
        }
    }

    /// kube-proxy's rule: hints count if every endpoint has one, which they have not while they are
    /// being rolled out or taken back, and if they leave this zone something. Says whether they
    /// counted.
    fn keep_hinted(self, candidates: &mut BTreeMap<SocketAddr, Merged<'_>>) -> bool {
        let Some(zone) = self.zone else { return false };
        let all_hinted = candidates.values().all(|candidate| !candidate.hinted_zones.is_empty());
        let any_here = candidates.values().any(|candidate| candidate.hinted_zones.contains(zone));
        let count = all_hinted && any_here;
        if count {
            candidates.retain(|_, candidate| candidate.hinted_zones.contains(zone));
        }
        count
    }
}

/// One pod, joined from all slices.
#[derive(Debug, Default)]
struct Pod<'s> {
    addresses: BTreeMap<IpAddr, Merged<'s>>,
    fitness: Option<Fitness>,
    is_ending: bool,
}

impl<'s> Pod<'s> {
    fn add(&mut self, endpoint: &'s SliceEndpoint) {
        let EndpointCondition { fitness, is_ending } = endpoint.condition;
        // Only a uid is never used again; the next pod may have the same host name or address.
        let is_ending = is_ending && matches!(endpoint.identity, EndpointIdentity::Uid(_));
        self.fitness = match (self.is_ending, is_ending) {
            // Entries from before the end are out of date.
            (true, false) => self.fitness,
            (false, true) => Some(fitness),
            _ => self.fitness.max(Some(fitness)),
        };
        self.is_ending |= is_ending;
        self.addresses.entry(endpoint.ip).or_default().absorb(Merged {
            fitness: None,
            zone: endpoint.zone.as_deref(),
            hinted_zones: endpoint.hinted_zones.iter().map(String::as_str).collect(),
        });
    }

    /// Its addresses of one family, so that a pod with both is one endpoint. They are as fit as the
    /// pod: a slice of one family that lags behind is no reason to use a pod that is ending, or not
    /// to use one that is ready.
    fn preferred(mut self, preference: AddressPreference) -> BTreeMap<IpAddr, Merged<'s>> {
        let has_both =
            self.addresses.keys().any(IpAddr::is_ipv4) && self.addresses.keys().any(IpAddr::is_ipv6);
        self.addresses.retain(|ip, _| match preference {
            AddressPreference::Ipv4Only => ip.is_ipv4(),
            AddressPreference::Ipv6Only => ip.is_ipv6(),
            AddressPreference::Ipv4First => !has_both || ip.is_ipv4(),
            AddressPreference::Ipv6First => !has_both || ip.is_ipv6(),
        });
        for address in self.addresses.values_mut() {
            address.fitness = self.fitness;
        }
        self.addresses
    }
}

/// An address as all pods and slices that list it have it. The merge must not depend on their
/// order.
#[derive(Debug, Default)]
struct Merged<'s> {
    /// The pod's, once all of its entries are known.
    fitness: Option<Fitness>,
    zone: Option<&'s str>,
    hinted_zones: BTreeSet<&'s str>,
}

impl Merged<'_> {
    /// The fitter pod counts: the other one has had the address before.
    fn absorb(&mut self, other: Self) {
        self.fitness = self.fitness.max(other.fitness);
        self.zone = self.zone.max(other.zone);
        self.hinted_zones.extend(other.hinted_zones);
    }

    fn fitness(&self) -> Fitness {
        self.fitness.unwrap_or(Fitness::Unfit)
    }
}

fn no_port<'s>(slices: impl IntoIterator<Item = &'s EndpointSlice>) -> NoEndpoint {
    let mut any = false;
    let ports: BTreeSet<&SlicePort> =
        slices.into_iter().inspect(|_| any = true).flat_map(|slice| &slice.ports).collect();
    if !any {
        return NoEndpoint::NoSlice;
    }
    let listed =
        ports.into_iter().take(LISTED_PORTS_MAX).map(|port| match (port.name.as_str(), port.number) {
            ("", Some(number)) => number.to_string(),
            (name, Some(number)) => format!("{name} ({number})"),
            (name, None) => format!("{name} (all)"),
        });
    NoEndpoint::NoSuchPort { listed: listed.collect() }
}

/// An error message names no more ports than a reader takes in.
const LISTED_PORTS_MAX: usize = 10;

#[cfg(test)]
mod tests;
