//! `envoy.config.cluster.v3`: how the endpoints of a service are balanced.

use prost::Message;

use super::wrappers::{Any, BoolValue, Duration, Empty, FloatValue, UInt32Value, UInt64Value};

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Cluster {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    /// [`EDS`](Self::EDS).
    #[prost(int32, optional, tag = "2")]
    pub(crate) r#type: Option<i32>,
    #[prost(message, optional, tag = "3")]
    pub(crate) eds_cluster_config: Option<EdsClusterConfig>,
    #[prost(message, optional, tag = "10")]
    pub(crate) circuit_breakers: Option<CircuitBreakers>,
    #[prost(message, optional, tag = "19")]
    pub(crate) outlier_detection: Option<OutlierDetection>,
    #[prost(message, optional, tag = "41")]
    pub(crate) load_balancing_policy: Option<LoadBalancingPolicy>,
    #[prost(message, optional, tag = "42")]
    pub(crate) lrs_server: Option<ConfigSource>,
}

impl Cluster {
    /// Endpoints come from EDS.
    pub(crate) const EDS: i32 = 3;
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct EdsClusterConfig {
    #[prost(message, optional, tag = "1")]
    pub(crate) eds_config: Option<ConfigSource>,
    #[prost(string, tag = "2")]
    pub(crate) service_name: String,
}

/// `envoy.config.core.v3.ConfigSource`; one of the two.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ConfigSource {
    /// This stream.
    #[prost(message, optional, tag = "3")]
    pub(crate) ads: Option<Empty>,
    /// This control plane.
    #[prost(message, optional, tag = "5")]
    pub(crate) self_: Option<Empty>,
    #[prost(int32, tag = "6")]
    pub(crate) resource_api_version: i32,
}

impl ConfigSource {
    const V3: i32 = 2;

    pub(crate) fn ads() -> Self {
        Self { ads: Some(Empty {}), self_: None, resource_api_version: Self::V3 }
    }

    pub(crate) fn itself() -> Self {
        Self { ads: None, self_: Some(Empty {}), resource_api_version: Self::V3 }
    }
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct CircuitBreakers {
    #[prost(message, repeated, tag = "1")]
    pub(crate) thresholds: Vec<Thresholds>,
}

/// Of the priority DEFAULT.
#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct Thresholds {
    #[prost(message, optional, tag = "4")]
    pub(crate) max_requests: Option<UInt32Value>,
}

/// Percentages that are not set have Envoy's defaults in clients, among them 0 for
/// `enforcing_failure_percentage`.
#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct OutlierDetection {
    #[prost(message, optional, tag = "2")]
    pub(crate) interval: Option<Duration>,
    #[prost(message, optional, tag = "3")]
    pub(crate) base_ejection_time: Option<Duration>,
    #[prost(message, optional, tag = "4")]
    pub(crate) max_ejection_percent: Option<UInt32Value>,
    #[prost(message, optional, tag = "6")]
    pub(crate) enforcing_success_rate: Option<UInt32Value>,
    #[prost(message, optional, tag = "7")]
    pub(crate) success_rate_minimum_hosts: Option<UInt32Value>,
    #[prost(message, optional, tag = "8")]
    pub(crate) success_rate_request_volume: Option<UInt32Value>,
    #[prost(message, optional, tag = "9")]
    pub(crate) success_rate_stdev_factor: Option<UInt32Value>,
    #[prost(message, optional, tag = "16")]
    pub(crate) failure_percentage_threshold: Option<UInt32Value>,
    #[prost(message, optional, tag = "17")]
    pub(crate) enforcing_failure_percentage: Option<UInt32Value>,
    #[prost(message, optional, tag = "19")]
    pub(crate) failure_percentage_minimum_hosts: Option<UInt32Value>,
    #[prost(message, optional, tag = "20")]
    pub(crate) failure_percentage_request_volume: Option<UInt32Value>,
    #[prost(message, optional, tag = "21")]
    pub(crate) max_ejection_time: Option<Duration>,
}

/// The first policy that a client has counts (gRFC A52).
#[derive(Clone, PartialEq, Message)]
pub(crate) struct LoadBalancingPolicy {
    #[prost(message, repeated, tag = "1")]
    pub(crate) policies: Vec<Policy>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Policy {
    #[prost(message, optional, tag = "4")]
    pub(crate) typed_extension_config: Option<TypedExtensionConfig>,
}

/// `envoy.config.core.v3.TypedExtensionConfig`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct TypedExtensionConfig {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(message, optional, tag = "2")]
    pub(crate) typed_config: Option<Any>,
}

/// Localities by their weights, and within one by another policy.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct WrrLocality {
    #[prost(message, optional, tag = "1")]
    pub(crate) endpoint_picking_policy: Option<LoadBalancingPolicy>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct LeastRequest {
    #[prost(message, optional, tag = "1")]
    pub(crate) choice_count: Option<UInt32Value>,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct RingHash {
    /// [`XX_HASH`](Self::XX_HASH); clients refuse others.
    #[prost(int32, tag = "1")]
    pub(crate) hash_function: i32,
    #[prost(message, optional, tag = "2")]
    pub(crate) minimum_ring_size: Option<UInt64Value>,
    #[prost(message, optional, tag = "3")]
    pub(crate) maximum_ring_size: Option<UInt64Value>,
}

impl RingHash {
    pub(crate) const XX_HASH: i32 = 1;
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct PickFirst {
    #[prost(bool, tag = "1")]
    pub(crate) shuffle_address_list: bool,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub(crate) struct ClientSideWeightedRoundRobin {
    #[prost(message, optional, tag = "1")]
    pub(crate) enable_oob_load_report: Option<BoolValue>,
    #[prost(message, optional, tag = "2")]
    pub(crate) oob_reporting_period: Option<Duration>,
    #[prost(message, optional, tag = "3")]
    pub(crate) blackout_period: Option<Duration>,
    #[prost(message, optional, tag = "4")]
    pub(crate) weight_expiration_period: Option<Duration>,
    #[prost(message, optional, tag = "5")]
    pub(crate) weight_update_period: Option<Duration>,
    #[prost(message, optional, tag = "6")]
    pub(crate) error_utilization_penalty: Option<FloatValue>,
}
