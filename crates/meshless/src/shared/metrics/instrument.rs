//! What the instruments share: names of labels, bucket boundaries, and constructors.

use opentelemetry::metrics::{Counter, Histogram, Meter, UpDownCounter};
use opentelemetry::{Key, KeyValue, StringValue};
use tonic::Code;

use crate::shared::grpc::core_code;

pub(crate) const METHOD: &str = "grpc.method";
pub(crate) const TARGET: &str = "grpc.target";
pub(crate) const STATUS: &str = "grpc.status";

/// "Unregistered/generic method names should by default be reported with "other" value instead"
/// (A66).
pub(crate) const OTHER: &str = "other";

/// "Latency" (A66), in seconds.
pub(crate) const LATENCY: &[f64] = &[
    0.0, 0.00001, 0.00005, 0.0001, 0.0003, 0.0006, 0.0008, 0.001, 0.002, 0.003, 0.004, 0.005, 0.006, 0.008,
    0.01, 0.013, 0.016, 0.02, 0.025, 0.03, 0.04, 0.05, 0.065, 0.08, 0.1, 0.13, 0.16, 0.2, 0.25, 0.3, 0.4,
    0.5, 0.65, 0.8, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0,
];

/// "Size" (A66), in bytes.
pub(crate) const SIZE: &[f64] = &[
    0.0,
    1024.0,
    2048.0,
    4096.0,
    16384.0,
    65536.0,
    262144.0,
    1048576.0,
    4194304.0,
    16777216.0,
    67108864.0,
    268435456.0,
    1073741824.0,
    4294967296.0,
];

/// "Count" (A66).
pub(crate) const COUNT: &[f64] = &[
    0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0, 16384.0,
    32768.0, 65536.0,
];

/// A counter.
pub(crate) fn counter(
    meter: &Meter,
    name: &'static str,
    unit: &'static str,
    description: &'static str,
) -> Counter<u64> {
    meter.u64_counter(name).with_unit(unit).with_description(description).build()
}

/// An up-down counter.
pub(crate) fn up_down(
    meter: &Meter,
    name: &'static str,
    unit: &'static str,
    description: &'static str,
) -> UpDownCounter<i64> {
    meter.i64_up_down_counter(name).with_unit(unit).with_description(description).build()
}

/// A histogram of seconds.
pub(crate) fn seconds(
    meter: &Meter,
    name: &'static str,
    boundaries: &[f64],
    description: &'static str,
) -> Histogram<f64> {
    let builder = meter.f64_histogram(name).with_unit("s").with_description(description);
    builder.with_boundaries(boundaries.to_vec()).build()
}

/// A histogram of whole numbers.
pub(crate) fn numbers(
    meter: &Meter,
    name: &'static str,
    unit: &'static str,
    boundaries: &[f64],
    description: &'static str,
) -> Histogram<u64> {
    let builder = meter.u64_histogram(name).with_unit(unit).with_description(description);
    builder.with_boundaries(boundaries.to_vec()).build()
}

/// A label.
pub(crate) fn label(key: &'static str, value: impl Into<StringValue>) -> KeyValue {
    KeyValue::new(Key::from_static_str(key), value.into())
}

/// `grpc.status`, in gRPC's spelling.
pub(crate) fn status(code: Code) -> KeyValue {
    label(STATUS, core_code(code).as_str())
}
