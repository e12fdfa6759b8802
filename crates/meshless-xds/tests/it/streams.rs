//! What a client is told, and when.

use std::time::Duration;

use envoy_types::pb::envoy::service::discovery::v3::DiscoveryRequest;
use meshless_xds::{ControlPlaneConfig, PolicyBook};

use crate::support::{Ads, CDS, EDS, LDS, Plane, errors, list, names, request};

const NAME: &str = "echo.shop:50051";

fn config() -> ControlPlaneConfig {
    ControlPlaneConfig::new().service(NAME, list("10.0.0.1:1")).service("cart.shop:1", list("10.0.0.9:1"))
}

#[tokio::test]
async fn a_client_goes_from_the_listener_to_the_endpoints() {
    let plane = Plane::start(config());
    let mut ads = Ads::open(plane.address).await;
    for type_url in [LDS, CDS, EDS] {
        ads.subscribe(type_url, &[NAME]).await;
        let response = ads.next().await;
        assert_eq!((response.type_url.as_str(), &names(&response)[..]), (type_url, &[NAME.to_owned()][..]));
        assert_eq!(response.version_info.len(), 16, "{}", response.version_info);
        ads.ack_for(&response, &[NAME]).await;
    }
    ads.expect_silence().await;
}

#[tokio::test]
async fn a_listener_answer_holds_every_name_and_an_unknown_one_has_a_reason() {
    let plane = Plane::start(config());
    let mut ads = Ads::open(plane.address).await;
    ads.subscribe(LDS, &[NAME]).await;
    let first = ads.next().await;
    ads.ack_for(&first, &["cart.shop:1", NAME, "echo:50051"]).await;
    // The unknown name is looked for first.
    let mut response = ads.next().await;
    if response.resource_errors.is_empty() {
        assert_eq!(names(&response), ["cart.shop:1", NAME]);
        ads.ack_for(&response, &["cart.shop:1", NAME, "echo:50051"]).await;
        response = ads.next().await;
    }
    assert_eq!(names(&response), ["cart.shop:1", NAME]);
    let [(name, reason)] = &errors(&response)[..] else { panic!("{response:?}") };
    assert_eq!(name, "echo:50051");
    assert!(reason.contains("serves no service"), "{reason}");
    ads.ack_for(&response, &["cart.shop:1", NAME, "echo:50051"]).await;
    ads.expect_silence().await;
    let clients = plane.control_plane.clients();
    assert_eq!(clients[0].unknown, ["echo:50051"]);
}

#[tokio::test]
async fn a_name_that_an_idle_channel_asks_for_again_is_answered() {
    let plane = Plane::start(config());
    let mut ads = Ads::open(plane.address).await;
    ads.subscribe(LDS, &[NAME]).await;
    let mut last = ads.next().await;
    for _ in 0..20 {
        ads.ack_for(&last, &[]).await;
        ads.ack_for(&last, &[NAME]).await;
        let again = ads.next().await;
        assert_eq!(names(&again), [NAME]);
        assert_eq!(again.version_info, last.version_info, "nothing has changed");
        last = again;
    }
}

#[tokio::test]
async fn what_a_client_refuses_is_shown_and_sent_again_only_when_it_changes() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "{}").unwrap();
    let plane = Plane::start(config().policy_file(file.path()));
    let mut ads = Ads::open(plane.address).await;
    ads.subscribe(CDS, &[NAME]).await;
    let response = ads.next().await;
    for _ in 0..50 {
        ads.nack(&response, &[NAME], "LB policy is not supported").await;
    }
    ads.expect_silence().await;
    let client = plane.control_plane.clients().remove(0);
    assert_eq!(client.types["CDS"].nacks, 1, "one response, one refusal");
    assert_eq!(client.types["CDS"].refusal.as_deref(), Some("LB policy is not supported"));
    assert_eq!((client.node.as_str(), client.user_agent.as_str()), ("test", "gRPC test"));
    assert_eq!(plane.control_plane.stats().nacks, 1);
    std::fs::write(file.path(), r#"{"maxRequests": 7}"#).unwrap();
    let changed = ads.next().await;
    assert_ne!(changed.version_info, response.version_info);
    std::fs::write(file.path(), r#"{"maxRequests": "#).unwrap();
    ads.ack_for(&changed, &[NAME]).await;
    tokio::time::sleep(Duration::from_millis(1200)).await;
    ads.expect_silence().await;
    assert_eq!(plane.control_plane.clients()[0].types["CDS"].accepted, changed.version_info);
}

#[tokio::test]
async fn two_replicas_send_the_same_bytes() {
    let policies = || PolicyBook::from_json(r#"{"zone": "prefer", "outlierDetection": {}}"#).unwrap();
    let one = Plane::start(config().policies(policies()));
    let other = Plane::start(config().service(NAME, list("10.0.0.1:1")).policies(policies()));
    let mut answers = Vec::new();
    for plane in [&one, &other] {
        let mut ads = Ads::open(plane.address).await;
        for type_url in [LDS, CDS, EDS] {
            ads.subscribe(type_url, &[NAME]).await;
            let response = ads.next().await;
            answers.push((response.version_info, response.resources));
        }
    }
    assert_eq!(answers[..3], answers[3..]);
}

#[tokio::test]
async fn a_client_that_comes_back_is_answered_for_each_type_although_it_has_the_version() {
    let plane = Plane::start(config());
    let mut ads = Ads::open(plane.address).await;
    ads.subscribe(EDS, &[NAME]).await;
    let version_info = ads.next().await.version_info;
    let mut again = Ads::open(plane.address).await;
    again.send(DiscoveryRequest { version_info: version_info.clone(), ..request(EDS, &[NAME]) }).await;
    assert_eq!(again.next().await.version_info, version_info);
}

#[tokio::test]
async fn a_stream_ends_without_an_error_when_the_control_plane_goes() {
    let plane = Plane::start(config());
    let mut ads = Ads::open(plane.address).await;
    ads.subscribe(EDS, &[NAME]).await;
    ads.next().await;
    plane.stop();
    assert!(ads.end().await.is_ok(), "clients would count an error");
}
