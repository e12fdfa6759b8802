//! The API server as a client sees it: requests in text, answers by line.

use std::net::{IpAddr, Ipv4Addr};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::*;
use crate::api_server::PodCondition;

const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/lab/endpointslices?labelSelector=kubernetes.io%2Fservice-name%3Decho";

fn pods<const N: usize>(conditions: [PodCondition; N]) -> Vec<(IpAddr, PodCondition)> {
    let address = |n| IpAddr::from(Ipv4Addr::new(10, 0, 0, n));
    (1..).zip(conditions).map(|(n, condition)| (address(n), condition)).collect()
}

/// An answer that is read.
struct Reading(BufReader<TcpStream>);

impl Reading {
    async fn get(server: &ApiServer, target: &str) -> Self {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let request = format!("GET {target} HTTP/1.1\r\nhost: lab\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        Self(BufReader::new(stream))
    }

    /// The next object; none when the answer has ended. Head and framing are passed over.
    async fn next(&mut self) -> Option<Value> {
        loop {
            let mut line = String::new();
            match self.0.read_line(&mut line).await.unwrap() {
                0 => return None,
                _ if line.starts_with('{') => return Some(serde_json::from_str(&line).unwrap()),
                _ => {}
            }
        }
    }
}

fn version(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn pods_are_listed_with_their_conditions() {
    let server = ApiServer::start().await;
    let conditions =
        [PodCondition::Unready, PodCondition::Ready, PodCondition::Leaving, PodCondition::Draining];
    server.set_pods(3001, &pods(conditions));
    let list = Reading::get(&server, SLICES).await.next().await.unwrap();
    assert!(version(&list) > 0);
    let slice = &list["items"][0];
    assert_eq!(slice["ports"][0]["port"], 3001);
    assert_eq!(slice["endpoints"][1]["addresses"][0], "10.0.0.2");
    let told: Vec<_> =
        slice["endpoints"].as_array().unwrap().iter().map(|e| e["conditions"].clone()).collect();
    let condition = |ready, serving, terminating| json!({ "ready": ready, "serving": serving, "terminating": terminating });
    assert_eq!(
        told,
        [
            condition(false, false, false),
            condition(true, true, false),
            condition(false, true, true),
            condition(false, false, true)
        ]
    );
}

#[tokio::test]
async fn a_watch_is_told_what_changes_after_its_version() {
    let server = ApiServer::start().await;
    server.set_pods(0, &[]);
    let list = Reading::get(&server, SLICES).await.next().await.unwrap();
    let target = format!("{SLICES}&watch=true&resourceVersion={}", version(&list));
    let mut watch = Reading::get(&server, &target).await;
    // What is no change is no event.
    server.set_pods(0, &[]);
    for (condition, ready) in [(PodCondition::Unready, false), (PodCondition::Ready, true)] {
        server.set_pods(3001, &pods([condition]));
        let event = watch.next().await.unwrap();
        let after = version(&list) + 1 + u64::from(ready);
        assert_eq!((&event["type"], version(&event["object"])), (&"MODIFIED".into(), after));
        assert_eq!(event["object"]["endpoints"][0]["conditions"]["ready"], ready);
    }
    server.set_pods(3001, &pods([PodCondition::Leaving]));
    let event = watch.next().await.unwrap();
    assert_eq!(event["object"]["endpoints"][0]["conditions"]["terminating"], true);
}

#[tokio::test(start_paused = true)]
async fn a_watch_ends_at_its_time_and_with_the_server() {
    let server = ApiServer::start().await;
    server.set_pods(3001, &[]);
    let target = format!("{SLICES}&watch=true&resourceVersion=101&timeoutSeconds=60");
    assert_eq!(Reading::get(&server, &target).await.next().await, None);
    let mut watch = Reading::get(&server, &format!("{SLICES}&watch=true&resourceVersion=0")).await;
    assert!(watch.next().await.is_some());
    drop(server);
    assert_eq!(watch.next().await, None);
}

#[tokio::test]
async fn other_services_are_empty_and_other_resources_are_not_found() {
    let server = ApiServer::start().await;
    server.set_pods(3001, &pods([PodCondition::Ready]));
    let list = Reading::get(&server, &SLICES.replace("Decho", "Dcart")).await.next().await.unwrap();
    assert_eq!(list["items"], json!([]));
    let status = Reading::get(&server, "/api/v1/namespaces/lab/pods").await.next().await.unwrap();
    assert_eq!((&status["kind"], &status["code"]), (&"Status".into(), &404.into()));
}

#[tokio::test]
async fn the_past_is_bounded_and_a_watch_from_before_it_is_told_so() {
    let server = ApiServer::start().await;
    for port in 0..=(MOST_REMEMBERED as u16) {
        server.set_pods(port, &[]);
    }
    for (from, kind) in [(100, "ERROR"), (101, "MODIFIED")] {
        let target = format!("{SLICES}&watch=true&resourceVersion={from}");
        assert_eq!(Reading::get(&server, &target).await.next().await.unwrap()["type"], kind);
    }
}
