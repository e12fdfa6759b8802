//! The control plane over loopback, against a client of Envoy's own messages.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod endpoints;
mod hostile;
#[cfg(feature = "kubernetes")]
mod kubernetes;
mod messages;
mod scale;
mod status;
mod streams;
mod support;
mod tls;
