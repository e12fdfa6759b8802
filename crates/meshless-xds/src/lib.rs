//! A small xDS control plane for one team's namespace: gRPC clients in any language pick a backend
//! for every call, without a sidecar.
//!
//! grpc-go, grpc-java, C-core (Python, Ruby, PHP, C++), grpc-js and tonic-xds speak xDS themselves.
//! What they need is somebody who tells them the endpoints. [`ControlPlane`] does: it reads
//! EndpointSlices, DNS, lists or a file, and answers one RPC, `StreamAggregatedResources` in the
//! state-of-the-world variant, the only one that gRPC's clients speak.
//!
//! ```text
//!  source/ ──▶ registry.rs ──▶ snapshot.rs ──▶ resources/ ──▶ stream.rs ──▶ service.rs ──▶ clients
//!              hold.rs         policy.rs                      (decisions: meshless-core, xds/server.rs)
//! ```
//!
//! # What it takes care of
//!
//! - Nothing is answered before it is known: an answer with holes takes down clients that have a
//!   good cache.
//! - The last endpoints are held for a time when a source suddenly has none, and for as long as it
//!   takes when it cannot be read.
//! - Policies are sent as lists, so that a language without `least_request` uses `round_robin`
//!   rather than to refuse the whole cluster.
//! - An unknown name is answered with a sentence that says what is wrong (xRFC TP3).
//!
//! | feature | brings |
//! |---|---|
//! | `kubernetes` | `kubernetes:///` targets, and whole namespaces |
//! | `otel` | OpenTelemetry metrics: [`ControlPlane::metrics`] |

pub mod bootstrap;
mod control_plane;
mod follow;
mod hold;
#[cfg(feature = "otel")]
mod metrics;
mod policy;
mod proto;
mod registry;
mod resources;
mod service;
mod snapshot;
mod source;
mod stats;
pub mod status;
mod stream;

pub use control_plane::{ControlPlane, ControlPlaneConfig, StartError};
pub use policy::{PolicyBook, PolicyError};
pub use service::{DiscoveryService, LoadReportingStub};
pub use source::{EndpointsFileError, Source, SourceError, read_endpoints};
pub use stats::StatsSnapshot;
