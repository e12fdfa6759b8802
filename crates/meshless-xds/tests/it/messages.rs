//! What is sent, read with Envoy's own messages: every field where Envoy has it.

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::cluster::v3::cluster::{ClusterDiscoveryType, DiscoveryType, LbPolicy};
use envoy_types::pb::envoy::config::core::v3::config_source::ConfigSourceSpecifier;
use envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use envoy_types::pb::envoy::config::listener::v3::Listener;
use envoy_types::pb::envoy::config::route::v3::route::Action;
use envoy_types::pb::envoy::config::route::v3::route_action::{ClusterSpecifier, hash_policy::PolicySpecifier};
use envoy_types::pb::envoy::config::route::v3::route_match::PathSpecifier;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::RouteSpecifier;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_filter::ConfigType;
use envoy_types::pb::envoy::extensions::load_balancing_policies::least_request::v3::LeastRequest;
use envoy_types::pb::envoy::extensions::load_balancing_policies::ring_hash::v3::RingHash;
use envoy_types::pb::envoy::extensions::load_balancing_policies::wrr_locality::v3::WrrLocality;
use envoy_types::pb::google::protobuf::{Any, Duration};
use meshless_xds::{ControlPlaneConfig, PolicyBook};
use prost::{Message, Name};

use crate::support::{Ads, CDS, EDS, LDS, Plane, list, resources};

const NAME: &str = "echo.shop:50051";

async fn plane(policies: &str) -> (Plane, Ads) {
    let config = ControlPlaneConfig::new()
        .service(NAME, list("10.0.0.2:1,10.0.0.1:1"))
        .policies(PolicyBook::from_json(policies).unwrap());
    let plane = Plane::start(config);
    let ads = Ads::open(plane.address).await;
    (plane, ads)
}

async fn only<M: Message + Default + Name>(ads: &mut Ads, type_url: &str) -> M {
    ads.subscribe(type_url, &[NAME]).await;
    let response = ads.next().await;
    resources(&response).pop().unwrap()
}

fn unpack<M: Message + Default + Name>(any: Option<Any>) -> M {
    let any = any.unwrap();
    assert_eq!(any.type_url, M::type_url());
    M::decode(&any.value[..]).unwrap()
}

fn seconds(duration: Option<Duration>) -> f64 {
    let duration = duration.unwrap();
    duration.seconds as f64 + f64::from(duration.nanos) * 1e-9
}

#[tokio::test]
async fn a_listener_has_its_routes_inline_and_ends_with_the_router() {
    let (_plane, mut ads) = plane(
        r#"{"loadBalancingConfig": [{"ring_hash": {"requestHashHeader": "session"}}],
            "methodConfig": [
              {"name": [{"service": "shop.Cart"}], "timeout": "2.5s", "retryPolicy": {"maxAttempts": 3,
               "initialBackoff": "0.1s", "maxBackoff": "1s", "retryableStatusCodes": ["UNAVAILABLE", "INTERNAL"]}}]}"#,
    )
    .await;
    let listener: Listener = only(&mut ads, LDS).await;
    assert_eq!(listener.name, NAME);
    let manager: HttpConnectionManager = unpack(listener.api_listener.unwrap().api_listener);
    let [filter] = &manager.http_filters[..] else { panic!("{manager:?}") };
    let Some(ConfigType::TypedConfig(router)) = &filter.config_type else { panic!("{filter:?}") };
    assert_eq!(router.type_url, "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router");
    let Some(RouteSpecifier::RouteConfig(routes)) = manager.route_specifier else { panic!("no routes") };
    let [host] = &routes.virtual_hosts[..] else { panic!("{routes:?}") };
    assert_eq!(host.domains, ["*"]);
    let [cart, others] = &host.routes[..] else { panic!("{host:?}") };
    let path = |route: &envoy_types::pb::envoy::config::route::v3::Route| {
        route.r#match.clone().unwrap().path_specifier
    };
    assert_eq!(path(cart), Some(PathSpecifier::Prefix("/shop.Cart/".to_owned())));
    assert_eq!(path(others), Some(PathSpecifier::Prefix(String::new())));
    let Some(Action::Route(action)) = &cart.action else { panic!("{cart:?}") };
    assert_eq!(action.cluster_specifier, Some(ClusterSpecifier::Cluster(NAME.to_owned())));
    let retry = action.retry_policy.clone().unwrap();
    assert_eq!((retry.retry_on.as_str(), retry.num_retries.unwrap().value), ("unavailable,internal", 2));
    let back_off = retry.retry_back_off.unwrap();
    assert_eq!((seconds(back_off.base_interval), seconds(back_off.max_interval)), (0.1, 1.0));
    assert_eq!(seconds(action.max_stream_duration.unwrap().grpc_timeout_header_max), 2.5);
    let Some(PolicySpecifier::Header(header)) = &action.hash_policy[0].policy_specifier else {
        panic!("{action:?}")
    };
    assert_eq!(header.header_name, "session");
    let Some(Action::Route(action)) = &others.action else { panic!("{others:?}") };
    assert_eq!((&action.retry_policy, &action.max_stream_duration), (&None, &None));
}

#[tokio::test]
async fn a_cluster_names_its_policies_as_a_list_that_all_languages_can_take() {
    let (_plane, mut ads) =
        plane(r#"{"loadBalancingConfig": [{"least_request": {"choiceCount": 3}}]}"#).await;
    let cluster: Cluster = only(&mut ads, CDS).await;
    assert_eq!(cluster.cluster_discovery_type, Some(ClusterDiscoveryType::Type(DiscoveryType::Eds as i32)));
    assert_eq!(cluster.lb_policy, LbPolicy::RoundRobin as i32, "tonic-xds reads this one");
    let source = cluster.eds_cluster_config.clone().unwrap();
    assert_eq!(source.service_name, NAME);
    let source = source.eds_config.unwrap().config_source_specifier;
    assert!(matches!(source, Some(ConfigSourceSpecifier::Ads(_))), "{source:?}");
    let [policy] = &cluster.load_balancing_policy.clone().unwrap().policies[..] else {
        panic!("{cluster:?}")
    };
    let locality: WrrLocality = unpack(policy.typed_extension_config.clone().unwrap().typed_config);
    let [least, round] = &locality.endpoint_picking_policy.unwrap().policies[..] else {
        panic!("{cluster:?}")
    };
    let least: LeastRequest = unpack(least.typed_extension_config.clone().unwrap().typed_config);
    assert_eq!(least.choice_count.unwrap().value, 3);
    let round = round.typed_extension_config.clone().unwrap().typed_config.unwrap();
    assert_eq!(
        round.type_url,
        "type.googleapis.com/envoy.extensions.load_balancing_policies.round_robin.v3.RoundRobin"
    );
    let thresholds = &cluster.circuit_breakers.unwrap().thresholds;
    assert_eq!(thresholds[0].max_requests.unwrap().value, i32::MAX as u32, "1024 unless it is said");
    assert_eq!(cluster.outlier_detection, None);
    let lrs = cluster.lrs_server.unwrap().config_source_specifier;
    assert!(matches!(lrs, Some(ConfigSourceSpecifier::Self_(_))), "grpc-java counts only with it: {lrs:?}");
}

#[tokio::test]
async fn a_cluster_has_what_its_policy_bounds_and_ejects() {
    let (_plane, mut ads) = plane(
        r#"{"loadBalancingConfig": [{"ring_hash": {"minRingSize": 10, "requestHashHeader": "k"}}, {"round_robin": {}}],
            "maxRequests": 3, "outlierDetection": {"interval": "0.5s", "failurePercentageEjection": {"threshold": 40}}}"#,
    )
    .await;
    let cluster: Cluster = only(&mut ads, CDS).await;
    assert_eq!(cluster.circuit_breakers.unwrap().thresholds[0].max_requests.unwrap().value, 3);
    let [ring, locality] = &cluster.load_balancing_policy.unwrap().policies[..] else {
        panic!("two policies")
    };
    let ring: RingHash = unpack(ring.typed_extension_config.clone().unwrap().typed_config);
    assert_eq!((ring.hash_function, ring.minimum_ring_size.unwrap().value), (1, 10));
    let _: WrrLocality = unpack(locality.typed_extension_config.clone().unwrap().typed_config);
    let outliers = cluster.outlier_detection.unwrap();
    let value = |value: Option<envoy_types::pb::google::protobuf::UInt32Value>| value.unwrap().value;
    assert_eq!(seconds(outliers.interval), 0.5);
    assert_eq!(value(outliers.failure_percentage_threshold), 40);
    assert_eq!(value(outliers.enforcing_failure_percentage), 100, "0 unless it is said");
    assert_eq!(value(outliers.failure_percentage_minimum_hosts), 3);
    assert_eq!(value(outliers.failure_percentage_request_volume), 10);
    assert_eq!(value(outliers.enforcing_success_rate), 0, "on unless it is said");
    assert_eq!(value(outliers.max_ejection_percent), 50);
    assert!(seconds(outliers.max_ejection_time) >= seconds(outliers.base_ejection_time));
}

#[tokio::test]
async fn endpoints_are_sorted_and_each_locality_has_a_weight() {
    let (_plane, mut ads) = plane("{}").await;
    let assignment: ClusterLoadAssignment = only(&mut ads, EDS).await;
    let [locality] = &assignment.endpoints[..] else { panic!("{assignment:?}") };
    assert!(locality.locality.is_some(), "clients refuse a locality without its id");
    assert_eq!(locality.load_balancing_weight.unwrap().value, 1, "clients skip one without a weight");
    assert_eq!(locality.priority, 0);
    let addresses: Vec<_> = crate::support::addresses(&assignment).into_iter().collect();
    assert_eq!(addresses, ["10.0.0.1:1", "10.0.0.2:1"]);
}
