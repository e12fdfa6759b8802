//! The fields of ORCA's messages (`xds.data.orca.v3`, `xds.service.orca.v3`) that are used here.

use std::time::Duration;

use meshless_core::LoadReport;

/// The part of `xds.data.orca.v3.OrcaLoadReport` that A58 reads.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct OrcaLoadReport {
    #[prost(double, tag = "1")]
    cpu_utilization: f64,
    #[prost(double, tag = "6")]
    rps_fractional: f64,
    #[prost(double, tag = "7")]
    eps: f64,
    #[prost(double, tag = "9")]
    application_utilization: f64,
}

/// `xds.service.orca.v3.OrcaLoadReportRequest`, without the names of request costs. Reports apart
/// from calls have none ("For OOB, we only support utilization metrics, not request cost metrics",
/// A51).
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct OrcaLoadReportRequest {
    #[prost(message, optional, tag = "1")]
    report_interval: Option<ProtobufDuration>,
}

impl OrcaLoadReportRequest {
    /// Returns a request for reports at this interval, at most a day. Other implementations refuse
    /// what their own durations cannot hold: 292 years in Go and Java, 10 000 years in protobuf.
    pub(crate) fn every(interval: Duration) -> Self {
        let interval = interval.min(INTERVAL_MAX);
        let (seconds, nanos) = (interval.as_secs() as i64, interval.subsec_nanos() as i32);
        Self { report_interval: Some(ProtobufDuration { seconds, nanos }) }
    }

    /// Returns the requested interval; zero if it is missing or invalid.
    pub(crate) fn interval(&self) -> Duration {
        let Some(ProtobufDuration { seconds, nanos }) = self.report_interval else { return Duration::ZERO };
        match (u64::try_from(seconds), u32::try_from(nanos)) {
            (Ok(seconds), Ok(nanos)) if nanos < 1_000_000_000 => Duration::new(seconds, nanos),
            _ => Duration::ZERO,
        }
    }
}

impl From<OrcaLoadReport> for LoadReport {
    fn from(message: OrcaLoadReport) -> Self {
        Self {
            application_utilization: message.application_utilization,
            cpu_utilization: message.cpu_utilization,
            calls_per_second: message.rps_fractional,
            errors_per_second: message.eps,
        }
    }
}

impl From<LoadReport> for OrcaLoadReport {
    fn from(load: LoadReport) -> Self {
        Self {
            cpu_utilization: load.cpu_utilization,
            rps_fractional: load.calls_per_second,
            eps: load.errors_per_second,
            application_utilization: load.application_utilization,
        }
    }
}

/// `google.protobuf.Duration`.
#[derive(Clone, Copy, PartialEq, prost::Message)]
struct ProtobufDuration {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

const INTERVAL_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// The name of the service that reports apart from calls.
pub(crate) const SERVICE: &str = "xds.service.orca.v3.OpenRcaService";
/// The path of its only method.
pub(crate) const STREAM_CORE_METRICS: &str = "/xds.service.orca.v3.OpenRcaService/StreamCoreMetrics";

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    #[test]
    fn an_interval_is_read_as_it_was_written() {
        for interval in [Duration::ZERO, Duration::from_millis(1500), Duration::new(86_399, 999_999_999)] {
            let bytes = OrcaLoadReportRequest::every(interval).encode_to_vec();
            assert_eq!(OrcaLoadReportRequest::decode(&*bytes).unwrap().interval(), interval);
        }
    }

    #[test]
    fn an_interval_is_asked_for_that_any_server_can_hold() {
        for interval in [Duration::from_secs(86_400), Duration::new(86_400, 1), Duration::MAX] {
            assert_eq!(OrcaLoadReportRequest::every(interval).interval(), Duration::from_secs(86_400));
        }
    }

    #[test]
    fn a_request_of_another_implementation_is_read() {
        // { report_interval: { seconds: 10 }, request_cost_names: "db" }, encoded by hand.
        let bytes = b"\x0a\x02\x08\x0a\x12\x02db";
        assert_eq!(OrcaLoadReportRequest::decode(&bytes[..]).unwrap().interval(), Duration::from_secs(10));
    }

    #[test]
    fn an_interval_that_makes_no_sense_is_none() {
        let of = |seconds, nanos| {
            let interval = Some(ProtobufDuration { seconds, nanos });
            OrcaLoadReportRequest { report_interval: interval }.interval()
        };
        let nonsense = [of(-1, 0), of(1, -1), of(0, i32::MAX), of(i64::MIN, i32::MIN)];
        assert_eq!(nonsense, [Duration::ZERO; 4]);
        assert_eq!(OrcaLoadReportRequest::default().interval(), Duration::ZERO);
    }
}
