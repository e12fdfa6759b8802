//! Servers that report their load: ORCA (gRFC A51). Clients with `weighted_round_robin` (gRFC A58)
//! compute their weights from these reports.
//!
//! A server wraps its services; every response then ends with a report of the process. Clients can
//! also get the reports in a stream of their own, apart from calls. The server must offer that, and
//! the client must ask for it
//! ([`WeightedConfig::oob_load_report`](crate::balancing::WeightedConfig::oob_load_report), or
//! `enableOobLoadReport` in a service config).
//!
//! ```no_run
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let load = meshless::orca::LoadReporter::new();
//! let (_reporter, health) = tonic_health::server::health_reporter();
//! meshless::Server::builder()
//!     .add_service(load.wrap(health))
//!     .add_service(load.out_of_band()) // for clients that ask
//!     .serve("[::]:50051".parse()?)
//!     .await?;
//! # Ok(()) }
//! ```
//!
//! Both ends use gRPC's own format, so the other end may be any gRPC implementation. Only the
//! fields that weights need are written and read.

mod measure;
mod out_of_band;
mod reporter;
mod service;

pub use meshless_core::LoadReport;

pub use self::out_of_band::OpenRcaService;
pub use self::reporter::LoadReporter;
pub use self::service::{ReportCall, ReportLoad, ReportingBody};
