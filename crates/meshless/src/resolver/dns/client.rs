//! One hickory client for one lookup, with workarounds for old name servers.
//!
//! hickory does the protocol: retransmissions, ids, the change to TCP when an answer is truncated,
//! CNAMEs, `resolv.conf` and the hosts file. This module adds two things. *Without EDNS*: servers
//! and middleboxes that do not know EDNS answer FORMERR, NOTIMP or SERVFAIL, or nothing (RFC 6891
//! §6.2.2, RFC 8906 §3.1.2). *The other name servers*: hickory returns the first error code of any
//! server; the C library asks the next server.
//! any server sends; the C library asks the next server.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError, NoRecords};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RecordType};

use super::question::Question;

pub(super) struct Client {
    /// All servers, with EDNS.
    resolver: TokioResolver,
    /// False once the servers have answered without EDNS after silence with it.
    edns: AtomicBool,
    servers: Vec<NameServerConfig>,
    options: ResolverOpts,
    /// The host name with each suffix of the search path, in the order of the tries.
    pub(super) names: Vec<Name>,
}

impl Client {
    /// `edns` is the result of [`uses_edns`](Self::uses_edns) after the last lookup of the name.
    pub(super) fn new(question: &Question, edns: bool) -> Result<Self, NetError> {
        let system = hickory_resolver::system_conf::read_system_conf();
        let (config, mut options) = match (system, question.name_server) {
            (Ok(system), _) => system,
            // With its own name server, a lookup needs nothing from the system.
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
        // The schedule decides when to ask, and a client is used for one lookup: no cache.
        options.cache_size = 0;
        // Without EDNS, 30 addresses already exceed a datagram. So `resolv.conf` does not count
        // here.
        options.edns0 = true;
        // The aliases show which records belong to the name.
        options.preserve_intermediates = true;
        options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
        // Leaves time for a second round, without EDNS, within the lookup's own bound.
        options.timeout = options.timeout.min(question.config.lookup_timeout / 2);
        options.attempts = 0;
        let resolver = build(servers.clone(), options.clone())?;
        Ok(Self { resolver, edns: AtomicBool::new(edns), servers, options, names })
    }

    /// Returns true if the next lookup should begin with EDNS. A wait for a silent server takes
    /// half of a lookup's time.
    pub(super) fn uses_edns(&self) -> bool {
        self.edns.load(Ordering::Relaxed)
    }

    /// Returns the records of `kind` that `name` has.
    pub(super) async fn records(&self, name: &Name, kind: RecordType) -> Result<Lookup, NetError> {
        let mut plain = self.options.clone();
        plain.edns0 = false;
        if !self.uses_edns() {
            let answer = build(self.servers.clone(), plain)?.lookup(name.clone(), kind).await;
            if matches!(answer, Err(NetError::Timeout)) {
                // Silent in both cases: that says nothing about EDNS.
                self.edns.store(true, Ordering::Relaxed);
            }
            return answer;
        }
        let first = self.resolver.lookup(name.clone(), kind).await;
        let error = match first {
            Err(error) if asks_for_another_try(&error) => error,
            answer => return answer,
        };
        if matches!(error, NetError::Timeout) {
            let answer = build(self.servers.clone(), plain)?.lookup(name.clone(), kind).await;
            let answered = match &answer {
                Ok(_) => true,
                Err(error) => matches!(error, NetError::Dns(_)),
            };
            if answered {
                self.edns.store(false, Ordering::Relaxed);
            }
            return answer;
        }
        // A server that refuses must not decide for the others. Its own second answer may differ.
        for server in self.servers.iter().take(SERVERS_MAX) {
            match build(vec![server.clone()], plain.clone())?.lookup(name.clone(), kind).await {
                Err(error) if Negative::of(&error).is_none_or(|reason| reason == Negative::Refused) => {}
                answer => return answer,
            }
        }
        Err(error)
    }
}

/// Returns true if a retry without EDNS, or at another server, may succeed.
fn asks_for_another_try(error: &NetError) -> bool {
    matches!(error, NetError::Timeout | NetError::Dns(DnsError::ResponseCode(_)))
}

fn build(servers: Vec<NameServerConfig>, options: ResolverOpts) -> Result<TokioResolver, NetError> {
    let config = ResolverConfig::from_parts(None, Vec::new(), servers);
    TokioResolver::builder_with_config(config, TokioRuntimeProvider::default()).with_options(options).build()
}

/// Why a name has no address, weakest first. After the whole search path, the strongest is
/// reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Negative {
    NoSuchName,
    /// This server may not answer for the name. It may answer for the next one of the search path.
    Refused,
    NoAddresses,
}

impl Negative {
    /// Returns `None` for an error that says nothing about the name.
    pub(super) fn of(error: &NetError) -> Option<Self> {
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

/// Returns the names to try, as the C library does: a name with a final dot only as it is, one with
/// at least `ndots` dots first as it is, any other last as it is.
pub(super) fn names(host: &str, ndots: usize, search: &[Name]) -> Result<Vec<Name>, NetError> {
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

/// The maximum of suffixes that are tried; Kubernetes allows a pod 32.
const SEARCH_MAX: usize = 32;
/// The maximum of name servers that are asked after an error code: as many as the C library reads
/// (`MAXNS` of resolv.conf(5)).
const SERVERS_MAX: usize = 3;

#[cfg(test)]
mod tests;
