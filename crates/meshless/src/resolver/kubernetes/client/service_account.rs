//! The files and variables that a kubelet gives each pod: the API server's address and a token.

use std::path::Path;

use super::KubernetesClient;
use super::server::no_cluster;
use crate::resolver::kubernetes::error::KubernetesError;
use crate::shared::tls::{Pem, TlsConfig};

/// Returns the client of a pod with these files and environment variables.
pub(super) fn client(
    folder: &Path,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<KubernetesClient, KubernetesError> {
    let set = |name: &str| {
        let value = variable(name).filter(|value| !value.is_empty());
        value.ok_or_else(|| no_cluster(format!("this is no pod: ${name} is not set")))
    };
    let host = set("KUBERNETES_SERVICE_HOST")?;
    let port = set("KUBERNETES_SERVICE_PORT")?;
    let host = if host.contains(':') { format!("[{host}]") } else { host };
    let token = folder.join("token");
    std::fs::metadata(&token)
        .map_err(|error| no_cluster(format!("no token is mounted at {}: {error}", token.display())))?;
    let trust = TlsConfig::trusting(Pem::file(folder.join("ca.crt")))
        .map_err(|error| no_cluster(error.to_string()))?;
    let namespace = std::fs::read_to_string(folder.join("namespace")).unwrap_or_default();
    let client = KubernetesClient::new(&format!("https://{host}:{port}"))?.tls(&trust)?.token_file(token);
    Ok(match namespace.trim() {
        "" => client,
        namespace => client.namespace(namespace),
    })
}

/// The folder where every kubelet mounts them.
pub(super) const FOLDER: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
