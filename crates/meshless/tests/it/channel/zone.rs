//! A channel that is told its zone.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use meshless::Endpoint;
use meshless::resolver::Address;
use tokio::sync::mpsc;

use super::network::*;

#[tokio::test(start_paused = true)]
async fn calls_stay_in_the_zone_of_the_channel() {
    let mut network = Network::new();
    let (updates, resolver) = mpsc::channel(1);
    let channel = network.channel_to("dns:///echo:1").resolver(resolver).zone("eu-1a");
    let channel = channel.connect_lazy().unwrap();
    let calls = Arc::<Mutex<BTreeMap<Address, u32>>>::default();
    let counts = Arc::clone(&calls);
    network.serve(100, move |call| {
        *counts.lock().unwrap().entry(call.backend.clone()).or_default() += 1;
        call.answer();
    });
    let zones = [(1, "eu-1a"), (2, "eu-1b"), (3, "eu-1c")];
    let endpoints = zones.map(|(n, zone)| Endpoint::new(backend(n)).with_zone(zone));
    updates.send(Ok(endpoints.to_vec())).await.unwrap();
    check(&channel).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let called = || std::mem::take(&mut *calls.lock().unwrap()).into_values().collect::<Vec<_>>();
    drop(called());
    for _ in 0..9 {
        check(&channel).await.unwrap();
    }
    assert_eq!(called(), [9], "the own zone can take them");
    let weights: Vec<_> = channel.state().await.endpoints.iter().map(|endpoint| endpoint.weight).collect();
    assert_eq!(weights, [3.0, 0.0, 0.0]);
}
