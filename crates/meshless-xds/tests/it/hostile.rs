//! Clients that want too much, say too much, or do not listen. Others are unaffected.

use std::time::Duration;

use meshless_xds::ControlPlaneConfig;
use tonic::Code;

use crate::support::{Ads, CDS, EDS, LDS, Plane, list, request};

const NAME: &str = "echo.shop:50051";

fn plane() -> Plane {
    Plane::start(ControlPlaneConfig::new().service(NAME, list("10.0.0.1:1")))
}

async fn is_served(plane: &Plane) {
    let mut ads = Ads::open(plane.address).await;
    ads.subscribe(EDS, &[NAME]).await;
    assert_eq!(ads.endpoints(NAME).await.len(), 1);
}

#[tokio::test]
async fn a_hundred_thousand_names_end_the_stream() {
    let plane = plane();
    let names: Vec<String> = (0..100_000).map(|n| format!("x{n}.shop:1")).collect();
    let mut ads = Ads::open(plane.address).await;
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    ads.subscribe(LDS, &names[..501]).await;
    let status = ads.end().await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    let mut ads = Ads::open(plane.address).await;
    ads.subscribe(LDS, &names).await;
    assert!(ads.end().await.is_err(), "too large even to be read");
    is_served(&plane).await;
    assert!(plane.control_plane.services().await.len() <= 1, "nothing is kept of them");
}

#[tokio::test]
async fn unknown_types_and_strange_requests_are_left_unanswered() {
    let plane = plane();
    let mut ads = Ads::open(plane.address).await;
    ads.subscribe("type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret", &["x"]).await;
    ads.subscribe("", &[NAME]).await;
    let mut strange = request(CDS, &[]);
    "7".clone_into(&mut strange.response_nonce);
    ads.send(strange).await;
    ads.expect_silence().await;
    ads.subscribe(CDS, &[NAME]).await;
    ads.next().await;
}

#[tokio::test]
async fn a_flood_of_requests_is_read_at_a_walking_pace() {
    let plane = plane();
    let mut flood = Ads::open(plane.address).await;
    flood.subscribe(LDS, &[NAME]).await;
    let first = flood.next().await;
    let begun = std::time::Instant::now();
    for _ in 0..300 {
        flood.ack_for(&first, &[NAME]).await;
        if begun.elapsed() > Duration::from_secs(1) {
            break;
        }
    }
    is_served(&plane).await;
}

#[tokio::test]
async fn a_reader_that_stops_is_owed_one_response() {
    let plane = plane();
    let mut ads = Ads::open(plane.address).await;
    ads.subscribe(EDS, &[NAME]).await;
    let _never_accepted = ads.next().await;
    let before = plane.control_plane.stats().pushes;
    is_served(&plane).await;
    ads.expect_silence().await;
    assert_eq!(plane.control_plane.stats().pushes, before + 1, "the other client's");
}
