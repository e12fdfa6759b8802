//! Endpoints: what a resolver names, and the diff between two of its answers.
//!
//! A resolver hands over full sets, but the balancer wants to touch only what changed. So
//! [`EndpointSet`] splits a full set into added, removed and kept. The balancer calls it. It never
//! resolves or connects. The balancer, and not this set, decides if an empty answer counts.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

/// The address of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Address {
    /// A TCP port.
    Tcp(SocketAddr),
    /// A Unix domain socket.
    Unix(PathBuf),
}

/// One backend of a target, with one address.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Endpoint {
    /// Its address, which identifies the endpoint within a target.
    pub address: Address,
    /// Its share of the traffic relative to its peers; 1 if the resolver knows none.
    /// `weighted_round_robin` uses it; `round_robin` does not, as in gRPC.
    pub weight: u32,
    /// The zone it runs in, if the resolver knows. Used if a [zone is
    /// preferred](crate::BalancerConfig::zone).
    pub zone: Option<String>,
}

impl Endpoint {
    /// Creates the endpoint at `address`, with weight 1 and no zone.
    pub fn new(address: impl Into<Address>) -> Self {
        Self { address: address.into(), weight: 1, zone: None }
    }

    /// Sets its weight.
    pub fn with_weight(mut self, weight: u32) -> Self {
        self.weight = weight;
        self
    }

    /// Sets its zone.
    pub fn with_zone(mut self, zone: impl Into<String>) -> Self {
        self.zone = Some(zone.into());
        self
    }
}

/// Identifies an endpoint while it is in the set. One that leaves and comes back gets a new id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointId(u64);

#[cfg(test)]
impl EndpointId {
    pub(crate) fn for_tests(n: u64) -> Self {
        Self(n)
    }
}

/// The endpoints of one target, each address once.
#[derive(Clone, Debug, Default)]
pub struct EndpointSet {
    endpoints: BTreeMap<Address, (EndpointId, Endpoint)>,
    last_id: u64,
}

/// The changes of an update. Ids are in the order of the addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
#[must_use]
pub struct EndpointDiff {
    /// Endpoints that were not in the set before.
    pub added: Vec<EndpointId>,
    /// Endpoints that have left the set; their ids are not used again.
    pub removed: Vec<EndpointId>,
    /// Endpoints that stayed; their weight or zone may have changed.
    pub kept: Vec<EndpointId>,
}

impl EndpointSet {
    /// Creates the empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// Replaces the set. Of endpoints with the same address, the first counts: "duplicated
    /// addresses" would otherwise mean two connections and twice the share.
    pub fn update(&mut self, full: impl IntoIterator<Item = Endpoint>) -> EndpointDiff {
        let mut diff = EndpointDiff::default();
        let mut next = BTreeMap::new();
        for endpoint in full {
            next.entry(endpoint.address.clone()).or_insert(endpoint);
        }
        let mut previous = std::mem::take(&mut self.endpoints);
        for (address, endpoint) in next {
            let id = match previous.remove(&address) {
                Some((id, _)) => {
                    diff.kept.push(id);
                    id
                }
                None => {
                    self.last_id += 1;
                    diff.added.push(EndpointId(self.last_id));
                    EndpointId(self.last_id)
                }
            };
            self.endpoints.insert(address, (id, endpoint));
        }
        diff.removed = previous.into_values().map(|(id, _)| id).collect();
        diff
    }

    /// Returns the endpoints in the order of their addresses.
    pub fn iter(&self) -> impl Iterator<Item = (EndpointId, &Endpoint)> {
        self.endpoints.values().map(|(id, endpoint)| (*id, endpoint))
    }

    /// Returns the number of endpoints.
    pub fn len(&self) -> usize {
        self.endpoints.len()
    }

    /// Returns true if there is no endpoint.
    pub fn is_empty(&self) -> bool {
        self.endpoints.is_empty()
    }
}

impl EndpointDiff {
    /// Returns true if nothing was added or removed.
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty()
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

impl From<PathBuf> for Address {
    fn from(path: PathBuf) -> Self {
        Self::Unix(path)
    }
}

impl fmt::Display for EndpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "endpoint {}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(last: u8) -> Endpoint {
        Endpoint::new(SocketAddr::from(([10, 0, 0, last], 50051)))
    }

    #[test]
    fn a_full_set_becomes_a_diff() {
        let mut set = EndpointSet::new();
        let first = set.update([endpoint(2), endpoint(1)]);
        assert_eq!((first.added.len(), first.removed.len(), first.kept.len()), (2, 0, 0));
        let second = set.update([endpoint(2), endpoint(3)]);
        assert_eq!(second.kept, [first.added[1]], "10.0.0.2 stays");
        assert_eq!(second.removed, [first.added[0]], "10.0.0.1 leaves");
        assert_eq!(second.added.len(), 1);
        assert!(set.update([endpoint(3), endpoint(2)]).is_empty(), "order does not matter");
    }

    #[test]
    fn duplicates_collapse() {
        let mut set = EndpointSet::new();
        let diff = set.update([endpoint(1), endpoint(1).with_weight(9)]);
        assert_eq!((set.len(), diff.added.len()), (1, 1));
        assert_eq!(set.iter().next().map(|(_, endpoint)| endpoint.weight), Some(1));
    }

    #[test]
    fn an_endpoint_that_comes_back_is_a_new_one() {
        let mut set = EndpointSet::new();
        let before = set.update([endpoint(1)]).added;
        assert_eq!(set.update([]).removed, before);
        assert_ne!(set.update([endpoint(1)]).added, before);
    }

    #[test]
    fn a_new_weight_is_adopted_without_a_new_id() {
        let mut set = EndpointSet::new();
        let id = set.update([endpoint(1)]).added;
        assert_eq!(set.update([endpoint(1).with_weight(5)]).kept, id);
        assert_eq!(set.iter().next().map(|(_, endpoint)| endpoint.weight), Some(5));
    }

    #[test]
    fn addresses_print_as_targets_name_them() {
        assert_eq!(endpoint(1).address.to_string(), "10.0.0.1:50051");
        assert_eq!(Address::from(PathBuf::from("/run/echo.sock")).to_string(), "unix:/run/echo.sock");
    }
}
