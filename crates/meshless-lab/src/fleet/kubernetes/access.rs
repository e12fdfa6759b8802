//! Which cluster it is, and whether the user may do there what the run needs, asked before anything
//! is applied.
//!
//! Asking is free: everybody may review their own access. All of it is within the ClusterRole
//! `admin`, bound in one namespace.

use std::time::Duration;

use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::PostParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};

use crate::fleet::error::ClusterError;
use crate::request::ClusterRequest;

/// The cluster of a context, or the one that the kubeconfig or the pod's service account names, and
/// the namespace to use.
pub(super) async fn connect(request: &ClusterRequest) -> Result<(Client, String), ClusterError> {
    let no_cluster = |reason: String| ClusterError::NoCluster { reason };
    let mut config = match &request.context {
        Some(context) => {
            let kubeconfig = Kubeconfig::read().map_err(|error| no_cluster(error.to_string()))?;
            let known: Vec<_> = kubeconfig.contexts.iter().map(|context| context.name.clone()).collect();
            if !known.contains(context) {
                return Err(ClusterError::NoContext { context: context.clone(), known: known.join(", ") });
            }
            let options =
                KubeConfigOptions { context: Some(context.clone()), ..KubeConfigOptions::default() };
            Config::from_custom_kubeconfig(kubeconfig, &options)
                .await
                .map_err(|error| no_cluster(error.to_string()))?
        }
        None => Config::infer().await.map_err(|error| no_cluster(error.to_string()))?,
    };
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.read_timeout = Some(READ_TIMEOUT);
    let namespace = request.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
    let client = Client::try_from(config).map_err(|error| no_cluster(error.to_string()))?;
    Ok((client, namespace))
}

/// Finds out whether there is such a namespace and whether the user may do there what the run
/// needs.
///
/// # Errors
/// One that names all that is missing.
pub(super) async fn check(
    client: &Client,
    namespace: &str,
    endpoint_slices: bool,
) -> Result<(), ClusterError> {
    let seen = match Api::<Namespace>::all(client.clone()).get_opt(namespace).await {
        Ok(Some(_)) => true,
        Ok(None) => return Err(ClusterError::NoNamespace { namespace: namespace.into() }),
        // To read namespaces is no condition; and who may do nothing in one is not told whether
        // there is one.
        Err(kube::Error::Api(status)) if status.code == 403 => false,
        Err(error) => return Err(ClusterError::of("read the namespace")(error)),
    };
    let mut missing = Vec::new();
    let needed = NEEDED.iter().chain(NEEDED_FOR_SLICES.iter().filter(|_| endpoint_slices));
    for (group, resource, verbs) in needed {
        let mut denied = Vec::new();
        for verb in *verbs {
            if !may(client, namespace, group, resource, verb).await? {
                denied.push(*verb);
            }
        }
        if !denied.is_empty() {
            missing.push(format!("{} {resource}", denied.join("/")));
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    let doubt = if seen { "" } else { " (if there is one)" };
    Err(ClusterError::Rights { namespace: format!("`{namespace}`{doubt}"), missing: missing.join(", ") })
}

async fn may(
    client: &Client,
    namespace: &str,
    group: &str,
    resource: &str,
    verb: &str,
) -> Result<bool, ClusterError> {
    let (resource, subresource) = match resource.split_once('/') {
        Some((resource, subresource)) => (resource, Some(subresource.to_owned())),
        None => (resource, None),
    };
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(ResourceAttributes {
                namespace: Some(namespace.into()),
                group: Some(group.into()),
                resource: Some(resource.into()),
                subresource,
                verb: Some(verb.into()),
                ..ResourceAttributes::default()
            }),
            ..SelfSubjectAccessReviewSpec::default()
        },
        ..SelfSubjectAccessReview::default()
    };
    let answer = Api::all(client.clone()).create(&PostParams::default(), &review).await;
    Ok(answer.map_err(ClusterError::of("say what you may do"))?.status.is_some_and(|status| status.allowed))
}

type Needed = (&'static str, &'static str, &'static [&'static str]);

/// What every run does: by API group and resource.
const NEEDED: [Needed; 5] = [
    ("apps", "deployments", &["create", "get", "patch", "delete"]),
    ("", "services", &["create", "delete"]),
    ("batch", "jobs", &["create", "get", "delete"]),
    ("", "pods", &["list", "delete"]),
    ("", "pods/log", &["get"]),
];

/// What the load needs to read EndpointSlices: who gives a right must have it.
const NEEDED_FOR_SLICES: [Needed; 4] = [
    ("", "serviceaccounts", &["create", "delete"]),
    ("rbac.authorization.k8s.io", "roles", &["create", "delete"]),
    ("rbac.authorization.k8s.io", "rolebindings", &["create", "delete"]),
    ("discovery.k8s.io", "endpointslices", &["get", "list", "watch"]),
];

/// An API server that has not taken a connection by then is as good as none.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Nothing that is asked takes longer; logs come in pieces.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
