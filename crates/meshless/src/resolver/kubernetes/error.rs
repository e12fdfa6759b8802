//! Why a Kubernetes Service has no known endpoints. Calls that wait for a backend fail with these
//! texts.

use std::time::Duration;

use meshless_core::KubernetesPort;

/// Why a [`KubernetesResolver`](crate::resolver::KubernetesResolver) has no endpoints.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KubernetesError {
    /// There is no API server: this is not a pod, no token is mounted, or the given URL is wrong.
    #[error(
        "no Kubernetes cluster to ask: {reason}; run in a pod with automountServiceAccountToken: true, or give \
         KubernetesConfig a KubernetesClient"
    )]
    NoCluster {
        /// What was missing or wrong.
        reason: String,
    },
    /// The client's service account may not read EndpointSlices.
    #[error(
        "not allowed to read the EndpointSlices of {service}: {reason}; grant get, list and watch on \
         endpointslices.discovery.k8s.io in its namespace"
    )]
    Denied {
        /// The Service, as `name.namespace`.
        service: String,
        /// The API server's message.
        reason: String,
    },
    /// The API server cannot be read. Known endpoints stay in use.
    #[error("the EndpointSlices of {service} have not been read for {} s: {reason}", age.as_secs())]
    Unreachable {
        /// The Service, as `name.namespace`.
        service: String,
        /// The age of the known endpoints; if there are none, the time since the first attempt.
        age: Duration,
        /// What went wrong.
        reason: String,
    },
    /// The Service has no EndpointSlice.
    #[error(
        "{service} has no EndpointSlice; check the Service's name and namespace, and that it has a selector"
    )]
    NoSlice {
        /// The Service, as `name.namespace`.
        service: String,
    },
    /// The Service's pods do not have the port.
    #[error(
        "{service} has no TCP port {port}, its pods have {listed:?}; write one of these, by name or by the number the pods listen on"
    )]
    NoSuchPort {
        /// The Service, as `name.namespace`.
        service: String,
        /// The wanted port.
        port: KubernetesPort,
        /// The ports that exist.
        listed: Vec<String>,
    },
    /// No pod can take calls.
    #[error(
        "none of the {listed} endpoints of {service} is ready; check its pods and their readiness probes"
    )]
    NoneReady {
        /// The Service, as `name.namespace`.
        service: String,
        /// How many pods there are.
        listed: usize,
    },
}

impl KubernetesError {
    /// Returns true if the API server has answered that there is no backend.
    pub(crate) fn says_gone(&self) -> bool {
        matches!(self, Self::NoSlice { .. } | Self::NoneReady { .. })
    }
}
