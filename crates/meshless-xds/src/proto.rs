//! xDS on the wire: of Envoy's messages, those fields that gRPC clients read or write.
//!
//! Written by hand and not generated. Envoy's own messages are 8 MB of Rust, which cost every build
//! 40 s of one core and 29 MB of metadata; these cost nothing, and protobuf skips what is left out.
//! `tests/it/envoy.rs` decodes each of them with Envoy's. Members of a `oneof` stand as optional
//! fields, which have the same encoding.

pub(crate) mod cluster;
pub(crate) mod discovery;
pub(crate) mod endpoint;
pub(crate) mod listener;
pub(crate) mod wrappers;

pub(crate) use wrappers::{Any, pack};
