//! One lookup: names to try, A and AAAA at once, within the time it is given.
//!
//! hickory does the protocol: retries, the change to TCP when an answer is truncated, CNAMEs, `resolv.conf` and
//! the hosts file. Two things are decided here, because a client that keeps long-lived sets needs them stricter than
//! a program that wants one address once. *The search path* goes on to the next name only when DNS says that this one
//! has no address; after a failure, the next name could be another service's. *Half an answer* counts as a failure when
//! the missing half had addresses before; otherwise one lost datagram would halve a dual-stack service.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError, NoRecords};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RecordType};

use super::config::AddressFamilies;
use super::shared::{Found, Look, Question};
use crate::ResolveError;

/// Looks one name up.
pub(super) struct DnsLookup {
    question: Question,
    /// Whether the last answer had IPv4 and IPv6 addresses.
    known: Known,
}

struct Client {
    resolver: TokioResolver,
    /// The host name with each suffix of the search path, in the order to be tried.
    names: Vec<Name>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Known {
    ipv4: bool,
    ipv6: bool,
}

impl DnsLookup {
    pub(super) fn new(question: Question) -> Self {
        Self { question, known: Known::default() }
    }

    async fn look_once(&mut self) -> Result<Found, ResolveError> {
        // Anew each time: a changed `resolv.conf` or hosts file counts at once, and between two lookups no TCP
        // connection occupies the name server or waits to be found dead.
        let client = Client::new(&self.question).map_err(|error| self.failure(&error))?;
        let mut negative = Negative::NoSuchName;
        for name in &client.names {
            let found = match self.ask(&client.resolver, name).await {
                Err(error) => match Negative::of(&error) {
                    Some(reason) => {
                        negative = negative.max(reason);
                        continue;
                    }
                    None => return Err(self.failure(&error)),
                },
                Ok(found) => found,
            };
            return Ok(found);
        }
        self.known = Known::default();
        let name = self.question.host.clone();
        Err(match negative {
            Negative::NoSuchName => ResolveError::NoSuchName { name },
            Negative::NoAddresses => ResolveError::NoAddresses { name },
            Negative::Refused => {
                ResolveError::Dns { name, reason: "the name server refused to answer".to_owned() }
            }
        })
    }

    /// Asks for the addresses of one fully qualified name.
    async fn ask(&mut self, resolver: &TokioResolver, name: &Name) -> Result<Found, NetError> {
        let families = self.question.config.families;
        let records = async |kind| resolver.lookup(name.clone(), kind).await;
        let (ipv4, ipv6) = match families {
            AddressFamilies::Both => {
                let (a, aaaa) = tokio::join!(records(RecordType::A), records(RecordType::AAAA));
                (Some(a), Some(aaaa))
            }
            AddressFamilies::Ipv4 => (Some(records(RecordType::A).await), None),
            AddressFamilies::Ipv6 => (None, Some(records(RecordType::AAAA).await)),
        };
        let (found, known) = combine([(ipv4, self.known.ipv4), (ipv6, self.known.ipv6)], has_route)?;
        self.known = known;
        Ok(found)
    }

    fn failure(&self, error: &NetError) -> ResolveError {
        let name = self.question.host.clone();
        match error {
            NetError::Timeout => ResolveError::Timeout { name, after: self.question.config.lookup_timeout },
            NetError::Dns(DnsError::ResponseCode(code)) => {
                ResolveError::Dns { name, reason: format!("the name server answered {code}") }
            }
            error => ResolveError::Dns { name, reason: error.to_string() },
        }
    }
}

impl Look for DnsLookup {
    async fn look(&mut self) -> Result<Found, ResolveError> {
        let after = self.question.config.lookup_timeout;
        match tokio::time::timeout(after, self.look_once()).await {
            Ok(result) => result,
            Err(_) => Err(ResolveError::Timeout { name: self.question.host.clone(), after }),
        }
    }
}

impl Client {
    fn new(question: &Question) -> Result<Self, NetError> {
        let system = hickory_resolver::system_conf::read_system_conf();
        let (config, mut options) = match (system, question.name_server) {
            (Ok(system), _) => system,
            // With a name server of its own, a lookup needs nothing from the system.
            (Err(_), Some(_)) => {
                (ResolverConfig::from_parts(None, Vec::new(), Vec::new()), ResolverOpts::default())
            }
            (Err(error), None) => return Err(error),
        };
        let names = names(&question.host, options.ndots, config.search())?;
        let servers = match question.name_server {
            Some(address) => {
                options.use_hosts_file = ResolveHosts::Never;
                vec![name_server_at(address)]
            }
            None => config.name_servers().to_vec(),
        };
        // The schedule decides when to ask, and a client lives for one lookup: no cache.
        options.cache_size = 0;
        // Without EDNS, 30 addresses are already too many for a datagram, whatever `resolv.conf` says of it.
        options.edns0 = true;
        options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        // Time for a second attempt within the lookup's own bound.
        options.timeout = options.timeout.min(question.config.lookup_timeout / 2);
        let config = ResolverConfig::from_parts(None, Vec::new(), servers);
        let resolver = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
            .with_options(options)
            .build()?;
        Ok(Self { resolver, names })
    }
}

/// Why a name has no address, weakest first: what is reported after the whole search path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Negative {
    NoSuchName,
    /// Not this server's to answer. The next name of the search path may be.
    Refused,
    NoAddresses,
}

impl Negative {
    /// `None` for anything that is no statement about the name.
    fn of(error: &NetError) -> Option<Self> {
        match error {
            NetError::Dns(DnsError::NoRecordsFound(NoRecords { response_code, .. })) => {
                match *response_code {
                    ResponseCode::NXDomain => Some(Self::NoSuchName),
                    ResponseCode::NoError => Some(Self::NoAddresses),
                    _ => None,
                }
            }
            NetError::Dns(DnsError::ResponseCode(ResponseCode::Refused)) => Some(Self::Refused),
            _ => None,
        }
    }
}

/// Joins the answers of both families, each with whether that family had addresses before.
fn combine(
    answers: [(Option<Result<Lookup, NetError>>, bool); 2],
    has_route: impl Fn(IpAddr) -> bool,
) -> Result<(Found, Known), NetError> {
    let mut families = [Vec::new(), Vec::new()];
    let mut ttl_s = u32::MAX;
    let mut failure = None;
    let mut negative = None;
    for (family, (answer, known)) in families.iter_mut().zip(answers) {
        match answer {
            None => {}
            Some(Ok(lookup)) => {
                family.extend(lookup.answers().iter().filter_map(|record| record.data.ip_addr()));
                ttl_s = lookup.answers().iter().map(|record| record.ttl).fold(ttl_s, u32::min);
            }
            Some(Err(error)) => match Negative::of(&error) {
                Some(reason) => {
                    if negative.as_ref().is_none_or(|(before, _)| *before < reason) {
                        negative = Some((reason, error));
                    }
                }
                None if known => return Err(error),
                None => failure = Some(error),
            },
        }
    }
    let known = Known { ipv4: !families[0].is_empty(), ipv6: !families[1].is_empty() };
    let addresses = reachable(families, has_route);
    match (addresses.is_empty(), failure, negative) {
        (false, ..) => Ok((Found { addresses, ttl: Duration::from_secs(ttl_s.into()) }, known)),
        (true, Some(failure), _) => Err(failure),
        (true, None, Some((_, negative))) => Err(negative),
        (true, None, None) => Err(NetError::Message("the answer has no address")),
    }
}

/// Leaves out the family that this host has no route for, if the other one has addresses it can reach.
fn reachable([ipv4, ipv6]: [Vec<IpAddr>; 2], has_route: impl Fn(IpAddr) -> bool) -> Vec<IpAddr> {
    let (routed4, routed6) = match (ipv4.first(), ipv6.first()) {
        (Some(v4), Some(v6)) => (has_route(*v4), has_route(*v6)),
        _ => (true, true),
    };
    match (routed4, routed6) {
        (true, false) => ipv4,
        (false, true) => ipv6,
        _ => [ipv4, ipv6].concat(),
    }
}

/// Asks the system's routing table. Connecting a UDP socket sends nothing.
fn has_route(to: IpAddr) -> bool {
    let any = match to {
        IpAddr::V4(_) => IpAddr::from([0; 4]),
        IpAddr::V6(_) => IpAddr::from([0; 16]),
    };
    UdpSocket::bind((any, 0)).and_then(|socket| socket.connect((to, DISCARD_PORT))).is_ok()
}

/// The names to try, as the C library does: a name with a final dot as it is, one with at least `ndots` dots as it is
/// before the search path, any other after it.
fn names(host: &str, ndots: usize, search: &[Name]) -> Result<Vec<Name>, NetError> {
    let mut plain = Name::from_ascii(host)?;
    if plain.is_fqdn() {
        return Ok(vec![plain]);
    }
    let suffixed =
        search.iter().take(SEARCH_MAX).filter_map(|suffix| plain.clone().append_domain(suffix).ok());
    let mut names: Vec<_> = suffixed.collect();
    plain.set_fqdn(true);
    let dots = host.matches('.').count();
    names.insert(if dots >= ndots { 0 } else { names.len() }, plain);
    let mut unique = Vec::with_capacity(names.len());
    for name in names {
        if !unique.contains(&name) {
            unique.push(name);
        }
    }
    Ok(unique)
}

fn name_server_at(address: SocketAddr) -> NameServerConfig {
    let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
    for connection in &mut connections {
        connection.port = address.port();
    }
    NameServerConfig::new(address.ip(), true, connections)
}

/// Suffixes that are tried; Kubernetes allows a pod 32.
const SEARCH_MAX: usize = 32;
/// Any port will do to ask for a route.
const DISCARD_PORT: u16 = 9;

#[cfg(any(test, feature = "fuzzing"))]
mod fuzzing;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use fuzzing::fuzz;
#[cfg(test)]
mod tests;
