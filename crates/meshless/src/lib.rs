//! Load balancing for gRPC on Kubernetes without a service mesh.

#[cfg_attr(not(test), expect(dead_code, unused_imports, reason = "driven by the channel"))]
mod call;
#[cfg_attr(not(test), expect(dead_code, unused_imports, reason = "driven by the channel"))]
mod connection;
#[cfg_attr(not(test), expect(dead_code, reason = "driven by the channel"))]
mod connector;
#[cfg(feature = "tls")]
#[cfg_attr(not(test), expect(dead_code, reason = "driven by the channel"))]
mod tls;

pub use connector::{BoxIo, Connect, Connecting, Io};
pub use meshless_core::Address;
#[cfg(feature = "tls")]
pub use tls::{TlsConfig, TlsError};
