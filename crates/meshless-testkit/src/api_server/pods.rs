//! What a control plane says of the pods of one Service, as one EndpointSlice.

use std::net::IpAddr;

use serde_json::{Value, json};

use super::ApiServer;

/// What a control plane says of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PodCondition {
    /// It does not pass its readiness probe: it starts, or its container is dead.
    Unready,
    /// It gets calls.
    Ready,
    /// It was deleted, and still passes its readiness probe: a lame duck.
    Leaving,
    /// It was deleted, and drains.
    Draining,
}

impl ApiServer {
    /// The pods of the Service `echo` of the namespace `lab` from now on, all of which listen on
    /// `port`. What is no change makes no event.
    pub fn set_pods(&self, port: u16, pods: &[(IpAddr, PodCondition)]) {
        self.put_if_new(NAMESPACE, SERVICE, &format!("{SERVICE}-1"), slice(port, pods));
    }

    /// What a channel calls that reads the Service of [`set_pods`](Self::set_pods).
    pub fn target() -> String {
        format!("kubernetes:///{SERVICE}.{NAMESPACE}:{PORT_NAME}")
    }
}

/// A pod is known by its place: one that comes back at its address is the same.
fn slice(port: u16, pods: &[(IpAddr, PodCondition)]) -> Value {
    let endpoints = pods.iter().map(|(address, condition)| {
        let [ready, serving, terminating] = match condition {
            PodCondition::Unready => [false, false, false],
            PodCondition::Ready => [true, true, false],
            // "Should be marked ready if it is serving and not terminating" (discovery/v1,
            // EndpointConditions).
            PodCondition::Leaving => [false, true, true],
            PodCondition::Draining => [false, false, true],
        };
        json!({
            "addresses": [address],
            "conditions": { "ready": ready, "serving": serving, "terminating": terminating },
            "targetRef": { "kind": "Pod", "name": format!("{SERVICE}-{address}"), "uid": address },
        })
    });
    json!({
        "addressType": "IPv4",
        "ports": [{ "name": PORT_NAME, "port": port, "protocol": "TCP" }],
        "endpoints": endpoints.collect::<Vec<_>>(),
    })
}

const NAMESPACE: &str = "lab";
const SERVICE: &str = "echo";
const PORT_NAME: &str = "grpc";
