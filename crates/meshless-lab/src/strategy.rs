//! The ways of connecting that are compared, by name.
//!
//! A strategy says what stands between client and backends ([`Entrance`]) and whether the servers
//! age their connections; `caller` turns it into a client, `compare` into processes. The first six
//! run today's tonic client; those with the name of a gRPC policy run the channel of this project;
//! the last is another gRPC, in a program that the user brings.

use std::fmt;
use std::str::FromStr;

use meshless::Policy;
use serde::{Deserialize, Serialize};

/// A way of connecting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// A new connection for each call: the stopgap that many teams use.
    ConnectionPerCall,
    /// One connection for all calls: what a gRPC client does by itself.
    SingleConnection,
    /// One connection at a time, which the server ages; the client comes back through the virtual
    /// address.
    MaxAgeL4,
    /// The same, and the client comes back through the DNS name.
    MaxAgeDns,
    /// tonic's `Channel::balance_channel`, told every second what DNS says. This is what `ginepro`
    /// does every ten seconds; its current version, 0.9.3, stands on tonic 0.13, whose channel no
    /// client generated for 0.14 takes.
    TonicBalance,
    /// One connection to a proxy that balances calls: a mesh's data plane.
    L7Proxy,
    /// The channel with this policy, through the DNS name; the servers age its connections.
    #[serde(rename = "pick_first")]
    PickFirst,
    /// The same.
    #[serde(rename = "round_robin")]
    RoundRobin,
    /// The same.
    #[serde(rename = "least_request")]
    LeastRequest,
    /// The same.
    #[serde(rename = "peak_ewma")]
    PeakEwma,
    /// The same, and what failed is sent again where the retry policy allows it.
    #[serde(rename = "round_robin+retry")]
    RoundRobinRetry,
    /// The channel with `round_robin`, told of its backends by a watch of EndpointSlices and not by
    /// DNS.
    #[serde(rename = "round_robin+kubernetes")]
    RoundRobinKubernetes,
    /// grpc-go's `round_robin` through the DNS name, in a program of its own (`peers/go/lab`); the
    /// servers age its connections.
    GrpcGo,
}

/// What a strategy's client connects to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entrance {
    /// One address that hands each new connection to a random backend: a ClusterIP.
    VirtualAddress,
    /// A name with one A record per backend: a headless Service.
    Name,
    /// The EndpointSlices of a Service, which the client watches.
    EndpointSlices,
    /// A proxy that understands HTTP/2 and hands each call to a backend.
    Proxy,
}

impl Strategy {
    /// All of them, in the order of the report.
    pub const ALL: [Self; 13] = [
        Self::ConnectionPerCall,
        Self::SingleConnection,
        Self::MaxAgeL4,
        Self::MaxAgeDns,
        Self::TonicBalance,
        Self::L7Proxy,
        Self::PickFirst,
        Self::RoundRobin,
        Self::LeastRequest,
        Self::PeakEwma,
        Self::RoundRobinRetry,
        Self::RoundRobinKubernetes,
        Self::GrpcGo,
    ];

    /// Its name on the command line and in the report.
    pub fn name(self) -> &'static str {
        match self {
            Self::ConnectionPerCall => "connection-per-call",
            Self::SingleConnection => "single-connection",
            Self::MaxAgeL4 => "max-age-l4",
            Self::MaxAgeDns => "max-age-dns",
            Self::TonicBalance => "tonic-balance",
            Self::L7Proxy => "l7-proxy",
            Self::PickFirst => Policy::PickFirst.as_str(),
            Self::RoundRobin => Policy::RoundRobin.as_str(),
            Self::LeastRequest => Policy::LeastRequest.as_str(),
            Self::PeakEwma => Policy::PeakEwma.as_str(),
            Self::RoundRobinRetry => "round_robin+retry",
            Self::RoundRobinKubernetes => "round_robin+kubernetes",
            Self::GrpcGo => "grpc-go",
        }
    }

    /// What its client connects to.
    pub(crate) fn entrance(self) -> Entrance {
        match self {
            Self::ConnectionPerCall | Self::SingleConnection | Self::MaxAgeL4 => Entrance::VirtualAddress,
            Self::L7Proxy => Entrance::Proxy,
            Self::RoundRobinKubernetes => Entrance::EndpointSlices,
            Self::MaxAgeDns
            | Self::TonicBalance
            | Self::PickFirst
            | Self::RoundRobin
            | Self::LeastRequest
            | Self::PeakEwma
            | Self::RoundRobinRetry
            | Self::GrpcGo => Entrance::Name,
        }
    }

    /// Whether its servers age their connections.
    pub(crate) fn ages(self) -> bool {
        matches!(self, Self::MaxAgeL4 | Self::MaxAgeDns | Self::GrpcGo) || self.policy().is_some()
    }

    /// The policy of its channel; `None` for today's tonic client.
    pub(crate) fn policy(self) -> Option<Policy> {
        match self {
            Self::PickFirst => Some(Policy::PickFirst),
            Self::RoundRobin | Self::RoundRobinRetry | Self::RoundRobinKubernetes => Some(Policy::RoundRobin),
            Self::LeastRequest => Some(Policy::LeastRequest),
            Self::PeakEwma => Some(Policy::PeakEwma),
            _ => None,
        }
    }

    /// Whether its channel has a retry policy.
    pub(crate) fn retries(self) -> bool {
        self == Self::RoundRobinRetry
    }

    /// Whether its client makes connections of its own, through which the lab does not see: what it
    /// sends is not counted.
    pub(crate) fn hides_connections(self) -> bool {
        self == Self::TonicBalance
    }

    /// Whether its client keeps a connection from call to call.
    pub(crate) fn keeps_connection(self) -> bool {
        self != Self::ConnectionPerCall
    }
}

impl fmt::Display for Strategy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Strategy {
    type Err = UnknownStrategy;

    fn from_str(name: &str) -> Result<Self, UnknownStrategy> {
        let found = Self::ALL.into_iter().find(|strategy| strategy.name() == name);
        found.ok_or_else(|| UnknownStrategy { name: name.into() })
    }
}

/// There is no strategy of this name.
#[derive(Clone, Debug, thiserror::Error)]
#[error("there is no strategy `{name}`; choose from {}", Strategy::ALL.map(Strategy::name).join(", "))]
pub struct UnknownStrategy {
    name: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_strategy_is_found_by_its_name_and_serialised_by_it() {
        for strategy in Strategy::ALL {
            assert_eq!(strategy.name().parse::<Strategy>().unwrap(), strategy);
            assert_eq!(serde_json::to_value(strategy).unwrap(), strategy.name());
        }
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_known_ones() {
        let message = "round-robbin".parse::<Strategy>().unwrap_err().to_string();
        assert!(message.contains("`round-robbin`"), "{message}");
        for strategy in Strategy::ALL {
            assert!(message.contains(strategy.name()), "{message}");
        }
    }
}
