//! A load that is ended early: its workers are told to stop, and say what they have measured until
//! then.
//!
//! The log of a pod can be read only as long as the pod exists. So the logs are followed first, and
//! then the pods deleted: each prints what it has and ends, which ends its log.

use std::time::Duration;

use futures_util::AsyncReadExt;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, LogParams};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::job::{Jobs, RunningLoad};
use super::pods::{name, phase};
use crate::progress::Progress;
use crate::strategy::Strategy;
use crate::worker::score::{BIN, Bin, Measured, read_log};

/// Ends the load that is running, if there is one, and returns it with what its workers have
/// measured, strategy by strategy. Takes [`RECALL_LIMIT`] at most, and never fails: what cannot be
/// had is missing.
pub(super) async fn recall(jobs: &mut Jobs, progress: &Progress) -> Option<(RunningLoad, Vec<Measured>)> {
    let running = jobs.running.take()?;
    progress.show("reading what the workers have measured until now".into());
    let measured = timeout(RECALL_LIMIT, stop_workers(jobs, &running)).await.unwrap_or_default();
    Some((running, measured))
}

/// How far a part of a load came. Its last calls are due in its last bins.
fn took(measured: &Measured) -> Duration {
    BIN * u32::try_from(measured.bins.len()).unwrap_or(u32::MAX)
}

/// True if a part of this length was made to its end.
pub(super) fn is_whole(measured: &Measured, length: Duration) -> bool {
    took(measured) + LAST_BINS >= length
}

async fn stop_workers(jobs: &Jobs, running: &RunningLoad) -> Vec<Measured> {
    let selector = running.selector();
    let pods = jobs.pods.of(&selector).await.unwrap_or_default();
    let mut opening = JoinSet::new();
    for pod in pods.iter().filter(|pod| phase(pod) != "Pending") {
        opening.spawn(follow(jobs.pods.api().clone(), name(pod).to_owned()));
    }
    let logs = opening.join_all().await;
    // The Job first: it would replace its pods.
    let _ = jobs.api.delete(&running.name, &DeleteParams::foreground()).await;
    let mut deleting = JoinSet::new();
    for pod in &pods {
        let (api, pod) = (jobs.pods.api().clone(), name(pod).to_owned());
        deleting.spawn(async move { api.delete(&pod, &DeleteParams::default()).await.map(|_| ()) });
    }
    let mut reading: JoinSet<_> = logs.into_iter().flatten().collect();
    let mut all = vec![Measured::default(); running.load.strategies.len()];
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

/// What is said of a part that was ended early. A row would mislead: its shares and its failures
/// are those of another length.
pub(super) fn note(what: &str, strategy: Strategy, length: Duration, measured: &Measured) -> String {
    let whole = Bin::sum(&measured.bins);
    let (latency, mut backends) = (whole.latency(), whole.backends.values().copied().collect::<Vec<_>>());
    backends.sort_unstable_by(|a, b| b.cmp(a));
    let backends: Vec<_> = backends.iter().map(u64::to_string).collect();
    format!(
        "{what}, ended after {:.1} of {:.0} s: {strategy} had {} calls answered ({} by backend) and {} failed; p50 {:.1} ms, p99 {:.1} ms.",
        took(measured).as_secs_f64(),
        length.as_secs_f64(),
        whole.ok(),
        backends.join(", "),
        whole.failed(),
        latency.p50,
        latency.p99
    )
}

/// Pods that answered: those that answered nothing may have gone by now.
pub(super) fn pods_of(measured: &Measured) -> Vec<String> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::score::tests::measured;

    #[test]
    fn a_part_that_was_ended_early_is_told_in_numbers() {
        let measured = measured(|at, n| (at > 0).then_some(if n < 7 { "a" } else { "b" }));
        let length = Duration::from_secs(40);
        let said = note("rolling", Strategy::RoundRobin, length, &measured);
        assert_eq!(
            said,
            "rolling, ended after 10.0 of 40 s: round_robin had 990 calls answered (693, 297 by backend) and 10 failed; \
             p50 20.0 ms, p99 20.0 ms."
        );
    }
}
