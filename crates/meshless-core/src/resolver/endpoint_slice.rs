//! An EndpointSlice of Kubernetes as far as it matters here: every optional field has been given
//! its meaning.
//!
//! Whoever reads the API server's JSON makes them, the table keeps them, the choice reads them.
//! Nothing here joins slices or decides which endpoints are used.

use std::net::IpAddr;

/// A group of a Service's endpoints that have their ports in common. All its addresses are of one
/// family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointSlice {
    /// Of TCP. Empty if the Service lists none.
    pub(super) ports: Vec<SlicePort>,
    pub(super) endpoints: Vec<SliceEndpoint>,
}

impl EndpointSlice {
    /// A slice with these ports, of which the first 100 count: "each slice may include a maximum of
    /// 100 ports".
    pub fn new(
        ports: impl IntoIterator<Item = SlicePort>,
        endpoints: impl IntoIterator<Item = SliceEndpoint>,
    ) -> Self {
        Self {
            ports: ports.into_iter().take(PORTS_MAX).collect(),
            endpoints: endpoints.into_iter().collect(),
        }
    }

    /// The endpoints that it lists, whatever their conditions.
    pub fn endpoints(&self) -> &[SliceEndpoint] {
        &self.endpoints
    }
}

/// What kind of addresses a slice has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressType {
    /// IPv4 addresses.
    Ipv4,
    /// IPv6 addresses.
    Ipv6,
    /// Host names (`FQDN`, deprecated and without semantics), or a type yet unknown. Such a slice
    /// has no endpoints.
    Other,
}

impl AddressType {
    /// The type that the field `addressType` names.
    pub fn from_name(name: Option<&str>) -> Self {
        match name {
            Some("IPv4") => Self::Ipv4,
            Some("IPv6") => Self::Ipv6,
            _ => Self::Other,
        }
    }

    /// The address of an endpoint that lists these: "these are all assumed to be fungible and
    /// clients may choose to only use the first element". `None` if none is of this type.
    pub fn first_of<'a>(self, addresses: impl IntoIterator<Item = &'a str>) -> Option<IpAddr> {
        addresses.into_iter().filter_map(|address| address.parse().ok()).find(|ip: &IpAddr| match self {
            Self::Ipv4 => ip.is_ipv4(),
            Self::Ipv6 => ip.is_ipv6(),
            Self::Other => false,
        })
    }
}

/// A TCP port of a slice's endpoints.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SlicePort {
    /// Empty for the only port of a Service, which needs no name.
    pub(super) name: String,
    /// `None`: "a nil port means all ports".
    pub(super) number: Option<u16>,
}

impl SlicePort {
    /// A port as a slice has it. `None` if it is not of TCP ("default is TCP"), or if an API server
    /// would not accept its name or number.
    pub fn new(name: Option<&str>, number: Option<i32>, protocol: Option<&str>) -> Option<Self> {
        let name = name.unwrap_or_default();
        if protocol.is_some_and(|protocol| protocol != "TCP") || name.len() > NAME_BYTES_MAX {
            return None;
        }
        let number = match number {
            None => None,
            Some(number) => Some(u16::try_from(number).ok().filter(|number| *number != 0)?),
        };
        Some(Self { name: name.to_owned(), number })
    }
}

/// A pod, in one address family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SliceEndpoint {
    pub(super) identity: EndpointIdentity,
    pub(super) ip: IpAddr,
    pub(super) condition: EndpointCondition,
    pub(super) zone: Option<String>,
    /// The zones whose clients it is meant for (`hints.forZones`); empty if it has no hint.
    pub(super) hinted_zones: Vec<String>,
}

impl SliceEndpoint {
    /// An endpoint in no known zone, without hints.
    pub fn new(ip: IpAddr, identity: EndpointIdentity, condition: EndpointCondition) -> Self {
        Self { identity, ip, condition, zone: None, hinted_zones: Vec::new() }
    }

    /// It runs in this zone. Ignored if that is no name.
    #[must_use]
    pub fn with_zone(mut self, zone: Option<&str>) -> Self {
        self.zone = name(zone);
        self
    }

    /// It is meant for clients in these zones, of which the first 8 count: "may contain a maximum
    /// of 8 entries".
    #[must_use]
    pub fn with_hinted_zones<'a>(mut self, zones: impl IntoIterator<Item = &'a str>) -> Self {
        let zones = zones.into_iter().filter_map(|zone| name(Some(zone)));
        self.hinted_zones = zones.take(HINTED_ZONES_MAX).collect();
        self
    }
}

/// What makes addresses in several slices the same endpoint.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EndpointIdentity {
    /// The object it stands for, nearly always a pod. A uid is never used again.
    Uid(String),
    /// Node and host name, in slices that people write.
    Host(String, String),
    /// Nothing else is known.
    Address(IpAddr),
}

impl EndpointIdentity {
    /// The most that is known of the endpoint at `ip`.
    pub fn new(uid: Option<&str>, node: Option<&str>, host: Option<&str>, ip: IpAddr) -> Self {
        match (name(uid), name(node), name(host)) {
            (Some(uid), _, _) => Self::Uid(uid),
            (None, Some(node), Some(host)) => Self::Host(node, host),
            _ => Self::Address(ip),
        }
    }
}

/// What an endpoint's conditions say of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndpointCondition {
    pub(super) fitness: Fitness,
    /// It is going and not ready, from which no pod comes back. (One that is ready and going
    /// belongs to a Service with `publishNotReadyAddresses`, whose user wants it used.)
    pub(super) is_ending: bool,
}

impl EndpointCondition {
    /// The conditions as a slice has them. "A nil value should be interpreted as true", for `ready`
    /// and `serving`; nothing is terminating unsaid.
    pub fn new(ready: Option<bool>, serving: Option<bool>, terminating: Option<bool>) -> Self {
        let ready = ready.unwrap_or(true);
        let serving = serving.unwrap_or(true);
        let terminating = terminating.unwrap_or(false);
        let fitness = match (ready, serving && terminating) {
            (true, _) => Fitness::Ready,
            (false, true) => Fitness::LastResort,
            (false, false) => Fitness::Unfit,
        };
        Self { fitness, is_ending: terminating && !ready }
    }
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

/// A name or a uid; `None` for what an API server accepts as neither.
fn name(text: Option<&str>) -> Option<String> {
    text.filter(|text| (1..=NAME_BYTES_MAX).contains(&text.len())).map(str::to_owned)
}

/// The longest name of anything in Kubernetes is a DNS name (RFC 1123).
const NAME_BYTES_MAX: usize = 253;
/// As Kubernetes has it.
const PORTS_MAX: usize = 100;
/// As Kubernetes has it.
const HINTED_ZONES_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_left_out_have_their_meaning() {
        for (ready, serving, terminating, fitness) in [
            (None, None, None, Fitness::Ready),
            (Some(true), Some(true), Some(true), Fitness::Ready),
            (Some(false), None, None, Fitness::Unfit),
            (Some(false), Some(true), None, Fitness::Unfit),
            (Some(false), None, Some(true), Fitness::LastResort),
            (Some(false), Some(false), Some(true), Fitness::Unfit),
            (Some(false), Some(true), Some(true), Fitness::LastResort),
        ] {
            let condition = EndpointCondition::new(ready, serving, terminating);
            assert_eq!(condition.fitness, fitness, "{ready:?} {serving:?} {terminating:?}");
        }
    }

    #[test]
    fn what_an_api_server_does_not_accept_is_passed_over() {
        assert_eq!(SlicePort::new(Some("grpc"), Some(50051), Some("UDP")), None);
        assert_eq!(SlicePort::new(Some("grpc"), Some(70000), None), None);
        assert_eq!(SlicePort::new(Some("grpc"), Some(0), None), None);
        assert_eq!(SlicePort::new(Some(&"g".repeat(300)), Some(1), None), None);
        assert!(SlicePort::new(None, None, Some("TCP")).is_some());
        let addresses = ["echo.example", "fd00::1", "10.0.0.1"];
        for (name, first) in [("IPv4", Some("10.0.0.1")), ("IPv6", Some("fd00::1")), ("FQDN", None)] {
            let ip = AddressType::from_name(Some(name)).first_of(addresses);
            assert_eq!(ip, first.map(|ip| ip.parse().unwrap()), "{name}");
        }
        let ip = IpAddr::from([10, 0, 0, 1]);
        let of = |uid| EndpointIdentity::new(Some(uid), Some("n1"), None, ip);
        assert_eq!(of("a"), EndpointIdentity::Uid("a".to_owned()));
        assert_eq!(of(""), EndpointIdentity::Address(ip));
        assert_eq!(of(&"a".repeat(300)), EndpointIdentity::Address(ip));
    }
}
