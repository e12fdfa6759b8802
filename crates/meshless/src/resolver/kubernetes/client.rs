//! Access to an API server: where it is, whom it is believed to be, and who the client is.
//!
//! It sends single requests and knows nothing of what they ask for. Redirects are not followed: the
//! token belongs to one server.

mod server;
mod service_account;

use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;

use super::error::KubernetesError;
use crate::shared::peer_text::peer_text;
use crate::shared::tls::TlsConfig;
use server::{ApiServer, Token};

/// The way to the API server of a cluster, with the rights of whoever the token belongs to.
///
/// In a pod none has to be made: [`KubernetesConfig`](crate::resolver::KubernetesConfig) uses the
/// pod's service account. Elsewhere there is `kubectl proxy`, which knows every kind of login:
///
/// ```
/// use meshless::Channel;
/// use meshless::resolver::{KubernetesClient, KubernetesConfig};
///
/// let client = KubernetesClient::new("http://127.0.0.1:8001")?; // kubectl proxy
/// let config = KubernetesConfig::new().client(client);
/// let builder = Channel::builder("kubernetes:///echo.shop:50051").kubernetes(config);
/// # Ok::<(), meshless::resolver::KubernetesError>(())
/// ```
///
/// Watches are shared among the clones of one `KubernetesClient`, since of two clients nobody can
/// tell whether they mean the same cluster; so make one, and clone it.
#[derive(Clone)]
pub struct KubernetesClient {
    way: Way,
    namespace: Arc<str>,
    id: u64,
}

impl KubernetesClient {
    /// The API server of the cluster that this process is a pod of, with the rights of the pod's
    /// service account.
    ///
    /// Token and certificate of the authority are read again for each connection, since both are
    /// replaced while the pod lives. Blocks on small files.
    ///
    /// # Errors
    /// [`KubernetesError::NoCluster`] if this is no pod, or one into which no token is mounted.
    pub fn in_pod() -> Result<Self, KubernetesError> {
        service_account::client(service_account::FOLDER.as_ref(), |name| std::env::var(name).ok())
    }

    /// The API server at `url`, as `https://10.0.0.1:6443` or `http://127.0.0.1:8001`. With
    /// `https`, [`tls`](Self::tls) says whom to trust.
    ///
    /// # Errors
    /// [`KubernetesError::NoCluster`] if it is no such URL.
    pub fn new(url: &str) -> Result<Self, KubernetesError> {
        Ok(Self::over(Way::Direct(ApiServer::at(url)?)))
    }

    /// Sends requests by `send`, for clusters with another kind of login, or by a client that is
    /// there already. Requests are GETs with only a path and a query. With the crate `kube`:
    ///
    /// ```ignore
    /// let kube = kube::Client::try_default().await?;
    /// let client = KubernetesClient::from_fn(move |request| {
    ///     let kube = kube.clone();
    ///     async move { kube.send(request.map(|()| kube::client::Body::empty())).await }
    /// });
    /// ```
    pub fn from_fn<F, A, B, E>(send: F) -> Self
    where
        F: Fn(Request<()>) -> A + Send + Sync + 'static,
        A: Future<Output = Result<Response<B>, E>> + Send + 'static,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
        E: Into<BoxError>,
    {
        let send = move |request| -> Sending {
            let answer = send(request);
            Box::pin(async move {
                let response = answer.await.map_err(|error| chain(&*error.into()))?;
                Ok(response.map(|body| body.map_err(Into::into).boxed_unsync()))
            })
        };
        Self::over(Way::Given(Arc::new(send)))
    }

    /// Whom to trust, and who to be where the API server asks for a certificate. Only for `https`.
    ///
    /// # Errors
    /// [`KubernetesError::NoCluster`] if the URL's host is no name for a certificate.
    pub fn tls(mut self, config: &TlsConfig) -> Result<Self, KubernetesError> {
        if let Way::Direct(server) = &mut self.way {
            server.set_tls(config)?;
        }
        Ok(self)
    }

    /// Presents this token. It is only sent over `https`.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        if let Way::Direct(server) = &mut self.way {
            server.set_token(Token::Text(token.into()));
        }
        self
    }

    /// Presents the token in this file, which is read for each request. It is only sent over
    /// `https`.
    pub fn token_file(mut self, path: impl Into<PathBuf>) -> Self {
        if let Way::Direct(server) = &mut self.way {
            server.set_token(Token::File(path.into()));
        }
        self
    }

    /// The namespace of targets that name none. Default `default`; in a pod, the pod's.
    pub fn namespace(mut self, namespace: &str) -> Self {
        self.namespace = namespace.into();
        self
    }

    fn over(way: Way) -> Self {
        Self { way, namespace: "default".into(), id: LAST_ID.fetch_add(1, Ordering::Relaxed) }
    }

    /// Sends a GET. The error is a text for people.
    pub(super) async fn get(&self, path_and_query: &str) -> Result<Response<Body>, String> {
        match &self.way {
            Way::Direct(server) => server.get(path_and_query).await,
            Way::Given(send) => {
                let request = Request::get(path_and_query).body(()).map_err(|error| error.to_string())?;
                send(request).await
            }
        }
    }

    pub(super) fn default_namespace(&self) -> &str {
        &self.namespace
    }

    pub(super) fn id(&self) -> u64 {
        self.id
    }
}

impl fmt::Debug for KubernetesClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the token.
        f.debug_struct("KubernetesClient").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The body of an answer.
pub(super) type Body = UnsyncBoxBody<Bytes, BoxError>;

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Sending = Pin<Box<dyn Future<Output = Result<Response<Body>, String>> + Send>>;

#[derive(Clone)]
enum Way {
    Direct(ApiServer),
    Given(Arc<dyn Fn(Request<()>) -> Sending + Send + Sync>),
}

/// An error with its causes, of which some repeat each other.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    for _ in 0..CAUSES_MAX {
        let Some(cause) = source else { break };
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    peer_text(text)
}

static LAST_ID: AtomicU64 = AtomicU64::new(0);
/// Causes of an error that a message repeats.
const CAUSES_MAX: usize = 5;

#[cfg(test)]
mod tests;
