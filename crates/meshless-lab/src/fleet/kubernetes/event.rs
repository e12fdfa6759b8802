//! What happens to servers on a cluster, done through its API as their owner would.

use std::time::Duration;

use kube::api::DeleteParams;
use serde_json::json;
use tokio::time::{Instant, sleep, sleep_until};

use super::pods::POLL;
use super::servers::Servers;
use crate::event::{BEGINS, Convergence, Event, Happened, READY, SCALE_IN};
use crate::fleet::error::ClusterError;
use crate::fleet::load::Happening;
use crate::results::EventNote;

/// What the event is here, for the report.
pub(super) fn note(happening: &Happening) -> EventNote {
    let event = happening.event;
    let story = match event {
        Event::Scale => "The Deployment is scaled to twice its replicas, and later back.",
        Event::Rolling => {
            "The Deployment is restarted (kubectl rollout restart): pod after pod is replaced, new ones first."
        }
        other => other.story(),
    };
    event.told(story, convergence(event), happening.watched)
}

/// When a client has got over it.
fn convergence(event: Event) -> Convergence {
    match event {
        Event::Scale => Convergence::NewHaveShare { since: READY },
        _ => Convergence::NoFailure { since: BEGINS },
    }
}

/// Lets the event happen at its time after the load's begin, over when it has been watched.
///
/// # Errors
/// If the cluster refuses.
pub(super) async fn happen(
    servers: &Servers,
    happening: &Happening,
    begin: Instant,
    seed: u32,
) -> Result<Happened, ClusterError> {
    let mut marks = vec![(BEGINS, moment(begin, happening.before).await)];
    let old = servers.pod_names().await?;
    let end = begin + happening.before + happening.watched;
    let mut concerned = Vec::new();
    match happening.event {
        Event::Scale => {
            servers.patch(json!({ "spec": { "replicas": servers.replicas * 2 } })).await?;
            let scale_in = happening.before + happening.watch * 13 / 20;
            if servers.until(servers.replicas * 2, begin + scale_in).await? {
                marks.push((READY, begin.elapsed()));
            }
            concerned = servers.new_ones(&old).await?;
            marks.push((SCALE_IN, moment(begin, scale_in).await));
            servers.patch(json!({ "spec": { "replicas": servers.replicas } })).await?;
        }
        Event::Rolling => {
            // What `kubectl rollout restart` does, under a name of our own.
            let annotations = json!({ "meshless.dev/restarted-at": format!("{:?}", begin.elapsed()) });
            servers
                .patch(json!({ "spec": { "template": { "metadata": { "annotations": annotations } } } }))
                .await?;
            if servers.until(servers.replicas, end).await? {
                marks.push(("rolled out", begin.elapsed()));
            }
            concerned = servers.new_ones(&old).await?;
        }
        // A pod is deleted: nothing else is asked for here.
        _ => {
            if let Some(pod) = old.get(seed as usize % old.len().max(1)) {
                let deleted = servers.pods.api().delete(pod, &DeleteParams::default()).await;
                deleted.map_err(ClusterError::of(format!("delete the pod {pod}")))?;
                concerned.push(pod.clone());
            }
            while Instant::now() < end {
                let names = servers.pod_names().await?;
                if names.len() >= servers.replicas as usize
                    && !names.iter().any(|name| concerned.contains(name))
                {
                    marks.push(("replaced", begin.elapsed()));
                    break;
                }
                sleep(POLL).await;
            }
        }
    }
    Ok(Happened { marks, concerned, convergence: convergence(happening.event) })
}

/// Waits until a moment of a load, and says how long after its begin that is.
async fn moment(begin: Instant, at: Duration) -> Duration {
    sleep_until(begin + at).await;
    begin.elapsed()
}
