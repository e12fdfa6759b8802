//! Which endpoints whose clients are told of.

use std::collections::BTreeSet;

use envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use meshless_xds::status::ServiceState;
use meshless_xds::{ControlPlaneConfig, PolicyBook, read_endpoints};

use crate::support::{Ads, EDS, Plane, addresses, resources};

const NAME: &str = "echo.shop:50051";

/// A file of so many endpoints in each zone.
fn endpoints(zones: &[(&str, u8)]) -> String {
    let all = zones.iter().enumerate().flat_map(|(net, (zone, count))| {
        (0..*count).map(move |host| format!(r#"{{"address": "10.{net}.0.{host}:1", "zone": "{zone}"}}"#))
    });
    format!(r#"{{"{NAME}": [{}]}}"#, all.collect::<Vec<_>>().join(","))
}

fn config(zones: &[(&str, u8)], policies: &str) -> ControlPlaneConfig {
    let file = read_endpoints(&endpoints(zones)).unwrap();
    let config = ControlPlaneConfig::new().policies(PolicyBook::from_json(policies).unwrap());
    file.into_iter().fold(config, |config, (name, source)| config.service(&*name, source))
}

/// What a client of a zone is told: zone, priority, weight and number of endpoints of each locality.
async fn told(
    plane: &Plane,
    node: &str,
    zone: Option<&str>,
) -> (Vec<(String, u32, u32, usize)>, BTreeSet<String>) {
    let mut ads = Ads::open_as(plane.address, node, zone).await;
    ads.subscribe(EDS, &[NAME]).await;
    let response = ads.next().await;
    let [assignment] = &resources::<ClusterLoadAssignment>(&response)[..] else { panic!("{response:?}") };
    let localities = assignment.endpoints.iter().map(|locality| {
        let zone = locality.locality.clone().unwrap().zone;
        (zone, locality.priority, locality.load_balancing_weight.unwrap().value, locality.lb_endpoints.len())
    });
    (localities.collect(), addresses(assignment))
}

#[tokio::test]
async fn each_zone_s_clients_are_told_of_their_own_zone_first() {
    let plane = Plane::start(config(&[("a", 4), ("b", 4)], r#"{"zone": "prefer"}"#));
    let (localities, _) = told(&plane, "n", Some("a")).await;
    assert_eq!(localities, [("a".to_owned(), 0, 1, 4), (String::new(), 1, 1, 4)]);
    let (localities, _) = told(&plane, "n", None).await;
    assert_eq!(localities, [(String::new(), 0, 1, 8)], "whoever has no zone gets everything");
    let plane = Plane::start(config(&[("a", 1), ("b", 4)], r#"{"zone": "prefer"}"#));
    let (localities, _) = told(&plane, "n", Some("a")).await;
    assert_eq!(localities, [(String::new(), 0, 1, 5)], "one of eight could not take half of the calls");
}

#[tokio::test]
async fn clients_of_a_zone_share_one_encoding_and_strange_zones_make_none() {
    let plane = Plane::start(config(&[("a", 4), ("b", 4)], r#"{"zone": "prefer"}"#));
    for n in 0..10 {
        for zone in [None, Some("a"), Some("b"), Some(&*format!("strange-{n}"))] {
            told(&plane, &format!("{n}"), zone).await;
        }
    }
    assert_eq!(plane.control_plane.stats().encodings, 3);
}

#[tokio::test]
async fn a_subset_is_a_client_s_own_and_always_the_same() {
    let plane = Plane::start(config(&[("a", 200)], r#"{"subsetSize": 20}"#));
    let (localities, mine) = told(&plane, "one", None).await;
    assert_eq!(localities[0].3, 20);
    assert_eq!(told(&plane, "one", None).await.1, mine);
    assert_ne!(told(&plane, "other", None).await.1, mine);
}

#[tokio::test]
async fn weights_follow_the_clients_that_are_there() {
    let plane = Plane::start(config(&[("a", 2), ("b", 6)], r#"{"zone": "capacity"}"#));
    let mut first = Ads::open_as(plane.address, "first", Some("a")).await;
    first.subscribe(EDS, &[NAME]).await;
    let mut others = Vec::new();
    // Zone a has a quarter of the endpoints. With the first client alone it takes a quarter of the
    // calls; with three more in b it takes all that its client makes.
    for own_weight in [250, 500, 714, 1000] {
        while weight_of(&mut first, "a").await != own_weight {}
        let mut ads = Ads::open_as(plane.address, "other", Some("b")).await;
        ads.subscribe(EDS, &[NAME]).await;
        ads.next().await;
        others.push(ads);
    }
}

/// The weight of a zone in the next response.
async fn weight_of(ads: &mut Ads, zone: &str) -> u32 {
    let response = ads.next().await;
    ads.ack_for(&response, &[NAME]).await;
    let assignment: ClusterLoadAssignment = resources(&response).remove(0);
    let mut localities = assignment.endpoints.iter();
    let own = localities.find(|one| one.locality.as_ref().is_some_and(|locality| locality.zone == zone));
    own.map_or(0, |own| own.load_balancing_weight.unwrap().value)
}

#[tokio::test]
async fn endpoints_follow_their_file() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), endpoints(&[("a", 1)])).unwrap();
    let plane = Plane::start(ControlPlaneConfig::new().endpoints_file(file.path()));
    let mut ads = Ads::open(plane.address).await;
    ads.subscribe(EDS, &[NAME]).await;
    assert_eq!(ads.endpoints(NAME).await.len(), 1);
    std::fs::write(file.path(), endpoints(&[("a", 3)])).unwrap();
    assert_eq!(ads.endpoints(NAME).await.len(), 3);
    std::fs::write(file.path(), endpoints(&[("a", 0)])).unwrap();
    ads.expect_silence().await;
    tokio::time::sleep(std::time::Duration::from_millis(1200)).await;
    ads.expect_silence().await;
    let services = plane.control_plane.services().await;
    assert_eq!((services[0].state, services[0].endpoints.len()), (ServiceState::Holding, 3), "{services:?}");
}
