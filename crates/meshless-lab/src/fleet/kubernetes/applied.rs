//! What a run has applied, and how it is taken away again.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, DynamicObject, PostParams};
use kube::{Api, Client};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::objects::{INSTANCE, Object};
use super::pods::{self, POLL, Pods};
use crate::fleet::error::ClusterError;

/// Objects that were applied, or may have been: noted before they are asked for.
pub(super) struct Applied {
    client: Client,
    namespace: String,
    objects: Vec<Object>,
}

impl Applied {
    /// Nothing yet.
    pub(super) fn new(client: Client, namespace: &str) -> Self {
        Self { client, namespace: namespace.into(), objects: Vec::new() }
    }

    /// Applies these, in this order.
    ///
    /// # Errors
    /// If the cluster refuses one.
    pub(super) async fn apply(&mut self, objects: Vec<Object>) -> Result<(), ClusterError> {
        for object in objects {
            let what = format!("create the {} {}", object.resource.kind, object.name());
            let api: Api<DynamicObject> =
                Api::namespaced_with(self.client.clone(), &self.namespace, &object.resource);
            let dynamic =
                serde_json::from_value(object.value.clone()).expect("every object has kind and metadata");
            self.objects.push(object);
            match api.create(&PostParams::default(), &dynamic).await {
                Ok(_) => {}
                Err(kube::Error::Api(status)) if status.code == 404 => {
                    return Err(ClusterError::NoNamespace { namespace: self.namespace.clone() });
                }
                Err(error) => return Err(ClusterError::of(what)(error)),
            }
        }
        Ok(())
    }

    /// Takes everything away, and waits until it is gone, for [`CLEAR_LIMIT`] at most.
    ///
    /// # Errors
    /// If something is left. All of it was tried.
    pub(super) async fn clear(&mut self, pods: &Pods, run: &str) -> Result<(), ClusterError> {
        let objects = std::mem::take(&mut self.objects);
        let cleared = timeout(CLEAR_LIMIT, async {
            self.delete(objects).await?;
            until_pods_are_gone(pods, run).await
        });
        let gave_up = |_| Err(format!("it is not all gone after {} s", CLEAR_LIMIT.as_secs()));
        cleared.await.unwrap_or_else(gave_up).map_err(|reason| ClusterError::LeftBehind {
            reason,
            namespace: self.namespace.clone(),
            run: run.to_owned(),
        })
    }

    /// Deletes the objects, the last one first, several at a time. What is gone already is as good
    /// as deleted.
    async fn delete(&self, objects: Vec<Object>) -> Result<(), String> {
        let mut deleting = JoinSet::new();
        let mut trouble = None;
        for object in objects.into_iter().rev() {
            let api: Api<DynamicObject> =
                Api::namespaced_with(self.client.clone(), &self.namespace, &object.resource);
            deleting.spawn(async move {
                match api.delete(object.name(), &DeleteParams::foreground()).await {
                    Ok(_) => Ok(()),
                    Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
                    Err(error) => Err(ClusterError::of("delete")(error).to_string()),
                }
            });
        }
        while let Some(deleted) = deleting.join_next().await {
            trouble = trouble.or(deleted.expect("a deletion does not panic").err());
        }
        trouble.map_or(Ok(()), Err)
    }
}

async fn until_pods_are_gone(pods: &Pods, run: &str) -> Result<(), String> {
    let selector = format!("{INSTANCE}={run}");
    // Nobody calls these servers any more: there is nothing to drain.
    let quick = DeleteParams::default().grace_period(1);
    loop {
        let left = pods.of(&selector).await.map_err(|error| error.to_string())?;
        if left.is_empty() {
            return Ok(());
        }
        for pod in left.iter().filter(|pod| goes_slowly(pod)) {
            // It may be gone by now, or go by itself.
            let _ = pods.api().delete(pods::name(pod), &quick).await;
        }
        sleep(POLL).await;
    }
}

/// Whether it has been told to go, with time for it. Others are not touched: their owner would only
/// replace them.
fn goes_slowly(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
        && pod.metadata.deletion_grace_period_seconds.is_some_and(|s| s > 1)
}

/// Pods that are told to go are gone within some seconds, on a node that is well.
const CLEAR_LIMIT: Duration = Duration::from_secs(60);
