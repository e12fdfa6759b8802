//! Endpoints from the EndpointSlices of Services, each watched from the first client on that dials
//! it.
//!
//! The reading, the joining of slices, and which pods count are the channel's
//! ([`KubernetesResolver`]). Only its stand-in is not wanted: where the API server denies, the one
//! address that DNS has for most Services would replace a good set.

use meshless::Target;
use meshless::resolver::{KubernetesPort, KubernetesResolver, Resolver, TargetKind};

use super::Sources;

impl Sources {
    pub(super) fn service(
        &self,
        service: &str,
        namespace: Option<&str>,
        port: &KubernetesPort,
    ) -> Box<dyn Resolver> {
        let resolver =
            KubernetesResolver::new(service, port.clone(), self.kubernetes.clone()).without_fallback();
        Box::new(match namespace {
            Some(namespace) => resolver.namespace(namespace),
            None => resolver,
        })
    }

    /// The Service that clients dial as `name`, if its namespace is served.
    pub(super) fn of_a_namespace(&self, name: &str) -> Result<Box<dyn Resolver>, String> {
        let served = self.namespaces.join(", ");
        let target: Target = format!("kubernetes:///{name}").parse().map_err(|_| {
            format!("{name:?} is not service.namespace:port, with the number or name of the pods' port; served namespaces: {served}")
        })?;
        let TargetKind::Kubernetes { service, namespace, port } = target.kind() else {
            return Err(format!("{name:?} is not service.namespace:port"));
        };
        match namespace {
            Some(namespace) if self.namespaces.contains(namespace) => {
                Ok(self.service(service, Some(namespace), port))
            }
            Some(namespace) => Err(format!(
                "the namespace {namespace:?} is not served by this control plane; served are: {served}"
            )),
            None => Err(format!(
                "{name:?} does not name its namespace; write xds:///{service}.{}:{port}",
                self.namespaces.first().map_or("NAMESPACE", String::as_str)
            )),
        }
    }

    /// Asks whether EndpointSlices of a namespace can be read: an answer of any kind says yes.
    pub(crate) fn probe(&self, namespace: &str) -> Box<dyn Resolver> {
        // Any name will do, since a list without a slice is an answer.
        self.service("meshless-xds", Some(namespace), &KubernetesPort::Number(1))
    }
}
