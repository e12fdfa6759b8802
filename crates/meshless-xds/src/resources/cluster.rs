//! How a service's endpoints are balanced: a list of policies, ejection, and the bound on calls.

use meshless_core::ResourceKind;

use super::Encoded;
use crate::policy::{Balancing, MAX_REQUESTS_MAX, Outliers, ServicePolicy, Weighted};
use crate::proto::cluster::{
    CircuitBreakers, ClientSideWeightedRoundRobin, Cluster, ConfigSource, EdsClusterConfig, LeastRequest,
    LoadBalancingPolicy, OutlierDetection, PickFirst, Policy, RingHash, Thresholds, TypedExtensionConfig,
    WrrLocality,
};
use crate::proto::wrappers::{BoolValue, Empty, FloatValue, UInt64Value};
use crate::proto::{Any, pack};

/// The cluster `name`.
///
/// Its `lb_policy` stays at ROUND_ROBIN, which all clients have; those that know lists (gRFC A52:
/// all since 2023) go by the list alone.
pub(crate) fn cluster(name: &str, policy: &ServicePolicy) -> Encoded {
    // gRFC A32: without a number, the 1025th concurrent call fails.
    let max_requests = policy.max_requests.unwrap_or(MAX_REQUESTS_MAX);
    let cluster = Cluster {
        name: name.to_owned(),
        r#type: Some(Cluster::EDS),
        eds_cluster_config: Some(EdsClusterConfig {
            eds_config: Some(ConfigSource::ads()),
            service_name: name.to_owned(),
        }),
        circuit_breakers: Some(CircuitBreakers {
            thresholds: vec![Thresholds { max_requests: Some(max_requests.into()) }],
        }),
        outlier_detection: policy.outliers.as_ref().map(outlier_detection),
        load_balancing_policy: Some(policies(&policy.balancing)),
        // grpc-java counts the calls of a connection only if the cluster named a server for load
        // reports when it was made. So it is always there, and `maxRequests` can come later.
        lrs_server: Some(ConfigSource::itself()),
    };
    Encoded::of(ResourceKind::Cluster, &cluster)
}

/// `wrr_locality` around what picks within a locality. ring_hash has all localities on one ring.
fn policies(list: &[Balancing]) -> LoadBalancingPolicy {
    let mut policies = Vec::new();
    let mut within: Vec<Policy> = Vec::new();
    for balancing in list {
        if let Balancing::RingHash { size_min, size_max } = balancing {
            flush(&mut within, &mut policies);
            let ring = RingHash {
                hash_function: RingHash::XX_HASH,
                minimum_ring_size: size_min.map(|value| UInt64Value { value }),
                maximum_ring_size: size_max.map(|value| UInt64Value { value }),
            };
            policies.push(entry("ring_hash", pack(&extension("ring_hash", "RingHash"), &ring)));
        } else {
            within.push(picking(balancing));
        }
    }
    flush(&mut within, &mut policies);
    LoadBalancingPolicy { policies }
}

fn flush(within: &mut Vec<Policy>, policies: &mut Vec<Policy>) {
    if within.is_empty() {
        return;
    }
    let picking = LoadBalancingPolicy { policies: std::mem::take(within) };
    let locality = WrrLocality { endpoint_picking_policy: Some(picking) };
    policies.push(entry("wrr_locality", pack(&extension("wrr_locality", "WrrLocality"), &locality)));
}

fn picking(balancing: &Balancing) -> Policy {
    match balancing {
        Balancing::LeastRequest { choice_count } => {
            let message = LeastRequest { choice_count: Some((*choice_count).into()) };
            entry("least_request", pack(&extension("least_request", "LeastRequest"), &message))
        }
        Balancing::PickFirst { shuffle } => {
            let message = PickFirst { shuffle_address_list: *shuffle };
            entry("pick_first", pack(&extension("pick_first", "PickFirst"), &message))
        }
        Balancing::WeightedRoundRobin(weighted) => {
            let name = extension("client_side_weighted_round_robin", "ClientSideWeightedRoundRobin");
            entry("client_side_weighted_round_robin", pack(&name, &weighted_round_robin(weighted)))
        }
        Balancing::RoundRobin | Balancing::RingHash { .. } => {
            entry("round_robin", pack(&extension("round_robin", "RoundRobin"), &Empty {}))
        }
    }
}

fn weighted_round_robin(weighted: &Weighted) -> ClientSideWeightedRoundRobin {
    ClientSideWeightedRoundRobin {
        enable_oob_load_report: weighted.out_of_band.map(|value| BoolValue { value }),
        oob_reporting_period: weighted.out_of_band_period.map(Into::into),
        blackout_period: weighted.blackout.map(Into::into),
        weight_expiration_period: weighted.expiration.map(Into::into),
        weight_update_period: weighted.update.map(Into::into),
        #[expect(clippy::cast_possible_truncation, reason = "read as at most f32::MAX")]
        error_utilization_penalty: weighted.error_penalty.map(|value| FloatValue { value: value as f32 }),
    }
}

/// A detection that is off must be told so: Envoy's success rate is on by default.
fn outlier_detection(outliers: &Outliers) -> OutlierDetection {
    let rate = outliers.success_rate;
    let failures = outliers.failure_percentage;
    OutlierDetection {
        interval: Some(outliers.interval.into()),
        base_ejection_time: Some(outliers.base_time.into()),
        max_ejection_time: Some(outliers.max_time.into()),
        max_ejection_percent: Some(outliers.max_percent.into()),
        enforcing_success_rate: Some(rate.map_or(0, |rate| rate.enforcement).into()),
        success_rate_minimum_hosts: rate.map(|rate| rate.hosts_min.into()),
        success_rate_request_volume: rate.map(|rate| rate.volume_min.into()),
        success_rate_stdev_factor: rate.map(|rate| rate.limit.into()),
        enforcing_failure_percentage: Some(failures.map_or(0, |failures| failures.enforcement).into()),
        failure_percentage_threshold: failures.map(|failures| failures.limit.into()),
        failure_percentage_minimum_hosts: failures.map(|failures| failures.hosts_min.into()),
        failure_percentage_request_volume: failures.map(|failures| failures.volume_min.into()),
    }
}

fn entry(name: &str, config: Any) -> Policy {
    let config = TypedExtensionConfig { name: name.to_owned(), typed_config: Some(config) };
    Policy { typed_extension_config: Some(config) }
}

fn extension(package: &str, message: &str) -> String {
    format!("envoy.extensions.load_balancing_policies.{package}.v3.{message}")
}
