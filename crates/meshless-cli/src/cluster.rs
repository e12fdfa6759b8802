//! `meshless compare --kubernetes`: its arguments for a cluster, and the request made from them.

use std::time::Duration;

use clap::Args;
#[cfg(feature = "kubernetes")]
use meshless_lab::compare::ClusterRequest;
use meshless_lab::compare::Place;

use crate::values::{positive_duration, whole};

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

/// A cluster was asked for, and this program knows none.
#[derive(Debug, thiserror::Error)]
#[error("--kubernetes: this program was built without Kubernetes; build it without --no-default-features")]
pub(crate) struct NoKubernetes;

impl ClusterArgs {
    /// The place that is asked for.
    ///
    /// # Errors
    /// If this program was built without Kubernetes.
    #[cfg_attr(
        feature = "kubernetes",
        expect(clippy::unnecessary_wraps, reason = "the other build has none")
    )]
    pub(crate) fn place(self) -> Result<Place, NoKubernetes> {
        #[cfg(not(feature = "kubernetes"))]
        return Err(NoKubernetes);
        #[cfg(feature = "kubernetes")]
        Ok(Place::Cluster(ClusterRequest {
            context: self.context,
            namespace: self.namespace,
            image: self.image,
            workers: self.workers,
            start_within: self.start_within,
            endpoint_slices: self.endpoint_slices,
        }))
    }
}
