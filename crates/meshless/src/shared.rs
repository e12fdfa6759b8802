//! What both halves use: neither `client` nor `server` is imported here.

pub(crate) mod catch_panic;
pub(crate) mod file_descriptors;
pub(crate) mod grpc;
pub(crate) mod io;
pub mod metrics;
pub(crate) mod orca;
pub(crate) mod peer_text;
#[cfg(feature = "tls")]
pub(crate) mod tls;
