//! Why backends are not known.

use std::time::Duration;

use meshless_core::ResolutionError;

/// A resolution that failed. Calls that wait for a backend are failed with its text, so it says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResolveError {
    /// DNS says that the name does not exist.
    #[error(
        "{name} does not exist in DNS (NXDOMAIN); check the name, its namespace and that the service exists"
    )]
    NoSuchName {
        /// The host name as the target has it.
        name: String,
    },
    /// The name exists and has no address.
    #[error("{name} has no address in DNS; check that the service is headless and has ready pods")]
    NoAddresses {
        /// The host name as the target has it.
        name: String,
    },
    /// DNS did not answer in time.
    #[error("DNS did not answer for {name} within {after:?}; check that the name server is reachable")]
    Timeout {
        /// The host name as the target has it.
        name: String,
        /// How long the lookup was given.
        after: Duration,
    },
    /// DNS answered with a failure, or could not be asked.
    #[error("DNS lookup of {name} failed: {reason}")]
    Dns {
        /// The host name as the target has it.
        name: String,
        /// The name server's response code, or what went wrong before it.
        reason: String,
    },
    /// A Service's EndpointSlices.
    #[cfg(feature = "kubernetes")]
    #[error(transparent)]
    Kubernetes(#[from] super::KubernetesError),
    /// Another resolver's reason.
    #[error("{0}")]
    Other(String),
}

impl ResolveError {
    /// Whether it is an answer, namely that there is no backend, rather than the lack of one.
    pub(crate) fn says_gone(&self) -> bool {
        match self {
            Self::NoSuchName { .. } | Self::NoAddresses { .. } => true,
            #[cfg(feature = "kubernetes")]
            Self::Kubernetes(error) => error.says_gone(),
            _ => false,
        }
    }
}

impl From<ResolveError> for ResolutionError {
    fn from(error: ResolveError) -> Self {
        Self(error.to_string())
    }
}
