//! An EndpointSlice as far as it matters here: read once when it arrives, with every optional field given its meaning.
//!
//! The watch makes them, the table keeps them, the choice reads them. Nothing here joins slices or decides which
//! endpoints are used.

use std::net::IpAddr;

use k8s_openapi::api::discovery::v1::{Endpoint, EndpointSlice};

/// A group of a Service's endpoints that have their ports in common. All its addresses are of one family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Slice {
    /// Of TCP. Empty if the Service lists none.
    pub(super) ports: Vec<SlicePort>,
    pub(super) endpoints: Vec<SliceEndpoint>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SlicePort {
    /// Empty for the only port of a Service, which needs no name.
    pub(super) name: String,
    /// `None`: "a nil port means all ports".
    pub(super) number: Option<u16>,
}

/// A pod, in one address family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SliceEndpoint {
    pub(super) identity: Identity,
    pub(super) ip: IpAddr,
    pub(super) fitness: Fitness,
    pub(super) zone: Option<String>,
    /// The zones whose clients it is meant for (`hints.forZones`); empty if it has no hint.
    pub(super) hinted_zones: Vec<String>,
}

/// What makes addresses in several slices the same endpoint.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Identity {
    /// The object it stands for, nearly always a pod. A uid is never used again.
    Uid(String),
    /// Node and host name, in slices that people write.
    Host(String, String),
    /// Nothing else is known.
    Address(IpAddr),
}

/// Whether an endpoint gets calls. Later ones are fitter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fitness {
    /// None: it does not pass its readiness probe.
    Unfit,
    /// Only if no endpoint is ready: it is going, and still answers.
    LastResort,
    /// Yes.
    Ready,
}

impl Slice {
    /// What `slice` says. A slice of host names (`FQDN`, deprecated and without semantics) or of a type yet unknown has no
    /// endpoints.
    pub(super) fn read(slice: &EndpointSlice) -> Self {
        let in_family = |ip: &IpAddr| match slice.address_type.as_str() {
            "IPv4" => ip.is_ipv4(),
            "IPv6" => ip.is_ipv6(),
            _ => false,
        };
        let endpoints = slice.endpoints.listed().iter().filter_map(|endpoint| {
            // "These are all assumed to be fungible and clients may choose to only use the first element."
            let mut ips = endpoint.addresses.iter().filter_map(|address| address.parse().ok());
            Some(SliceEndpoint::read(endpoint, ips.find(in_family)?))
        });
        let ports = slice.ports.iter().flatten();
        // "Default is TCP."
        let tcp = ports.filter(|port| port.protocol.as_deref().is_none_or(|protocol| protocol == "TCP"));
        let ports = tcp.filter_map(|port| {
            let number = match port.port {
                None => None,
                Some(number) => Some(u16::try_from(number).ok().filter(|number| *number != 0)?),
            };
            Some(SlicePort { name: port.name.clone().unwrap_or_default(), number })
        });
        Self { ports: ports.collect(), endpoints: endpoints.collect() }
    }
}

/// The list of a slice: an `Option` in newer versions of the API, which the user's binary chooses.
trait Listed {
    fn listed(&self) -> &[Endpoint];
}

impl Listed for Vec<Endpoint> {
    fn listed(&self) -> &[Endpoint] {
        self
    }
}

impl Listed for Option<Vec<Endpoint>> {
    fn listed(&self) -> &[Endpoint] {
        self.as_deref().unwrap_or_default()
    }
}

impl SliceEndpoint {
    fn read(endpoint: &Endpoint, ip: IpAddr) -> Self {
        let uid = endpoint.target_ref.as_ref().and_then(|object| object.uid.clone());
        let identity = match (uid, &endpoint.node_name, &endpoint.hostname) {
            (Some(uid), _, _) => Identity::Uid(uid),
            (None, Some(node), Some(host)) => Identity::Host(node.clone(), host.clone()),
            _ => Identity::Address(ip),
        };
        let conditions = endpoint.conditions.as_ref();
        // "A nil value should be interpreted as true"; serving follows ready, and nothing is terminating unsaid.
        let ready = conditions.and_then(|known| known.ready).unwrap_or(true);
        let serving = conditions.and_then(|known| known.serving).unwrap_or(ready);
        let terminating = conditions.and_then(|known| known.terminating).unwrap_or(false);
        // An endpoint can be ready and terminating only with publishNotReadyAddresses, where the user wants it used.
        let fitness = match (ready, serving && terminating) {
            (true, _) => Fitness::Ready,
            (false, true) => Fitness::LastResort,
            (false, false) => Fitness::Unfit,
        };
        let hints = endpoint.hints.iter().flat_map(|hints| hints.for_zones.iter().flatten());
        Self {
            identity,
            ip,
            fitness,
            zone: endpoint.zone.clone().filter(|zone| !zone.is_empty()),
            hinted_zones: hints.map(|zone| zone.name.clone()).collect(),
        }
    }
}
