//! The wire format of ORCA's load reports (gRFC A51): in a response's trailers, and in a stream of
//! their own.

mod message;

use http::{HeaderMap, HeaderName, HeaderValue};
use meshless_core::LoadReport;
use prost::Message as _;
use tonic::metadata::{BinaryMetadataValue, MetadataMap};

pub(crate) use self::message::{OrcaLoadReport, OrcaLoadReportRequest, SERVICE, STREAM_CORE_METRICS};

/// Returns the report in a response's trailers, if there is one and it can be parsed.
pub(crate) fn read(trailers: &HeaderMap) -> Option<LoadReport> {
    let mut alone = HeaderMap::with_capacity(1);
    alone.insert(TRAILER, trailers.get(&TRAILER)?.clone());
    let bytes = MetadataMap::from_headers(alone).get_bin(TRAILER.as_str())?.to_bytes().ok()?;
    OrcaLoadReport::decode(bytes).ok().map(LoadReport::from)
}

/// Returns the report as the value of a trailer.
pub(crate) fn trailer(load: &LoadReport) -> HeaderValue {
    let value = BinaryMetadataValue::from_bytes(&OrcaLoadReport::from(*load).encode_to_vec());
    HeaderValue::from_bytes(value.as_encoded_bytes()).expect("base64 is a header value")
}

pub(crate) const TRAILER: HeaderName = HeaderName::from_static("endpoint-load-metrics-bin");

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
        // The example in ORCA's documentation: { cpu_utilization: 0.1, rps_fractional: 2,
        // named_metrics: { foo: 0.1, bar: 0.2 } }.
        let value =
            HeaderValue::from_static("CZqZmZmZmbk/MQAAAAAAAABAQg4KA2ZvbxGamZmZmZm5P0IOCgNiYXIRmpmZmZmZyT8=");
        let load = read(&HeaderMap::from_iter([(TRAILER, value)])).unwrap();
        assert_eq!((load.cpu_utilization, load.calls_per_second), (0.1, 2.0));
    }
}
