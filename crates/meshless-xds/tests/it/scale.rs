//! What a change costs, counted: encodings and bytes, for 12, 100 and 1 000 endpoints.

use meshless_xds::ControlPlaneConfig;
use meshless_xds::PolicyBook;

use crate::support::{Ads, EDS, Plane};

const NAME: &str = "echo.shop:50051";
const STREAMS: usize = 20;

fn endpoints(count: usize) -> String {
    let endpoint =
        |n: usize| format!(r#"{{"address": "10.{}.{}.{}:50051"}}"#, n >> 16, n >> 8 & 255, n & 255);
    format!(r#"{{"{NAME}": [{}]}}"#, (0..count).map(endpoint).collect::<Vec<_>>().join(","))
}

/// Encodings, pushes and bytes of one endpoint more, for all streams.
async fn cost_of_a_change(count: usize, policies: &str) -> (u64, u64, u64) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), endpoints(count)).unwrap();
    let config = ControlPlaneConfig::new().policies(PolicyBook::from_json(policies).unwrap());
    let plane = Plane::start(config.endpoints_file(file.path()));
    let mut streams = Vec::new();
    for n in 0..STREAMS {
        let mut ads = Ads::open_as(plane.address, &format!("node-{n}"), None).await;
        ads.subscribe(EDS, &[NAME]).await;
        ads.endpoints(NAME).await;
        streams.push(ads);
    }
    let before = plane.control_plane.stats();
    std::fs::write(file.path(), endpoints(count + 1)).unwrap();
    if policies == "{}" {
        for ads in &mut streams {
            assert_eq!(ads.endpoints(NAME).await.len(), count + 1);
        }
    } else {
        // Most are told nothing. The file is looked at once a second.
        tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
    }
    let after = plane.control_plane.stats();
    (after.encodings - before.encodings, after.pushes - before.pushes, after.bytes - before.bytes)
}

#[tokio::test]
async fn a_change_is_encoded_once_however_many_streams_are_told() {
    for (count, bytes_each) in [(12, 500), (100, 3_400), (1_000, 33_000)] {
        let (encodings, pushes, bytes) = cost_of_a_change(count, "{}").await;
        assert_eq!((encodings, pushes), (1, STREAMS as u64), "{count} endpoints");
        assert!(bytes <= STREAMS as u64 * bytes_each, "{count} endpoints: {bytes} bytes");
    }
}

#[tokio::test]
async fn with_subsets_a_change_concerns_few() {
    let (encodings, pushes, bytes) = cost_of_a_change(1_000, r#"{"subsetSize": 20}"#).await;
    assert_eq!(encodings, STREAMS as u64);
    // Each of 20 clients is concerned with probability 20/1001.
    assert!(pushes <= 5, "{pushes} pushes");
    assert!(bytes <= 5 * 1_000, "{bytes} bytes");
}
