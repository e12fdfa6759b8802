//! `google.protobuf`: values that may be absent, and messages of any type.

use bytes::Bytes;
use prost::Message;

/// `google.protobuf.Any`. Its value is shared, so that a thousand streams hold one encoding.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Any {
    #[prost(string, tag = "1")]
    pub(crate) type_url: String,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) value: Bytes,
}

/// `google.protobuf.UInt32Value`.
#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct UInt32Value {
    #[prost(uint32, tag = "1")]
    pub(crate) value: u32,
}

/// `google.protobuf.UInt64Value`.
#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct UInt64Value {
    #[prost(uint64, tag = "1")]
    pub(crate) value: u64,
}

/// `google.protobuf.BoolValue`.
#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct BoolValue {
    #[prost(bool, tag = "1")]
    pub(crate) value: bool,
}

/// `google.protobuf.FloatValue`.
#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct FloatValue {
    #[prost(float, tag = "1")]
    pub(crate) value: f32,
}

/// `google.protobuf.Duration`.
#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct Duration {
    #[prost(int64, tag = "1")]
    pub(crate) seconds: i64,
    #[prost(int32, tag = "2")]
    pub(crate) nanos: i32,
}

/// A message without fields that matter, whose presence says everything.
#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct Empty {}

/// `message` as a value of the type `name`, such as `envoy.config.cluster.v3.Cluster`.
pub(crate) fn pack(name: &str, message: &impl Message) -> Any {
    Any { type_url: format!("{TYPE_URL}{name}"), value: message.encode_to_vec().into() }
}

impl From<std::time::Duration> for Duration {
    fn from(duration: std::time::Duration) -> Self {
        let seconds = i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
        Self { seconds, nanos: duration.subsec_nanos().cast_signed() }
    }
}

impl From<u32> for UInt32Value {
    fn from(value: u32) -> Self {
        Self { value }
    }
}

/// What type names stand behind.
pub(crate) const TYPE_URL: &str = "type.googleapis.com/";
