//! What both halves use. Nothing here imports `client` or `server`.

// With one half alone, some of a format's code is unused: only the other half needs it.
#![cfg_attr(not(all(feature = "client", feature = "server")), allow(dead_code, unused_imports))]

pub(crate) mod catch_panic;
pub(crate) mod file_descriptors;
pub(crate) mod grpc;
pub(crate) mod header_list;
pub(crate) mod io;
pub mod metrics;
pub(crate) mod orca;
pub(crate) mod peer_settings;
pub(crate) mod peer_text;
pub(crate) mod reset_streams;
#[cfg(feature = "tls")]
pub(crate) mod tls;
