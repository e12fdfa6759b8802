//! Services of a cluster, with what API servers do.

use std::time::Duration;

use envoy_types::pb::envoy::service::discovery::v3::DiscoveryRequest;
use meshless::resolver::{KubernetesClient, KubernetesConfig};
use meshless_testkit::api_server::{ApiServer, Manner};
use meshless_xds::ControlPlaneConfig;
use serde_json::{Value, json};

use crate::support::{Ads, CDS, EDS, LDS, Plane, errors, names, request};

const NAME: &str = "echo.shop:grpc";

fn pod(last: u8, ready: bool, terminating: bool) -> Value {
    let conditions = json!({ "ready": ready, "serving": true, "terminating": terminating });
    json!({ "addresses": [format!("10.0.0.{last}")], "conditions": conditions, "zone": "a" })
}

fn slice(pods: &[Value]) -> Value {
    json!({ "addressType": "IPv4", "ports": [{ "name": "grpc", "port": 50051 }], "endpoints": pods })
}

fn config(server: &ApiServer) -> ControlPlaneConfig {
    let client = KubernetesClient::new(&format!("http://{}", server.address)).unwrap();
    let config = KubernetesConfig::new()
        .client(client)
        .debounce(Duration::from_millis(10))
        .retry_interval(Duration::from_millis(50))
        .denied_interval(Duration::from_millis(50));
    ControlPlaneConfig::new().kubernetes(config).namespace("shop")
}

#[tokio::test]
async fn a_service_of_a_namespace_is_served_when_it_is_dialled() {
    let server = ApiServer::start().await;
    server.put("echo-a", slice(&[pod(1, true, false), pod(2, true, false), pod(3, false, false)]));
    let plane = Plane::start(config(&server));
    plane.control_plane.ready().await;
    let mut ads = Ads::open(plane.address).await;
    for type_url in [LDS, CDS] {
        ads.subscribe(type_url, &[NAME]).await;
        assert_eq!(names(&ads.next().await), [NAME]);
    }
    ads.subscribe(EDS, &[NAME]).await;
    assert_eq!(ads.endpoints(NAME).await.len(), 2, "one is not ready");
    server.put("echo-a", slice(&[pod(1, true, false), pod(2, false, true)]));
    assert_eq!(ads.endpoints(NAME).await.len(), 1, "one is going");
    server.put("echo-a", slice(&[pod(1, false, true)]));
    ads.expect_silence().await;
    assert_eq!(plane.control_plane.services().await[0].endpoints.len(), 1, "the last one goes, and answers");
    server.put("echo-a", slice(&[pod(4, true, false)]));
    assert_eq!(ads.endpoints(NAME).await.first().unwrap(), "10.0.0.4:50051");
}

#[tokio::test]
async fn a_developer_is_told_what_is_wrong_with_a_name() {
    let server = ApiServer::start().await;
    server.put("echo-a", slice(&[pod(1, true, false)]));
    let plane = Plane::start(config(&server));
    for (name, says) in [
        ("ecko.shop:grpc", "ecko.shop has no EndpointSlice"),
        ("echo.prod:grpc", "the namespace \"prod\" is not served"),
        ("echo:grpc", "write xds:///echo.shop:grpc"),
        ("echo.shop", "is not service.namespace:port"),
    ] {
        let mut ads = Ads::open(plane.address).await;
        ads.subscribe(LDS, &[name]).await;
        let response = ads.next().await;
        let [(missing, reason)] = &errors(&response)[..] else { panic!("{name}: {response:?}") };
        assert_eq!((missing.as_str(), response.resources.len()), (name, 0));
        assert!(reason.contains(says), "{name}: {reason}");
    }
}

#[tokio::test]
async fn nothing_is_answered_before_the_first_list() {
    let server = ApiServer::start().await;
    server.put("echo-a", slice(&[pod(1, true, false)]));
    for manner in [Manner::Denying, Manner::Failing, Manner::Babbling, Manner::SilentLists] {
        server.set_manner(manner);
        let plane = Plane::start(config(&server));
        let mut ads = Ads::open(plane.address).await;
        for type_url in [LDS, CDS, EDS] {
            let version_info = "of the replica before".to_owned();
            ads.send(DiscoveryRequest { version_info, ..request(type_url, &[NAME]) }).await;
        }
        ads.expect_silence().await;
        assert!(!plane.control_plane.is_ready(), "{manner:?}");
        if manner == Manner::SilentLists {
            continue; // A list that hangs is given up after 10 s.
        }
        server.set_manner(Manner::Obliging);
        let answered = [ads.next().await, ads.next().await, ads.next().await];
        assert!(answered.iter().all(|response| names(response) == [NAME]), "{manner:?}: {answered:?}");
        plane.control_plane.ready().await;
    }
}

#[tokio::test]
async fn what_is_known_is_held_while_the_api_server_is_in_trouble() {
    let server = ApiServer::start().await;
    let plane = Plane::start(config(&server));
    server.put("echo-a", slice(&[pod(1, true, false), pod(2, true, false)]));
    let mut ads = Ads::open(plane.address).await;
    ads.subscribe(EDS, &[NAME]).await;
    assert_eq!(ads.endpoints(NAME).await.len(), 2);
    for manner in [Manner::Denying, Manner::Failing, Manner::Babbling] {
        server.set_manner(manner);
        server.break_watches();
        ads.expect_silence().await;
    }
    server.set_manner(Manner::Obliging);
    server.put("echo-a", slice(&[]));
    ads.expect_silence().await;
    server.put("echo-a", slice(&[pod(1, true, false), pod(2, true, false), pod(3, true, false)]));
    assert_eq!(ads.endpoints(NAME).await.len(), 3);
}

#[tokio::test]
async fn a_service_that_is_scaled_to_zero_is_empty_after_the_hold_and_back_at_once() {
    let server = ApiServer::start().await;
    server.put("echo-a", slice(&[pod(1, true, false)]));
    let plane = Plane::start(config(&server).hold(Duration::from_millis(400)));
    let mut ads = Ads::open(plane.address).await;
    ads.subscribe(EDS, &[NAME]).await;
    assert_eq!(ads.endpoints(NAME).await.len(), 1);
    server.put("echo-a", slice(&[]));
    assert_eq!(ads.endpoints(NAME).await.len(), 0);
    server.put("echo-a", slice(&[pod(2, true, false)]));
    assert_eq!(ads.endpoints(NAME).await.len(), 1);
}

#[tokio::test]
async fn a_client_without_a_zone_has_that_of_the_pod_with_its_address() {
    let server = ApiServer::start().await;
    let own = json!({ "addresses": ["127.0.0.1"], "conditions": { "ready": true }, "zone": "eu-1b" });
    server.put("echo-a", slice(&[own]));
    let plane = Plane::start(config(&server));
    let mut ads = Ads::open(plane.address).await;
    ads.subscribe(EDS, &[NAME]).await;
    ads.endpoints(NAME).await;
    let mut later = Ads::open(plane.address).await;
    later.subscribe(EDS, &[NAME]).await;
    later.endpoints(NAME).await;
    let zones: Vec<_> = plane.control_plane.clients().into_iter().map(|client| client.zone).collect();
    assert_eq!(zones, [None, Some("eu-1b".to_owned())]);
}
