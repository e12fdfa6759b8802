//! Access to an API server: kube's client, wrapped so that watches can be shared by it.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use super::error::KubernetesError;

/// A connection to the API server of a cluster, with the rights of whoever it belongs to.
///
/// Made from a [`kube::Client`]. Watches are shared among the clones of one `KubernetesClient`, since of two
/// clients nobody can tell whether they mean the same cluster; so make one, and clone it.
#[derive(Clone)]
pub struct KubernetesClient {
    client: kube::Client,
    id: u64,
}

impl KubernetesClient {
    /// The cluster of the kubeconfig (`$KUBECONFIG`, `~/.kube/config`) if there is one, else that of the pod's service account.
    ///
    /// It speaks TLS with the process's default crypto provider of rustls. A binary that has several in its dependency tree must
    /// choose one when it starts (`CryptoProvider::install_default`), for rustls panics otherwise.
    ///
    /// # Errors
    /// [`KubernetesError::NoCluster`] if there is neither.
    pub async fn infer() -> Result<Self, KubernetesError> {
        let none = |error: &dyn fmt::Display| KubernetesError::NoCluster { reason: error.to_string() };
        let config = kube::Config::infer().await.map_err(|error| none(&error))?;
        kube::Client::try_from(config).map(Self::from).map_err(|error| none(&error))
    }

    pub(super) fn client(&self) -> &kube::Client {
        &self.client
    }

    pub(super) fn id(&self) -> u64 {
        self.id
    }
}

impl From<kube::Client> for KubernetesClient {
    fn from(client: kube::Client) -> Self {
        Self { client, id: LAST_ID.fetch_add(1, Ordering::Relaxed) }
    }
}

impl fmt::Debug for KubernetesClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KubernetesClient").field("id", &self.id).finish_non_exhaustive()
    }
}

static LAST_ID: AtomicU64 = AtomicU64::new(0);
