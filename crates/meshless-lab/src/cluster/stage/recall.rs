//! A load that is ended early: its workers are told to stop, and say what they have measured until
//! then.
//!
//! The log of a pod can be read only as long as the pod exists. So the logs are followed first, and
//! then the pods deleted: each prints what it has and ends, which ends its log.

use std::time::Duration;

use futures_util::AsyncReadExt;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, LogParams};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::pods::{name, phase};
use super::{Running, Stage};
use crate::cluster::plan::Plan;
use crate::cluster::rows::{part_note, spread_row};
use crate::cluster::score::{BIN, Measured, read_log};
use crate::results::Results;

impl Stage {
    /// Ends the load that is running, if there is one, and adds what its workers have measured:
    /// rows for the parts of a spread that are whole, and a note on everything else. Takes
    /// [`RECALL_LIMIT`] at most, and never fails: what cannot be had is missing.
    pub(crate) async fn recall(&mut self, plan: &Plan, results: &mut Results) {
        let Some(running) = self.running.take() else { return };
        let Ok(measured) = timeout(RECALL_LIMIT, self.stop_workers(&running)).await else { return };
        let what = running.event.map_or("spread", |event| event.name());
        let (strategies, length) = match running.event {
            None => (&plan.spreads, plan.length),
            Some(_) => (&plan.churns, plan.before() + plan.watch),
        };
        self.note_sources(strategies, &measured);
        for (strategy, measured) in strategies.iter().zip(&measured) {
            // The last calls of a part are due in its last bins.
            let took = BIN * u32::try_from(measured.bins.len()).unwrap_or(u32::MAX);
            if took.is_zero() {
                continue;
            }
            if running.event.is_none() && took + LAST_BINS >= length {
                results.spread.push(spread_row(*strategy, &pods_of(measured), plan.workers, measured));
            } else {
                results.notes.push(part_note(what, *strategy, took, length, measured));
            }
        }
    }

    async fn stop_workers(&self, running: &Running) -> Vec<Measured> {
        let selector = format!("batch.kubernetes.io/job-name={}", running.job);
        let pods = self.pods.of(&selector).await.unwrap_or_default();
        let mut opening = JoinSet::new();
        for pod in pods.iter().filter(|pod| phase(pod) != "Pending") {
            opening.spawn(follow(self.pods.api().clone(), name(pod).to_owned()));
        }
        let logs = opening.join_all().await;
        let jobs: Api<Job> = Api::namespaced(self.client.clone(), &self.namespace);
        // The Job first: it would replace its pods.
        let _ = jobs.delete(&running.job, &DeleteParams::foreground()).await;
        let mut deleting = JoinSet::new();
        for pod in &pods {
            let (api, pod) = (self.pods.api().clone(), name(pod).to_owned());
            deleting.spawn(async move { api.delete(&pod, &DeleteParams::default()).await.map(|_| ()) });
        }
        let mut reading: JoinSet<_> = logs.into_iter().flatten().collect();
        let mut all = vec![Measured::default(); running.parts];
        while let Some(log) = reading.join_next().await {
            let log = log.unwrap_or_default();
            let mut with_this = all.clone();
            match read_log(&log, &mut with_this) {
                Ok(_) => all = with_this,
                Err(reason) => tracing::debug!(reason, "a worker left no result"),
            }
        }
        all
    }
}

/// Opens the log of a pod. The future that it returns reads it until the pod has ended.
async fn follow(pods: Api<Pod>, pod: String) -> Option<impl Future<Output = String>> {
    let parameters = LogParams { follow: true, ..LogParams::default() };
    let mut log = Box::pin(timeout(OPEN_LIMIT, pods.log_stream(&pod, &parameters)).await.ok()?.ok()?);
    Some(async move {
        let mut text = String::new();
        // A log that breaks off has no end, and is no result.
        let _ = log.read_to_string(&mut text).await;
        text
    })
}

/// Pods that answered: those that answered nothing may have gone by now.
fn pods_of(measured: &Measured) -> Vec<String> {
    let mut pods: Vec<_> = measured.bins.iter().flat_map(|bin| bin.backends.keys().cloned()).collect();
    pods.sort_unstable();
    pods.dedup();
    pods
}

/// A worker has printed its first line by then, or its node is in trouble.
const OPEN_LIMIT: Duration = Duration::from_secs(3);

/// Workers print and end within a second. Whoever has asked for an early end does not wait longer
/// for those that do not.
const RECALL_LIMIT: Duration = Duration::from_secs(10);

/// At the lowest rate that is of use, a part has calls in its last second.
const LAST_BINS: Duration = Duration::from_secs(1);
