//! Why a Kubernetes Service has no known endpoints. Calls that wait for a backend are failed with
//! these texts.

use std::time::Duration;

use meshless_core::KubernetesPort;

/// What keeps a [`KubernetesResolver`](crate::resolver::KubernetesResolver) from its endpoints.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KubernetesError {
    /// This is no pod, or one without a service account's token, or what was given names no API
    /// server.
    #[error(
        "no Kubernetes cluster to ask: {reason}; run in a pod with automountServiceAccountToken: true, or give \
         KubernetesConfig a KubernetesClient"
    )]
    NoCluster {
        /// What was looked for, and what was wrong with it.
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
        /// The API server's words.
        reason: String,
    },
    /// The API server cannot be read from. Endpoints known before stay in use.
    #[error("the EndpointSlices of {service} have not been read for {} s: {reason}", age.as_secs())]
    Unreachable {
        /// The Service, as `name.namespace`.
        service: String,
        /// How old what is known of them is; since the first attempt, if nothing is.
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
        /// The port that is wanted.
        port: KubernetesPort,
        /// The ports that there are.
        listed: Vec<String>,
    },
    /// No pod can take calls.
    #[error(
        "none of the {listed} endpoints of {service} is ready; check its pods and their readiness probes"
    )]
    NoneReady {
        /// The Service, as `name.namespace`.
        service: String,
        /// How many there are.
        listed: usize,
    },
}

impl KubernetesError {
    /// Whether the API server has said that there is no backend.
    pub(crate) fn says_gone(&self) -> bool {
        matches!(self, Self::NoSlice { .. } | Self::NoneReady { .. })
    }
}
