//! What both halves use: neither `client` nor `server` is imported here.

pub(crate) mod bounced;
pub(crate) mod catch_panic;
pub(crate) mod file_descriptors;
pub(crate) mod grpc_timeout;
pub mod metrics;
pub mod orca;
pub(crate) mod peer_text;
#[cfg(feature = "tls")]
pub(crate) mod tls;
