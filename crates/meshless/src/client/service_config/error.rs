//! Why a service config is invalid.

/// Why a service config is invalid, and at which field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}{}{what}", if path.is_empty() { "the service config" } else { path }, if path.is_empty() { " " } else { ": " })]
pub struct ServiceConfigError {
    pub(super) path: String,
    pub(super) what: String,
}

impl ServiceConfigError {
    /// Returns the path of the field, as in `methodConfig[0].retryPolicy.maxAttempts`. Empty for
    /// the whole document.
    pub fn path(&self) -> &str {
        &self.path
    }
}
