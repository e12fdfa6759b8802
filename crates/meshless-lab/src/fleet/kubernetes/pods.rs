//! Pods as the cluster reports them, and what is wrong with those that do not start.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{ListParams, LogParams};

use crate::fleet::error::{ClusterError, one_line};

/// The pods of a namespace.
#[derive(Clone)]
pub(crate) struct Pods {
    api: Api<Pod>,
    image: String,
}

impl Pods {
    pub(crate) fn new(api: Api<Pod>, image: &str) -> Self {
        Self { api, image: image.into() }
    }

    pub(crate) fn api(&self) -> &Api<Pod> {
        &self.api
    }

    /// Those with these labels.
    pub(crate) async fn of(&self, selector: &str) -> Result<Vec<Pod>, ClusterError> {
        let listed = self.api.list(&ListParams::default().labels(selector)).await;
        Ok(listed.map_err(ClusterError::of("list the pods"))?.items)
    }

    /// Whether any of them can never start.
    ///
    /// # Errors
    /// If the image of one cannot be had.
    pub(crate) fn check(&self, pods: &[Pod]) -> Result<(), ClusterError> {
        for pod in pods {
            if let Some((reason, message)) =
                waiting(pod).filter(|(reason, _)| IMAGE_TROUBLE.contains(&reason.as_str()))
            {
                let message = one_line(&message);
                return Err(ClusterError::Image { image: self.image.clone(), reason, message });
            }
        }
        Ok(())
    }

    /// What to say of a pod whose process has ended and should not have.
    pub(crate) async fn died(&self, pod: &Pod) -> ClusterError {
        let parameters = LogParams { tail_lines: Some(1), ..LogParams::default() };
        let words = self.api.logs(name(pod), &parameters).await.unwrap_or_default();
        let states = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
        let ended = states.filter_map(|container| container.state.as_ref()?.terminated.as_ref());
        let code = ended.map(|ended| ended.exit_code).next().unwrap_or_default();
        ClusterError::Pod {
            pod: name(pod).into(),
            what: format!("ended with exit code {code}: {}", one_line(&words)),
        }
    }
}

pub(crate) fn name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or_default()
}

pub(crate) fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or("Pending")
}

/// Whether it is ready, and not told to go.
pub(crate) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let mut ready = conditions.filter(|condition| condition.type_ == "Ready" && condition.status == "True");
    pod.metadata.deletion_timestamp.is_none() && ready.next().is_some()
}

/// Why they are not all ready, as far as the cluster says.
pub(crate) fn reason(pods: &[Pod]) -> String {
    if pods.is_empty() {
        return "no pod was made; see the events of the namespace (a quota, or a policy, may forbid it)"
            .into();
    }
    let unready = pods.iter().filter(|pod| !is_ready(pod) && phase(pod) != "Succeeded");
    let why = |pod: &Pod| {
        let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
        let mut unscheduled =
            conditions.filter(|condition| condition.type_ == "PodScheduled" && condition.status == "False");
        let said = match (unscheduled.next(), waiting(pod)) {
            (Some(condition), _) => {
                let word = |text: &Option<String>| text.clone().unwrap_or_default();
                format!("{}: {}", word(&condition.reason), word(&condition.message))
            }
            (None, Some((reason, message))) => format!("{reason}: {message}"),
            (None, None) if phase(pod) == "Pending" => "nothing has started it".into(),
            (None, None) => "it runs, and is not ready".into(),
        };
        format!("{} is {} ({})", name(pod), phase(pod), one_line(&said))
    };
    unready.map(why).next().unwrap_or_else(|| "there are too few of them".into())
}

/// What a container waits for.
fn waiting(pod: &Pod) -> Option<(String, String)> {
    let states = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    let waiting = states.filter_map(|container| container.state.as_ref()?.waiting.as_ref()).next()?;
    Some((waiting.reason.clone().unwrap_or_default(), waiting.message.clone().unwrap_or_default()))
}

/// How often the cluster is asked how things are.
pub(super) const POLL: Duration = Duration::from_millis(250);

/// The kubelet's words (pkg/kubelet/images/types.go).
const IMAGE_TROUBLE: [&str; 5] =
    ["ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError"];

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(status: Value) -> Pod {
        serde_json::from_value(json!({ "metadata": { "name": "server-1" }, "status": status })).unwrap()
    }

    #[test]
    fn who_cannot_be_scheduled_is_said_to_be() {
        let condition = json!({
            "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes are\navailable",
        });
        let reason = reason(&[pod(json!({ "phase": "Pending", "conditions": [condition] }))]);
        assert_eq!(reason, "server-1 is Pending (Unschedulable: 0/3 nodes are available)");
    }

    #[test]
    fn what_a_container_waits_for_is_said() {
        let waiting = json!({ "reason": "CreateContainerConfigError", "message": "no such secret" });
        let container = json!({
            "name": "c", "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": { "waiting": waiting },
        });
        let reason = reason(&[pod(json!({ "phase": "Pending", "containerStatuses": [container] }))]);
        assert!(reason.contains("CreateContainerConfigError: no such secret"), "{reason}");
    }

    #[test]
    fn a_pod_that_is_going_is_not_ready() {
        let ready = json!([{ "type": "Ready", "status": "True" }]);
        let mut pod = pod(json!({ "phase": "Running", "conditions": ready }));
        assert!(is_ready(&pod));
        pod.metadata.deletion_timestamp = serde_json::from_value(json!("2026-11-23T00:00:00Z")).unwrap();
        assert!(!is_ready(&pod));
    }
}
