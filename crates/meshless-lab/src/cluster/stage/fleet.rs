//! The servers of a run, and what happens to them.

use std::time::Duration;

use k8s_openapi::api::apps::v1::Deployment;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::pods::{self, Pods};
use super::{POLL, moment};
use crate::cluster::error::ClusterError;
use crate::cluster::event::{BEGINS, ClusterEvent, Happened, READY, SCALE_IN};
use crate::cluster::objects::{INSTANCE, fleet_name};
use crate::cluster::plan::Plan;

/// A Deployment of servers.
#[derive(Clone)]
pub(crate) struct Fleet {
    ages: bool,
    name: String,
    selector: String,
    replicas: i32,
    deployments: Api<Deployment>,
    pods: Pods,
}

impl Fleet {
    /// The one whose servers age their connections, or the one whose servers do not.
    pub(crate) fn new(client: &Client, namespace: &str, plan: &Plan, ages: bool, pods: Pods) -> Self {
        let name = fleet_name(&plan.run, ages);
        let selector = format!("{INSTANCE}={},app.kubernetes.io/name={name}", plan.run);
        let deployments = Api::namespaced(client.clone(), namespace);
        Self { ages, name, selector, replicas: plan.replicas, deployments, pods }
    }

    pub(crate) fn ages(&self) -> bool {
        self.ages
    }

    /// Names of the pods that are ready.
    pub(crate) async fn pod_names(&self) -> Result<Vec<String>, ClusterError> {
        let pods = self.pods.of(&self.selector).await?;
        Ok(pods.iter().filter(|pod| pods::is_ready(pod)).map(|pod| pods::name(pod).to_owned()).collect())
    }

    /// Waits until all servers are ready and those that are to go have gone.
    ///
    /// # Errors
    /// If they are not within `limit`, or cannot be.
    pub(crate) async fn settle(&self, limit: Duration) -> Result<(), ClusterError> {
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

    /// Lets the event happen at its time: `before` after the load's begin, over when it has been
    /// watched.
    ///
    /// # Errors
    /// If the cluster refuses.
    pub(crate) async fn happen(
        &self,
        event: ClusterEvent,
        begin: Instant,
        before: Duration,
        watch: Duration,
        seed: u32,
    ) -> Result<Happened, ClusterError> {
        let mut marks = vec![(BEGINS, moment(begin, before).await)];
        let old = self.pod_names().await?;
        let end = begin + before + watch;
        let mut concerned = Vec::new();
        match event {
            ClusterEvent::Scale => {
                self.patch(json!({ "spec": { "replicas": self.replicas * 2 } })).await?;
                let scale_in = before + watch * 13 / 20;
                if self.until(self.replicas * 2, begin + scale_in).await? {
                    marks.push((READY, begin.elapsed()));
                }
                concerned = self.new_ones(&old).await?;
                marks.push((SCALE_IN, moment(begin, scale_in).await));
                self.patch(json!({ "spec": { "replicas": self.replicas } })).await?;
            }
            ClusterEvent::Rolling => {
                // What `kubectl rollout restart` does, under a name of our own.
                let annotations = json!({ "meshless.dev/restarted-at": format!("{:?}", begin.elapsed()) });
                self.patch(json!({ "spec": { "template": { "metadata": { "annotations": annotations } } } }))
                    .await?;
                if self.until(self.replicas, end).await? {
                    marks.push(("rolled out", begin.elapsed()));
                }
                concerned = self.new_ones(&old).await?;
            }
            ClusterEvent::PodDeletion => {
                if let Some(pod) = old.get(seed as usize % old.len().max(1)) {
                    let deleted = self.pods.api().delete(pod, &DeleteParams::default()).await;
                    deleted.map_err(ClusterError::of(format!("delete the pod {pod}")))?;
                    concerned.push(pod.clone());
                }
                while Instant::now() < end {
                    let names = self.pod_names().await?;
                    if names.len() >= self.replicas as usize
                        && !names.iter().any(|name| concerned.contains(name))
                    {
                        marks.push(("replaced", begin.elapsed()));
                        break;
                    }
                    sleep(POLL).await;
                }
            }
        }
        Ok(Happened { marks, concerned })
    }

    async fn new_ones(&self, old: &[String]) -> Result<Vec<String>, ClusterError> {
        let mut names = self.pod_names().await?;
        names.retain(|name| !old.contains(name));
        Ok(names)
    }

    /// Waits until there are so many, all of them new enough, but not for longer than `end`.
    async fn until(&self, replicas: i32, end: Instant) -> Result<bool, ClusterError> {
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

    async fn patch(&self, patch: Value) -> Result<(), ClusterError> {
        let patched = self.deployments.patch(&self.name, &PatchParams::default(), &Patch::Merge(patch)).await;
        patched.map(|_| ()).map_err(ClusterError::of(format!("change the Deployment {}", self.name)))
    }
}
