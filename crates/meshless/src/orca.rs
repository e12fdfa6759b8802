//! Servers that say how loaded they are, and calls that carry it: ORCA's per-request reports (gRFC A51), which
//! `weighted_round_robin` (gRFC A58) weighs backends by.
//!
//! A server wraps its services; every response then ends with a report of what the process measured:
//!
//! ```no_run
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let load = meshless::orca::LoadReporter::new();
//! let (_reporter, health) = tonic_health::server::health_reporter();
//! meshless::Server::builder().add_service(load.wrap(health)).serve("[::]:50051".parse()?).await?;
//! # Ok(()) }
//! ```
//!
//! Both ends speak gRPC's own format, so the other may be any gRPC implementation. Of the report only what weights are made of
//! is written and read; reports out of band (a stream apart from the calls) are not offered.

mod measure;
mod service;

use http::{HeaderMap, HeaderName, HeaderValue};
pub use meshless_core::LoadReport;
use prost::Message as _;
use tonic::metadata::{BinaryMetadataValue, MetadataMap};

pub use self::measure::LoadReporter;
pub use self::service::{ReportCall, ReportLoad, ReportingBody};

/// The report among the trailers of a response, if there is one that can be read.
pub(crate) fn read(trailers: &HeaderMap) -> Option<LoadReport> {
    let mut alone = HeaderMap::with_capacity(1);
    alone.insert(TRAILER, trailers.get(&TRAILER)?.clone());
    let bytes = MetadataMap::from_headers(alone).get_bin(TRAILER.as_str())?.to_bytes().ok()?;
    let message = OrcaLoadReport::decode(bytes).ok()?;
    Some(LoadReport {
        application_utilization: message.application_utilization,
        cpu_utilization: message.cpu_utilization,
        calls_per_second: message.rps_fractional,
        errors_per_second: message.eps,
    })
}

/// The report as the value of a trailer.
fn trailer(load: &LoadReport) -> HeaderValue {
    let message = OrcaLoadReport {
        cpu_utilization: load.cpu_utilization,
        rps_fractional: load.calls_per_second,
        eps: load.errors_per_second,
        application_utilization: load.application_utilization,
    };
    let value = BinaryMetadataValue::from_bytes(&message.encode_to_vec());
    HeaderValue::from_bytes(value.as_encoded_bytes()).expect("base64 is a header value")
}

/// The part of `xds.data.orca.v3.OrcaLoadReport` that A58 reads.
#[derive(Clone, PartialEq, prost::Message)]
struct OrcaLoadReport {
    #[prost(double, tag = "1")]
    cpu_utilization: f64,
    #[prost(double, tag = "6")]
    rps_fractional: f64,
    #[prost(double, tag = "7")]
    eps: f64,
    #[prost(double, tag = "9")]
    application_utilization: f64,
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
