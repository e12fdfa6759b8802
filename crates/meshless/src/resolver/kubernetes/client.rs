//! Access to an API server: its address, how it is verified, and how the client logs in.
//!
//! It sends single requests and knows nothing of their content. Redirects are not followed: the
//! token is for one server only.

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

/// Access to the API server of a cluster, with the rights of the token.
///
/// In a pod none has to be made: [`KubernetesConfig`](crate::resolver::KubernetesConfig) uses the
/// pod's service account. Elsewhere use `kubectl proxy`, which supports every kind of login:
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
/// Clones of one `KubernetesClient` share watches. Two separate clients do not, since they may mean
/// different clusters; so make one, and clone it.
#[derive(Clone)]
pub struct KubernetesClient {
    way: Way,
    namespace: Arc<str>,
    id: u64,
}

impl KubernetesClient {
    /// Returns a client for the cluster of this process's pod, with the rights of the pod's service
    /// account.
    ///
    /// The token and the authority's certificate are read again for each connection, since both are
    /// replaced while the pod runs. Blocks on small files.
    ///
    /// # Errors
    /// [`KubernetesError::NoCluster`] if this is not a pod, or no token is mounted in it.
    pub fn in_pod() -> Result<Self, KubernetesError> {
        service_account::client(service_account::FOLDER.as_ref(), |name| std::env::var(name).ok())
    }

    /// Returns a client for the API server at `url`, such as `https://10.0.0.1:6443` or
    /// `http://127.0.0.1:8001`. For `https`, set the trusted authority with [`tls`](Self::tls).
    ///
    /// # Errors
    /// [`KubernetesError::NoCluster`] if `url` is not such a URL.
    pub fn new(url: &str) -> Result<Self, KubernetesError> {
        Ok(Self::over(Way::Direct(ApiServer::at(url)?)))
    }

    /// Sends requests with `send`, for clusters with another kind of login, or to use an existing
    /// client. Requests are GETs with only a path and a query. With the crate `kube`:
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

    /// Sets the trusted authority, and the client's certificate if the API server asks for one.
    /// Only for `https`.
    ///
    /// # Errors
    /// [`KubernetesError::NoCluster`] if the URL's host cannot be a name in a certificate.
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

    /// Sets the namespace of targets that name none. Default `default`; in a pod, the pod's.
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
        // The token must not be shown.
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

/// Formats an error with its causes; some causes repeat each other.
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
/// The maximum of causes in a message.
const CAUSES_MAX: usize = 5;

#[cfg(test)]
mod tests;
