//! The API server that `kubernetes:///` channels read outside of a pod: the one that the kubeconfig
//! names.
//!
//! The library knows a pod's service account and no kubeconfig, whose kinds of login are many. The
//! crate `kube` knows them, and `compare --kubernetes` brings it along.

use std::sync::{Arc, LazyLock};

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use meshless::resolver::KubernetesClient;
use tokio::sync::OnceCell;

/// The same for all channels, so that they share their watches; `None` in a pod without a
/// kubeconfig, where the library knows what to do. Without both, the client's requests fail with
/// what to do.
pub(crate) fn client() -> Option<KubernetesClient> {
    static CLIENT: LazyLock<Option<KubernetesClient>> = LazyLock::new(|| match Kubeconfig::read() {
        Ok(kubeconfig) => Some(client_of(kubeconfig)),
        Err(_) if std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() => None,
        Err(error) => Some(failing(format!(
            "no Kubernetes cluster to ask: run in a pod, or name one in $KUBECONFIG or ~/.kube/config ({error})"
        ))),
    });
    CLIENT.clone()
}

fn failing(reason: String) -> KubernetesClient {
    type Answer = Result<http::Response<kube::client::Body>, String>;
    KubernetesClient::from_fn(move |_| std::future::ready(Answer::Err(reason.clone())))
}

fn client_of(kubeconfig: Kubeconfig) -> KubernetesClient {
    let namespace = namespace(&kubeconfig).unwrap_or("default").to_owned();
    let client = Arc::new(OnceCell::new());
    KubernetesClient::from_fn(move |request| {
        let (client, kubeconfig) = (Arc::clone(&client), kubeconfig.clone());
        async move {
            let client = client.get_or_try_init(|| log_in(kubeconfig)).await?;
            client.send(request.map(|()| kube::client::Body::empty())).await
        }
    })
    .namespace(&namespace)
}

async fn log_in(kubeconfig: Kubeconfig) -> kube::Result<Client> {
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await;
    Client::try_from(config.map_err(kube::Error::InferKubeconfig)?)
}

/// The namespace of the current context.
fn namespace(kubeconfig: &Kubeconfig) -> Option<&str> {
    let current = kubeconfig.current_context.as_deref()?;
    let context = kubeconfig.contexts.iter().find(|context| context.name == current)?;
    context.context.as_ref()?.namespace.as_deref()
}
