//! Endpoints from a target, as a channel has them.

use meshless::resolver::{DnsResolver, Resolution, Resolver, StaticResolver, TargetKind};
use meshless::{Endpoint, Target};

use super::Sources;

/// A target that clients cannot be sent to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// A Unix socket is on one host, and xDS clients connect to IP addresses.
    #[error("{0}: xDS clients cannot be sent to a Unix domain socket; name IP addresses or a DNS name")]
    Unix(String),
    /// The crate was built without the feature `kubernetes`.
    #[error("{0} needs Kubernetes, and this program was built without it")]
    KubernetesMissing(String),
    /// No kind of target that is known here.
    #[error(
        "{0}: write dns:///host:port, ipv4:address:port, ipv6:[address]:port or kubernetes:///service.namespace:port"
    )]
    Unknown(String),
}

impl Sources {
    pub(super) fn target(&self, target: &Target) -> Result<Box<dyn Resolver>, SourceError> {
        match target.kind() {
            TargetKind::Addresses(addresses) => Ok(Box::new(StaticResolver::new(addresses.iter().copied()))),
            TargetKind::Dns { name_server, host, port } => {
                let resolver = DnsResolver::new(host.clone(), *port, self.dns);
                Ok(Box::new(match name_server {
                    Some(name_server) => resolver.name_server(*name_server),
                    None => resolver,
                }))
            }
            #[cfg(feature = "kubernetes")]
            TargetKind::Kubernetes { service, namespace, port } => {
                Ok(self.service(service, namespace.as_deref(), port))
            }
            #[cfg(not(feature = "kubernetes"))]
            TargetKind::Kubernetes { .. } => Err(SourceError::KubernetesMissing(target.to_string())),
            TargetKind::Unix(_) => Err(SourceError::Unix(target.to_string())),
            _ => Err(SourceError::Unknown(target.to_string())),
        }
    }
}

/// Hands out one set, once.
pub(super) fn fixed(endpoints: Vec<Endpoint>) -> Box<dyn Resolver> {
    let (sender, receiver) = tokio::sync::mpsc::channel::<Resolution>(1);
    sender.try_send(Ok(endpoints)).expect("the channel is new and has room for one");
    Box::new(receiver)
}
