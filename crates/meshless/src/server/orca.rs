//! Servers that say how loaded they are: ORCA's reports (gRFC A51), which `weighted_round_robin`
//! (gRFC A58) weighs backends by.
//!
//! A server wraps its services; every response then ends with a report of what the process
//! measured. Clients may rather have the same in a stream of its own, apart from calls: if the
//! server offers that, too, and they ask for it
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
//! Both ends speak gRPC's own format, so the other may be any gRPC implementation. Of the report
//! only what weights are made of is written and read.

mod measure;
mod out_of_band;
mod service;

pub use meshless_core::LoadReport;

pub use self::measure::LoadReporter;
pub use self::out_of_band::OpenRcaService;
pub use self::service::{ReportCall, ReportLoad, ReportingBody};
