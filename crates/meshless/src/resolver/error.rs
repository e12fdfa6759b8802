//! Why endpoints are not known.

use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use meshless_core::ResolutionError;

/// A resolution that failed. Calls that wait for a backend fail with its text, which says what to
/// do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResolveError {
    /// According to DNS the name does not exist.
    #[error(
        "{name} does not exist in DNS (NXDOMAIN); check the name, its namespace and that the service exists"
    )]
    NoSuchName {
        /// The host name as the target has it.
        name: String,
    },
    /// The name exists, but has no address.
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
        /// The time limit of the lookup.
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
    /// The Service's EndpointSlices give no endpoint.
    #[cfg(feature = "kubernetes")]
    #[error(transparent)]
    Kubernetes(#[from] super::KubernetesError),
    /// The error of another resolver: see [`ResolveError::other`].
    #[error(transparent)]
    Other(OtherError),
}

/// The error of a resolver that is not part of meshless.
#[derive(Clone, Debug)]
pub struct OtherError(Arc<dyn Error + Send + Sync>);

impl ResolveError {
    /// Wraps the error of your own resolver: an error, or a text. Calls that wait for a backend
    /// fail with it.
    pub fn other(reason: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::Other(OtherError(reason.into().into()))
    }

    /// Returns true if it is an answer, namely that there is no backend, rather than the lack of
    /// one. The first may be held for a time and is then to be believed; the second says nothing.
    pub fn says_gone(&self) -> bool {
        match self {
            Self::NoSuchName { .. } | Self::NoAddresses { .. } => true,
            #[cfg(feature = "kubernetes")]
            Self::Kubernetes(error) => error.says_gone(),
            _ => false,
        }
    }
}

impl fmt::Display for OtherError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for OtherError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}

/// Compares the texts.
impl PartialEq for OtherError {
    fn eq(&self, other: &Self) -> bool {
        self.0.to_string() == other.0.to_string()
    }
}

impl Eq for OtherError {}

impl From<ResolveError> for ResolutionError {
    fn from(error: ResolveError) -> Self {
        Self(error.to_string())
    }
}
