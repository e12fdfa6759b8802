//! Whether the user may do what the run needs, asked before anything is applied.
//!
//! Asking is free: everybody may review their own access. All of it is within the ClusterRole
//! `admin`, bound in one namespace.

use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::PostParams;
use kube::{Api, Client};

use super::error::ClusterError;

/// Finds out whether there is such a namespace and whether the user may do there what the run
/// needs.
///
/// # Errors
/// One that names all that is missing.
pub(crate) async fn check(
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
