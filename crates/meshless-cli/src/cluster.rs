//! `meshless compare --kubernetes`: its arguments for a cluster, and the request made from them.

use std::time::Duration;

use clap::Args;
#[cfg(feature = "kubernetes")]
use meshless_lab::cluster::{ClusterEvent, ClusterRequest};

use crate::values::{positive_duration, whole};
#[cfg(feature = "kubernetes")]
use crate::{compare::CompareArgs, event_name::EventName};

/// The names of the events on a cluster, in the order of the report.
pub(crate) const EVENTS: [&str; 3] = ["scale", "rolling", "pod-deletion"];

/// Where on which cluster.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "On a cluster")]
pub(crate) struct ClusterArgs {
    /// Make spread and churn on a Kubernetes cluster, with servers and load as pods of it; all of
    /// it is gone afterwards
    #[arg(long, conflicts_with_all = ["network", "calls", "full", "rounds"])]
    pub(crate) kubernetes: bool,
    /// Context of the kubeconfig [default: its current one; in a pod, the pod's own cluster]
    #[arg(long, value_name = "NAME", requires = "kubernetes")]
    pub(crate) context: Option<String>,
    /// Namespace, which must exist [default: the context's]
    #[arg(long, value_name = "NAME", requires = "kubernetes")]
    pub(crate) namespace: Option<String>,
    /// Image of servers and load, built with the Dockerfile of this project
    #[arg(long, value_name = "IMAGE", default_value = "meshless:latest", requires = "kubernetes")]
    pub(crate) image: String,
    /// Pods that make the load
    #[arg(long, value_name = "NUMBER", default_value_t = 3, requires = "kubernetes", value_parser = whole(1..=1000_u32))]
    pub(crate) workers: u32,
    /// How long pods may take to start, their image's pull included
    #[arg(long, value_name = "DURATION", default_value = "60s", requires = "kubernetes", value_parser = positive_duration)]
    pub(crate) start_within: Duration,
    /// Have the channels read EndpointSlices rather than ask DNS; applies a ServiceAccount, a Role
    /// and a RoleBinding
    #[arg(long, requires = "kubernetes")]
    pub(crate) endpoint_slices: bool,
}

/// An event that is not possible on a cluster.
#[cfg(feature = "kubernetes")]
#[derive(Debug, thiserror::Error)]
#[error("on a cluster there is no event `{name}`; choose from {}", EVENTS.join(", "))]
pub(crate) struct NoClusterEvent {
    name: EventName,
}

/// Returns the request for a cluster.
///
/// # Errors
/// If an event is only possible on this machine.
#[cfg(feature = "kubernetes")]
pub(crate) fn request(args: CompareArgs) -> Result<ClusterRequest, NoClusterEvent> {
    let known = |name: &EventName| {
        let found = ClusterEvent::ALL.into_iter().find(|event| event.name() == name.as_str());
        found.ok_or_else(|| NoClusterEvent { name: name.clone() })
    };
    let cluster = args.cluster.clone();
    Ok(ClusterRequest {
        events: args.events.iter().map(known).collect::<Result<_, _>>()?,
        compare: args.request_without_events(),
        context: cluster.context,
        namespace: cluster.namespace,
        image: cluster.image,
        workers: cluster.workers,
        start_within: cluster.start_within,
        endpoint_slices: cluster.endpoint_slices,
    })
}
