//! Why the endpoints of a channel are not known.

/// Why a resolution failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ResolutionError(pub String);
