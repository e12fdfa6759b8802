//! Why the reading of a Service has ended.

use meshless_core::{ServiceTooLargeError, WatchFailure};

use super::error::KubernetesError;

/// Why [`Watch::follow`](super::watch::Watch::follow) ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// The known version is too old to continue from: list again.
    Outdated,
    /// There is no cluster.
    NoCluster(KubernetesError),
    /// The API server denies access: the client lacks the right, or its login was not accepted.
    Denied(String),
    /// The API server cannot be reached, or its answer cannot be read.
    Failed(String),
}

impl Ended {
    pub(super) fn failure(&self) -> WatchFailure {
        match self {
            Self::Outdated => WatchFailure::Outdated,
            Self::NoCluster(_) => WatchFailure::NoCluster,
            Self::Denied(_) => WatchFailure::Denied,
            Self::Failed(_) => WatchFailure::Failed,
        }
    }
}

impl From<ServiceTooLargeError> for Ended {
    fn from(error: ServiceTooLargeError) -> Self {
        Self::Failed(error.to_string())
    }
}
