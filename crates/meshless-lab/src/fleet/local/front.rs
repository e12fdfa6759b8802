//! What leads clients to servers, as a cluster's does: a virtual address, DNS, the API server, or a
//! proxy. It is gone when it is dropped.

use std::net::SocketAddr;
use std::time::Duration;

use meshless_testkit::api_server::{ApiServer, PodCondition};
use meshless_testkit::dns_server::{DnsServer, DnsTrouble, Script};

use super::machine::Local;
use crate::control::Target;
use crate::fleet::error::FleetError;
use crate::network::{ClusterIp, RunningProxy};
use crate::strategy::{Entrance, Strategy};

/// What stands between the clients and the servers of one strategy.
pub(super) enum Front {
    /// Nothing: there is one server, at this address.
    Nothing(SocketAddr),
    VirtualAddress(ClusterIp),
    Name(DnsServer),
    EndpointSlices(ApiServer),
    Proxy(RunningProxy),
}

impl Front {
    /// Opens it in front of these servers, all of them ready. Others can follow.
    ///
    /// # Errors
    /// If a port cannot be bound, or there is no proxy.
    pub(super) async fn open(
        local: &Local,
        entrance: Entrance,
        servers: &[SocketAddr],
    ) -> Result<Self, FleetError> {
        let any_port = SocketAddr::from((local.network.node_address(), 0));
        let seed = u64::from(local.seed);
        Ok(match entrance {
            Entrance::VirtualAddress => {
                Self::VirtualAddress(local.network.cluster_ip(servers.to_vec(), seed).await?)
            }
            Entrance::Name => {
                let front = Self::Name(DnsServer::bind(any_port, seed).await?);
                front.list(servers).await?;
                front
            }
            Entrance::EndpointSlices => {
                let front = Self::EndpointSlices(ApiServer::bind(any_port).await?);
                let ready: Vec<_> = servers.iter().map(|server| (*server, PodCondition::Ready)).collect();
                front.set_pods(&ready);
                front
            }
            Entrance::Proxy => {
                let proxy = local.proxy.as_ref().map_err(|_| FleetError::NoProxy)?;
                Self::Proxy(proxy.start(any_port, servers).await?)
            }
        })
    }

    /// Says that these are the service from now on, where that needs no more than addresses.
    ///
    /// # Errors
    /// If the rules of the virtual address cannot be changed.
    pub(super) async fn list(&self, servers: &[SocketAddr]) -> Result<(), FleetError> {
        match self {
            Self::Name(dns) => {
                let addresses = servers.iter().map(SocketAddr::ip).collect();
                dns.set(SERVICE_NAME, Script::Addresses { addresses, ttl_s: DNS_TTL_S });
            }
            Self::VirtualAddress(cluster_ip) => cluster_ip.set_backends(servers.to_vec()).await?,
            Self::Nothing(_) | Self::EndpointSlices(_) | Self::Proxy(_) => {}
        }
        Ok(())
    }

    /// Tells the API server, where there is one, of all pods and what each is like. They share the
    /// first one's port.
    pub(super) fn set_pods(&self, pods: &[(SocketAddr, PodCondition)]) {
        let (Self::EndpointSlices(api_server), Some((first, _))) = (self, pods.first()) else { return };
        let conditions: Vec<_> = pods.iter().map(|(pod, condition)| (pod.ip(), *condition)).collect();
        api_server.set_pods(first.port(), &conditions);
    }

    /// DNS, where there is one, is in trouble, or no longer.
    pub(super) fn set_dns_trouble(&self, trouble: Option<DnsTrouble>) {
        if let Self::Name(dns) = self {
            dns.set_trouble(trouble);
        }
    }

    /// Whom clients call. `port` is that of the servers, which a name does not carry.
    pub(super) fn target(&self, strategy: Strategy, port: u16, deadline: Duration, clients: usize) -> Target {
        let authority = match self {
            Self::Nothing(server) => server.to_string(),
            Self::VirtualAddress(cluster_ip) => cluster_ip.local_addr().to_string(),
            Self::Name(_) => format!("{SERVICE_NAME}:{port}"),
            Self::EndpointSlices(_) => ApiServer::target(),
            Self::Proxy(proxy) => proxy.local_addr().to_string(),
        };
        let (mut dns, mut api_server) = (None, None);
        match self {
            Self::Name(server) => dns = Some(server.address),
            Self::EndpointSlices(server) => api_server = Some(server.address),
            _ => {}
        }
        Target { strategy, authority, dns, api_server, deadline, clients }
    }
}

/// The name of the servers. `.test` is reserved for this (RFC 6761 §6.2).
const SERVICE_NAME: &str = "echo.lab.test";

/// Short, as a headless Service's in effect is: each connection asks anew. In seconds.
const DNS_TTL_S: u32 = 1;
