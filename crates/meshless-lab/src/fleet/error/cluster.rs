//! Why a run on a cluster could not be made or finished, in one line each.

use std::error::Error;

/// A run on a cluster could not be made, or not be finished.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message of each variant says what its fields are")]
pub enum ClusterError {
    /// Nothing says which cluster.
    #[error(
        "no cluster is known: {reason}; give a kubeconfig ($KUBECONFIG or ~/.kube/config) or run in a pod"
    )]
    NoCluster { reason: String },
    /// The kubeconfig has no such context.
    #[error("there is no context `{context}` in the kubeconfig; choose from {known}")]
    NoContext { context: String, known: String },
    /// The API server does not answer.
    #[error("the cluster does not answer: {reason}")]
    Unreachable { reason: String },
    /// The API server answers with a refusal.
    #[error("the cluster refused to {what}: {message}")]
    Refused { what: String, message: String },
    /// There is no such namespace.
    #[error(
        "there is no namespace `{namespace}`; create it (kubectl create namespace {namespace}) or name another with --namespace"
    )]
    NoNamespace { namespace: String },
    /// Rights are missing.
    #[error("in namespace {namespace} you may not {missing}; ask for the ClusterRole `admin` in it")]
    Rights { namespace: String, missing: String },
    /// An image cannot be had.
    #[error("image `{image}` cannot be pulled ({reason}): {message}")]
    Image { image: String, reason: String, message: String },
    /// A pod does not do what it should.
    #[error("pod {pod} {what}")]
    Pod { pod: String, what: String },
    /// Pods are not there in time.
    #[error("the {what} did not start within {seconds} s: {reason}")]
    Late { what: String, seconds: u64, reason: String },
    /// A worker says something else than a result.
    #[error("the log of {pod} has no whole result ({reason}); are image and this program of one version?")]
    Result { pod: String, reason: String },
    /// Something is left on the cluster.
    #[error(
        "not all could be deleted: {reason}; delete the rest with kubectl delete -n {namespace} all,serviceaccount,role,rolebinding -l app.kubernetes.io/instance={run}"
    )]
    LeftBehind { reason: String, namespace: String, run: String },
}

impl ClusterError {
    /// The API server's answer, or that there was none, to an attempt to do `what`.
    pub(crate) fn of(what: impl Into<String>) -> impl FnOnce(kube::Error) -> Self {
        let what = what.into();
        move |error| match error {
            kube::Error::Api(status) => Self::Refused { what, message: one_line(&status.message) },
            error => Self::Unreachable { reason: one_line(&root(&error)) },
        }
    }
}

/// The innermost cause: the others say that there was one.
fn root(error: &(dyn Error + 'static)) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

/// Without line breaks, and not longer than a screen.
pub(crate) fn one_line(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match text.char_indices().nth(LINE_MAX) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

const LINE_MAX: usize = 400;
