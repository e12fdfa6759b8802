//! An EndpointSlice as far as it matters here: read once when it arrives, with every optional field
//! given its meaning.
//!
//! The watch makes them, the table keeps them, the choice reads them. Nothing here joins slices or
//! decides which endpoints are used.

use std::net::IpAddr;

use super::object::{Conditions, Endpoint, EndpointSlice};

/// A group of a Service's endpoints that have their ports in common. All its addresses are of one
/// family.
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
    pub(super) condition: Condition,
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

/// What an endpoint's conditions say of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Condition {
    pub(super) fitness: Fitness,
    /// It is going and not ready, from which no pod comes back. (One that is ready and going
    /// belongs to a Service with `publishNotReadyAddresses`, whose user wants it used.)
    pub(super) is_ending: bool,
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
    /// What `slice` says. A slice of host names (`FQDN`, deprecated and without semantics) or of a
    /// type yet unknown has no endpoints.
    pub(super) fn read(slice: &EndpointSlice) -> Self {
        let in_family = |ip: &IpAddr| match slice.address_type.as_deref() {
            Some("IPv4") => ip.is_ipv4(),
            Some("IPv6") => ip.is_ipv6(),
            _ => false,
        };
        let endpoints = slice.endpoints.iter().flatten().filter_map(|endpoint| {
            // "These are all assumed to be fungible and clients may choose to only use the first
            // element."
            let mut ips = endpoint.addresses.iter().flatten().filter_map(|address| address.parse().ok());
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
            let name = port.name.as_deref().unwrap_or_default();
            (name.len() <= NAME_BYTES_MAX).then(|| SlicePort { name: name.to_owned(), number })
        });
        Self { ports: ports.take(PORTS_MAX).collect(), endpoints: endpoints.collect() }
    }
}

impl SliceEndpoint {
    fn read(endpoint: &Endpoint, ip: IpAddr) -> Self {
        let uid = endpoint.target_ref.as_ref().and_then(|object| name(object.uid.as_ref()));
        let identity = match (uid, name(endpoint.node_name.as_ref()), name(endpoint.hostname.as_ref())) {
            (Some(uid), _, _) => Identity::Uid(uid),
            (None, Some(node), Some(host)) => Identity::Host(node, host),
            _ => Identity::Address(ip),
        };
        let zones = endpoint.hints.iter().flat_map(|hints| hints.for_zones.iter().flatten());
        Self {
            identity,
            ip,
            condition: Condition::read(endpoint.conditions.unwrap_or_default()),
            zone: name(endpoint.zone.as_ref()),
            hinted_zones: zones.filter_map(|zone| name(Some(&zone.name))).take(HINTED_ZONES_MAX).collect(),
        }
    }
}

impl Condition {
    fn read(conditions: Conditions) -> Self {
        // "A nil value should be interpreted as true", for both; nothing is terminating unsaid.
        let ready = conditions.ready.unwrap_or(true);
        let serving = conditions.serving.unwrap_or(true);
        let terminating = conditions.terminating.unwrap_or(false);
        let fitness = match (ready, serving && terminating) {
            (true, _) => Fitness::Ready,
            (false, true) => Fitness::LastResort,
            (false, false) => Fitness::Unfit,
        };
        Self { fitness, is_ending: terminating && !ready }
    }
}

/// A name or a uid; `None` for what an API server accepts as neither.
fn name(text: Option<&String>) -> Option<String> {
    text.filter(|text| (1..=NAME_BYTES_MAX).contains(&text.len())).cloned()
}

/// The longest name of anything in Kubernetes is a DNS name (RFC 1123).
const NAME_BYTES_MAX: usize = 253;
/// "Each slice may include a maximum of 100 ports."
const PORTS_MAX: usize = 100;
/// "May contain a maximum of 8 entries."
const HINTED_ZONES_MAX: usize = 8;
