//! Servers that say how loaded they are: ORCA's reports (gRFC A51), which `weighted_round_robin` (gRFC A58) weighs backends by.
//!
//! A server wraps its services; every response then ends with a report of what the process measured. Clients may rather have the same
//! in a stream of its own, apart from calls: if the server offers that, too, and they ask for it
//! ([`WeightedConfig::oob_load_report`](crate::WeightedConfig::oob_load_report), or `enableOobLoadReport` in a service config).
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
//! Both ends speak gRPC's own format, so the other may be any gRPC implementation. Of the report only what weights are made of
//! is written and read.

mod measure;
mod message;
mod out_of_band;
mod service;

use http::{HeaderMap, HeaderName, HeaderValue};
pub use meshless_core::LoadReport;
use prost::Message as _;
use tonic::metadata::{BinaryMetadataValue, MetadataMap};

pub use self::measure::LoadReporter;
pub(crate) use self::message::{OrcaLoadReport, OrcaLoadReportRequest, STREAM_CORE_METRICS};
pub use self::out_of_band::OpenRcaService;
pub use self::service::{ReportCall, ReportLoad, ReportingBody};

/// The report among the trailers of a response, if there is one that can be read.
pub(crate) fn read(trailers: &HeaderMap) -> Option<LoadReport> {
    let mut alone = HeaderMap::with_capacity(1);
    alone.insert(TRAILER, trailers.get(&TRAILER)?.clone());
    let bytes = MetadataMap::from_headers(alone).get_bin(TRAILER.as_str())?.to_bytes().ok()?;
    OrcaLoadReport::decode(bytes).ok().map(LoadReport::from)
}

/// The report as the value of a trailer.
fn trailer(load: &LoadReport) -> HeaderValue {
    let value = BinaryMetadataValue::from_bytes(&OrcaLoadReport::from(*load).encode_to_vec());
    HeaderValue::from_bytes(value.as_encoded_bytes()).expect("base64 is a header value")
}

const TRAILER: HeaderName = HeaderName::from_static("endpoint-load-metrics-bin");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let load = LoadReport {
            application_utilization: 0.25,
            cpu_utilization: 0.5,
            calls_per_second: 120.5,
            errors_per_second: 1.5,
        };
        assert_eq!(read(&HeaderMap::from_iter([(TRAILER, trailer(&load))])), Some(load));
        assert_eq!(read(&HeaderMap::new()), None);
        let nonsense = HeaderValue::from_static("no base64!");
        assert_eq!(read(&HeaderMap::from_iter([(TRAILER, nonsense)])), None);
    }

    #[test]
    fn a_report_of_another_implementation_is_read() {
        // The example in ORCA's documentation: { cpu_utilization: 0.1, rps_fractional: 2, named_metrics: { foo: 0.1, bar: 0.2 } }.
        let value =
            HeaderValue::from_static("CZqZmZmZmbk/MQAAAAAAAABAQg4KA2ZvbxGamZmZmZm5P0IOCgNiYXIRmpmZmZmZyT8=");
        let load = read(&HeaderMap::from_iter([(TRAILER, value)])).unwrap();
        assert_eq!((load.cpu_utilization, load.calls_per_second), (0.1, 2.0));
    }
}
