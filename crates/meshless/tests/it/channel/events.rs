//! What a channel says through `tracing` about its endpoints and connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use meshless::Endpoint;
use meshless::balancing::{EjectionConfig, OutlierConfig};
use meshless::resolver::{Resolution, ResolveError};
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
    let _guard = log.listen();
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
        "INFO endpoint added channel=\"dns:///echo:1\" endpoint=10.0.0.1:50051",
        "DEBUG connected channel=\"dns:///echo:1\" connection=1 endpoint=10.0.0.1:50051",
    ]);
    network.set(backend(1), Dial::Refuse);
    peer.go_away(ALL_STREAMS, 0, b"max_age").await;
    peer.rest().await;
    tokio::time::sleep(Duration::from_millis(1)).await;
    said(&[
        "DEBUG going away channel=\"dns:///echo:1\" connection=1 endpoint=10.0.0.1:50051",
        "DEBUG closed channel=\"dns:///echo:1\" connection=1 endpoint=10.0.0.1:50051",
        "INFO endpoint lost channel=\"dns:///echo:1\" connection=2 endpoint=10.0.0.1:50051 error=\"cannot connect: connection refused\"",
    ]);
    updates.send(set(&[2])).await.unwrap();
    settle().await;
    said(&[
        "endpoint added channel=\"dns:///echo:1\" endpoint=10.0.0.2",
        "endpoint removed; its calls finish channel=\"dns:///echo:1\" endpoint=10.0.0.1",
    ]);
}

#[tokio::test(start_paused = true)]
async fn an_ejection_is_an_event_whoever_finds_the_reason() {
    let comparison = EjectionConfig::default()
        .consecutive_failures(None)
        .outlier_detection(Some(OutlierConfig::default()));
    for (ejection, cause) in [
        (EjectionConfig::default(), "5 calls in a row failed"),
        (comparison, "0 % of its calls succeeded, unlike its peers'"),
    ] {
        let log = Log::default();
        let _guard = log.listen();
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

/// The lines at INFO and above.
fn told(log: &Log) -> Vec<String> {
    log.take().into_iter().filter(|line| !line.starts_with("DEBUG")).collect()
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_is_lost_and_comes_back_is_told_once_each() {
    let log = Log::default();
    let _guard = log.listen();
    let mut network = Network::new();
    network.set(backend(2), Dial::Refuse);
    let channel = network.channel(&[backend(1), backend(2)]).connect_lazy().unwrap();
    let switches = network.switches();
    network.serve(100, Call::answer);
    check(&channel).await.unwrap();
    tokio::time::sleep(Duration::from_secs(300)).await;
    let lost = told(&log);
    assert!(switches.dialled() > 5, "it was tried again and again");
    assert_eq!(lost.len(), 3, "two endpoints added, one lost: {lost:#?}");
    assert!(lost[2].starts_with("INFO endpoint lost") && lost[2].contains(" endpoint=10.0.0.2:50051"));
    switches.set(backend(2), Dial::Open);
    tokio::time::sleep(Duration::from_secs(300)).await;
    let back = told(&log);
    let [back] = &back[..] else { panic!("{back:#?}") };
    assert!(back.starts_with("INFO endpoint is back") && back.contains(" endpoint=10.0.0.2:50051"), "{back}");
}

#[tokio::test(start_paused = true)]
async fn an_ejection_and_its_end_are_told_at_the_same_level() {
    let log = Log::default();
    let _guard = log.listen();
    let mut network = Network::new();
    let channel = network.channel(&[backend(1), backend(2)]).connect_lazy().unwrap();
    let is_well = Arc::new(AtomicBool::new(false));
    let well = Arc::clone(&is_well);
    network.serve(100, move |call| match call.backend == backend(2).into() && !well.load(SeqCst) {
        true => call.fail(Code::Unavailable),
        false => call.answer(),
    });
    for _ in 0..20 {
        let _ = check(&channel).await;
    }
    is_well.store(true, SeqCst);
    tokio::time::sleep(Duration::from_secs(10)).await;
    for _ in 0..20 {
        check(&channel).await.unwrap();
    }
    let warned: Vec<_> = told(&log).into_iter().filter(|line| line.starts_with("WARN")).collect();
    let [ejected, back] = &warned[..] else { panic!("{warned:#?}") };
    assert!(ejected.starts_with("WARN endpoint ejected ") && ejected.contains(" endpoint=10.0.0.2:50051"));
    assert!(
        back.starts_with("WARN endpoint is ejected no longer ") && back.contains(" endpoint=10.0.0.2:50051")
    );
}

#[tokio::test(start_paused = true)]
async fn a_resolver_that_fails_is_told_when_the_reason_changes() {
    let log = Log::default();
    let _guard = log.listen();
    let mut network = Network::new();
    let (updates, resolver) = mpsc::channel(1);
    let channel = network.channel_to("dns:///echo:1").resolver(resolver).connect_lazy().unwrap();
    network.serve(100, Call::answer);
    let failed = |why: &str| Err(ResolveError::other(why));
    for answer in
        [failed("no"), failed("no"), failed("no"), failed("not yet"), failed("not yet"), set(&[1]), set(&[1])]
    {
        updates.send(answer).await.unwrap();
        settle().await;
    }
    let told = told(&log);
    let [no, not_yet, again, added] = &told[..] else { panic!("{told:#?}") };
    assert!(no.starts_with("WARN resolution failed") && no.ends_with("error=\"no\""), "{no}");
    assert!(
        not_yet.starts_with("WARN resolution failed") && not_yet.ends_with("error=\"not yet\""),
        "{not_yet}"
    );
    assert!(again.starts_with("WARN resolution succeeds again"), "{again}");
    assert!(added.starts_with("INFO endpoint added"), "{added}");
    drop(channel);
}

#[tokio::test(start_paused = true)]
async fn a_change_of_many_endpoints_is_one_line_and_no_line_has_the_whole_target() {
    let log = Log::default();
    let _guard = log.listen();
    let mut network = Network::new();
    let backends: Vec<_> = (1..=40).map(backend).collect();
    let channel = network.channel(&backends).connect_lazy().unwrap();
    network.serve(100, Call::answer);
    check(&channel).await.unwrap();
    let lines = log.take();
    let told: Vec<_> = lines.iter().filter(|line| !line.starts_with("DEBUG")).collect();
    let [changed] = &told[..] else { panic!("{told:#?}") };
    assert!(changed.contains("endpoints changed") && changed.ends_with("added=40 removed=0"), "{changed}");
    let added = lines.iter().filter(|line| line.starts_with("DEBUG endpoint added")).count();
    assert_eq!(added, 40, "each is named at DEBUG");
    assert!(lines.iter().all(|line| !line.contains("10.0.0.9:50051,10.0.0.10:50051")), "{lines:#?}");
}
