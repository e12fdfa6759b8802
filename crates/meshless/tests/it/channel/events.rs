//! What a channel says through `tracing` about its endpoints and connections.

use std::time::Duration;

use meshless::Endpoint;
use meshless::balancing::{EjectionConfig, OutlierConfig};
use meshless::resolver::Resolution;
use tokio::sync::mpsc;
use tonic::Code;

use super::network::*;
use crate::log::Log;
use meshless_testkit::raw_peer::ALL_STREAMS;

fn set(backends: &[u8]) -> Resolution {
    Ok(backends.iter().map(|&n| Endpoint::new(backend(n))).collect())
}

#[tokio::test(start_paused = true)]
async fn every_change_of_an_endpoint_or_a_connection_is_an_event() {
    let log = Log::default();
    let _guard = tracing::subscriber::set_default(log.clone());
    let mut network = Network::new();
    let (updates, resolver) = mpsc::channel(1);
    let channel = network.channel_to("dns:///echo:1").resolver(resolver).connect_lazy().unwrap();
    updates.send(set(&[1])).await.unwrap();
    let call = channel.clone();
    let call = tokio::spawn(async move { check(&call).await });
    let mut peer = network.accept_raw(&[]).await;
    let stream = peer.expect_request().await;
    peer.answer(stream, SERVING).await;
    call.await.unwrap().unwrap();
    let said = |what: &[&str]| {
        let log = log.take();
        for what in what {
            let count = log.iter().filter(|line| line.contains(what)).count();
            assert_eq!(count, 1, "{what:?} in {log:#?}");
        }
    };
    said(&[
        "INFO endpoint added target=dns:///echo:1 endpoint=10.0.0.1:50051",
        "DEBUG connected target=dns:///echo:1 connection=1 endpoint=10.0.0.1:50051",
    ]);
    network.set(backend(1), Dial::Refuse);
    peer.go_away(ALL_STREAMS, 0, b"max_age").await;
    peer.rest().await;
    tokio::time::sleep(Duration::from_millis(1)).await;
    said(&[
        "DEBUG going away target=dns:///echo:1 connection=1 endpoint=10.0.0.1:50051",
        "DEBUG closed target=dns:///echo:1 connection=1 endpoint=10.0.0.1:50051",
        "INFO connect failed target=dns:///echo:1 connection=2 error=cannot connect to 10.0.0.1:50051: connection refused",
    ]);
    updates.send(set(&[2])).await.unwrap();
    settle().await;
    said(&[
        "endpoint added target=dns:///echo:1 endpoint=10.0.0.2",
        "endpoint removed; its calls finish target=dns:///echo:1 endpoint=10.0.0.1",
    ]);
}

#[tokio::test(start_paused = true)]
async fn an_ejection_is_an_event_whoever_finds_the_reason() {
    let comparison = EjectionConfig::off().outlier_detection(Some(OutlierConfig::default()));
    for (ejection, cause) in [
        (EjectionConfig::default(), "5 calls in a row failed"),
        (comparison, "0 % of its calls succeeded, unlike its peers'"),
    ] {
        let log = Log::default();
        let _guard = tracing::subscriber::set_default(log.clone());
        let mut network = Network::new();
        let channel = network.channel(&[backend(1), backend(2), backend(3)]).ejection(ejection);
        let channel = channel.connect_lazy().unwrap();
        network.serve(100, |call| match call.backend == backend(2).into() {
            true => call.refuse(Code::Unavailable, "not now", None),
            false => call.answer(),
        });
        // Endpoints are compared each second, by what was counted since the first time.
        for _ in 0..3 {
            for _ in 0..90 {
                let _ = check(&channel).await;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let log = log.take();
        let ejected = log.iter().filter(|line| line.contains("endpoint ejected")).collect::<Vec<_>>();
        assert_eq!(ejected.len(), 1, "{log:#?}");
        assert!(
            ejected[0].starts_with("WARN") && ejected[0].contains("endpoint=10.0.0.2:50051"),
            "{ejected:?}"
        );
        assert!(ejected[0].ends_with(&format!("cause={cause}")), "{ejected:?}");
    }
}
