//! The servers of a run: a Deployment of those that age their connections, and one of those that do
//! not.

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::objects::{Blueprint, INSTANCE, fleet_name};
use super::pods::{self, POLL, Pods};
use crate::fleet::error::ClusterError;

/// A Deployment of servers.
#[derive(Clone)]
pub(super) struct Servers {
    pub(super) ages: bool,
    pub(super) replicas: i32,
    pub(super) pods: Pods,
    name: String,
    selector: String,
    deployments: Api<Deployment>,
}

impl Servers {
    /// Those whose servers age their connections, or those whose servers do not.
    pub(super) fn new(
        client: &Client,
        namespace: &str,
        blueprint: &Blueprint,
        replicas: i32,
        ages: bool,
        pods: Pods,
    ) -> Self {
        let name = fleet_name(&blueprint.run, ages);
        let selector = format!("{INSTANCE}={},app.kubernetes.io/name={name}", blueprint.run);
        let deployments = Api::namespaced(client.clone(), namespace);
        Self { ages, replicas, pods, name, selector, deployments }
    }

    /// Names of the pods that are ready.
    pub(super) async fn pod_names(&self) -> Result<Vec<String>, ClusterError> {
        let pods = self.pods.of(&self.selector).await?;
        Ok(pods.iter().filter(|pod| pods::is_ready(pod)).map(|pod| pods::name(pod).to_owned()).collect())
    }

    /// Waits until all servers are ready and those that are to go have gone.
    ///
    /// # Errors
    /// If they are not within `limit`, or cannot be.
    pub(super) async fn settle(&self, limit: Duration) -> Result<(), ClusterError> {
        let give_up = Instant::now() + limit;
        loop {
            let pods = self.pods.of(&self.selector).await?;
            if self.is_whole(self.replicas).await? && pods.len() == self.replicas as usize {
                return Ok(());
            }
            self.pods.check(&pods)?;
            if Instant::now() >= give_up {
                let (seconds, reason) = (limit.as_secs(), pods::reason(&pods));
                return Err(ClusterError::Late { what: "servers".into(), seconds, reason });
            }
            sleep(POLL).await;
        }
    }

    /// Names of the pods that are ready and none of the `old` ones.
    pub(super) async fn new_ones(&self, old: &[String]) -> Result<Vec<String>, ClusterError> {
        let mut names = self.pod_names().await?;
        names.retain(|name| !old.contains(name));
        Ok(names)
    }

    /// Waits until there are so many, all of them new enough, but not for longer than `end`.
    pub(super) async fn until(&self, replicas: i32, end: Instant) -> Result<bool, ClusterError> {
        while Instant::now() < end {
            if self.is_whole(replicas).await? {
                return Ok(true);
            }
            sleep(POLL).await;
        }
        Ok(false)
    }

    /// Whether the Deployment is rolled out, by the rule of `kubectl rollout status`.
    async fn is_whole(&self, replicas: i32) -> Result<bool, ClusterError> {
        let deployment = self.deployments.get(&self.name).await;
        let deployment =
            deployment.map_err(ClusterError::of(format!("read the Deployment {}", self.name)))?;
        let status = deployment.status.unwrap_or_default();
        let count = |pods: Option<i32>| pods.unwrap_or_default() == replicas;
        Ok(status.observed_generation >= deployment.metadata.generation
            && count(status.replicas)
            && count(status.updated_replicas)
            && count(status.ready_replicas))
    }

    /// Changes the Deployment.
    pub(super) async fn patch(&self, patch: Value) -> Result<(), ClusterError> {
        let patched = self.deployments.patch(&self.name, &PatchParams::default(), &Patch::Merge(patch)).await;
        patched.map(|_| ()).map_err(ClusterError::of(format!("change the Deployment {}", self.name)))
    }
}
