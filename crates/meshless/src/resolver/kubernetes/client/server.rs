//! One API server over HTTP/1.1, with TLS or without.
//!
//! A watch uses its connection alone until it ends; the next request then reuses it. So one idle
//! connection is enough, and the requests of other watches open their own. Nothing here retries,
//! except on a new connection if the idle one was closed.

use std::fmt::Display;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, HOST, USER_AGENT};
use http::uri::Scheme;
use http::{HeaderValue, Request, Response, Uri};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::{Body, chain};
use crate::resolver::kubernetes::error::KubernetesError;
use crate::shared::io::BoxIo;
use crate::shared::tls::ClientTls;
use crate::shared::tls::TlsConfig;

/// The address, the trusted authority and the login. Clones share the idle connection.
#[derive(Clone)]
pub(super) struct ApiServer {
    is_https: bool,
    host: String,
    port: u16,
    /// The prefix of its paths, without a final slash.
    path: String,
    tls: Option<ClientTls>,
    token: Option<Token>,
    waiting: Arc<Mutex<Option<SendRequest<Empty<Bytes>>>>>,
}

#[derive(Clone)]
pub(super) enum Token {
    Text(String),
    File(PathBuf),
}

impl ApiServer {
    pub(super) fn at(url: &str) -> Result<Self, KubernetesError> {
        let wrong = |why: &dyn Display| no_cluster(format!("{url:?} is no URL of an API server: {why}"));
        let uri: Uri = url.parse().map_err(|error| wrong(&error))?;
        let is_https = match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTPS => true,
            Some(scheme) if *scheme == Scheme::HTTP => false,
            _ => return Err(wrong(&"it begins with neither https:// nor http://")),
        };
        if uri.query().is_some() {
            return Err(wrong(&"it has a query"));
        }
        let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = uri.port_u16().unwrap_or(if is_https { 443 } else { 80 });
        let path = uri.path().trim_end_matches('/').to_owned();
        Ok(Self { is_https, host, port, path, tls: None, token: None, waiting: Arc::default() })
    }

    pub(super) fn set_tls(&mut self, config: &TlsConfig) -> Result<(), KubernetesError> {
        self.tls = Some(config.build(&self.host).map_err(|error| no_cluster(error.to_string()))?);
        Ok(())
    }

    pub(super) fn set_token(&mut self, token: Token) {
        self.token = Some(token);
    }

    pub(super) async fn get(&self, path_and_query: &str) -> Result<Response<Body>, String> {
        let authorization = match &self.token {
            None => None,
            Some(_) if !self.is_https => {
                return Err("the token is not sent over http: name the API server by https".to_owned());
            }
            Some(token) => Some(token.header().await?),
        };
        let request = || self.request(path_and_query, authorization.as_ref());
        let waiting = self.lock_waiting().take();
        if let Some(mut sender) = waiting.filter(SendRequest::is_ready) {
            // The server may have closed the connection just now.
            if let Ok(response) = sender.send_request(request()?).await {
                return Ok(self.keep(sender, response));
            }
        }
        let mut sender = self.connect().await?;
        let response = sender.send_request(request()?).await.map_err(|error| chain(&error))?;
        Ok(self.keep(sender, response))
    }

    /// Keeps the connection for the next request. It is ready when this response has been read.
    fn keep(
        &self,
        sender: SendRequest<Empty<Bytes>>,
        response: Response<hyper::body::Incoming>,
    ) -> Response<Body> {
        *self.lock_waiting() = Some(sender);
        response.map(|body| body.map_err(Into::into).boxed_unsync())
    }

    fn lock_waiting(&self) -> std::sync::MutexGuard<'_, Option<SendRequest<Empty<Bytes>>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn request(
        &self,
        path_and_query: &str,
        authorization: Option<&HeaderValue>,
    ) -> Result<Request<Empty<Bytes>>, String> {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let mut request = Request::get(format!("{}{path_and_query}", self.path))
            .header(HOST, format!("{host}:{}", self.port))
            .header(ACCEPT, "application/json")
            .header(USER_AGENT, concat!("meshless/", env!("CARGO_PKG_VERSION")));
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        request.body(Empty::new()).map_err(|error| error.to_string())
    }

    async fn connect(&self) -> Result<SendRequest<Empty<Bytes>>, String> {
        let address = (self.host.as_str(), self.port);
        let unreachable =
            |error: &dyn Display| format!("cannot connect to {}:{}: {error}", self.host, self.port);
        let stream = TcpStream::connect(address).await.map_err(|error| unreachable(&error))?;
        stream.set_nodelay(true).map_err(|error| unreachable(&error))?;
        let io: BoxIo = match (&self.tls, self.is_https) {
            (_, false) => Box::new(stream),
            (Some(tls), true) => {
                tls.handshake_http1(Box::new(stream)).await.map_err(|error| unreachable(&error))?
            }
            (None, true) => {
                return Err("https needs KubernetesClient::tls, which says whom to trust".to_owned());
            }
        };
        let (sender, connection) = http1::handshake(TokioIo::new(io)).await.map_err(|error| chain(&error))?;
        // Ends with the sender and the last response. Those who wait for the response get the
        // error.
        tokio::spawn(async move {
            let _ = connection.await;
        });
        Ok(sender)
    }
}

impl Token {
    async fn header(&self) -> Result<HeaderValue, String> {
        let token = match self {
            Self::Text(token) => token.clone(),
            Self::File(path) => read_token(path.clone())
                .await
                .map_err(|error| format!("cannot read the token in {}: {error}", path.display()))?,
        };
        let mut value = HeaderValue::try_from(format!("Bearer {}", token.trim()))
            .map_err(|_| "the token has characters that no header may have".to_owned())?;
        value.set_sensitive(true);
        Ok(value)
    }
}

/// Runs off the runtime's threads: a mounted file may be slow.
async fn read_token(path: PathBuf) -> std::io::Result<String> {
    tokio::task::spawn_blocking(move || {
        use std::io::Read;
        let mut token = String::new();
        std::fs::File::open(path)?.take(TOKEN_BYTES_MAX).read_to_string(&mut token)?;
        Ok(token)
    })
    .await
    .map_err(std::io::Error::other)?
}

pub(super) fn no_cluster(reason: String) -> KubernetesError {
    KubernetesError::NoCluster { reason }
}

/// Tokens of service accounts have about 1 KiB; Go's servers take headers of 1 MiB.
const TOKEN_BYTES_MAX: u64 = 64 << 10;
