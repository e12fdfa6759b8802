//! The status port: plain HTTP/1.1, for curl, Prometheus and `meshless xds status`.
//!
//! | path | answers |
//! |---|---|
//! | `/services`, `/clients` | JSON |
//! | `/services.txt`, `/clients.txt` | the same as tables |
//! | `/metrics` | counters in Prometheus' text format |
//! | `/ready` | 200 once every source has been read, 503 before |

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Full, Limited};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::de::DeserializeOwned;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::{ServiceState, clients_table, services_table};
use crate::control_plane::ControlPlane;

/// Answers on `listener` until this is dropped.
pub(crate) async fn serve(control_plane: ControlPlane, listener: TcpListener) {
    let connections = std::sync::Arc::new(tokio::sync::Semaphore::new(CONNECTIONS_MAX));
    let mut tasks = tokio::task::JoinSet::new();
    loop {
        let Ok(permit) = std::sync::Arc::clone(&connections).acquire_owned().await else { return };
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::debug!(%error, "the status port cannot accept");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
            Some(_) = tasks.join_next() => continue,
        };
        let control_plane = control_plane.clone();
        tasks.spawn(async move {
            let service = service_fn(move |request| answer(control_plane.clone(), request));
            let mut server = hyper::server::conn::http1::Builder::new();
            server.timer(TokioTimer::new()).header_read_timeout(REQUEST_TIMEOUT).keep_alive(false);
            let connection = server.serve_connection(TokioIo::new(stream), service);
            // That a reader has gone is its own affair.
            let _ = timeout(REQUEST_TIMEOUT, connection).await;
            drop(permit);
        });
    }
}

async fn answer(
    control_plane: ControlPlane,
    request: Request<hyper::body::Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (status, kind, body) = match request.uri().path() {
        "/services" => (StatusCode::OK, JSON, json(&control_plane.services().await)),
        "/clients" => (StatusCode::OK, JSON, json(&control_plane.clients())),
        "/services.txt" => (StatusCode::OK, TEXT, services_table(&control_plane.services().await)),
        "/clients.txt" => (StatusCode::OK, TEXT, clients_table(&control_plane.clients())),
        "/metrics" => (StatusCode::OK, TEXT, metrics(&control_plane).await),
        "/ready" if control_plane.is_ready() => (StatusCode::OK, TEXT, "ready\n".to_owned()),
        "/ready" => {
            let text = "not ready: a source has not been read yet; see /services\n";
            (StatusCode::SERVICE_UNAVAILABLE, TEXT, text.to_owned())
        }
        _ => (StatusCode::NOT_FOUND, TEXT, "see /services, /clients, /metrics and /ready\n".to_owned()),
    };
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(hyper::header::CONTENT_TYPE, hyper::header::HeaderValue::from_static(kind));
    Ok(response)
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string_pretty(value)
        .unwrap_or_else(|error| format!("{{\"error\": {:?}}}", error.to_string()))
}

async fn metrics(control_plane: &ControlPlane) -> String {
    let stats = control_plane.stats();
    let services = control_plane.services().await;
    let count = |state: ServiceState| services.iter().filter(|service| service.state == state).count() as u64;
    let endpoints = services.iter().map(|service| service.endpoints.len() as u64).sum();
    let silence = services.iter().filter_map(|service| service.holding_seconds).max().unwrap_or(0);
    let rows: [(&str, &str, &str, u64); 12] = [
        ("streams", "gauge", "Streams of clients that are open.", control_plane.clients_count() as u64),
        ("streams_total", "counter", "Streams that clients began.", stats.streams),
        ("pushes_total", "counter", "Responses sent to clients.", stats.pushes),
        ("push_bytes_total", "counter", "Bytes of the resources in responses.", stats.bytes),
        ("nacks_total", "counter", "Responses that clients refused.", stats.nacks),
        ("encodings_total", "counter", "Sets of endpoints encoded.", stats.encodings),
        ("services", "gauge", "Services that are declared or dialled.", stats.services),
        ("services_holding", "gauge", "Services whose last endpoints are held.", stats.services_holding),
        ("services_unreadable", "gauge", "Services whose source gives none.", stats.services_unreadable),
        (
            "services_missing",
            "gauge",
            "Services that are dialled and do not exist.",
            count(ServiceState::Missing),
        ),
        ("endpoints", "gauge", "Endpoints of all services.", endpoints),
        ("holding_seconds_max", "gauge", "For how long endpoints have been held, at most.", silence),
    ];
    let line = |(name, kind, help, value): &(&str, &str, &str, u64)| {
        format!(
            "# HELP meshless_xds_{name} {help}\n# TYPE meshless_xds_{name} {kind}\nmeshless_xds_{name} {value}\n"
        )
    };
    rows.iter().map(line).collect()
}

/// The status of a control plane could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// Nobody answers there.
    #[error("no answer from {address}: {reason}; name the control plane's --status address")]
    NoAnswer {
        /// Where.
        address: SocketAddr,
        /// What went wrong.
        reason: String,
    },
    /// What answers there is no control plane.
    #[error("{address} does not answer as a control plane: {reason}")]
    NotOurs {
        /// Where.
        address: SocketAddr,
        /// What it says.
        reason: String,
    },
}

/// Reads `/services` or `/clients` of the status port at `address`.
///
/// # Errors
/// If nobody answers there, or not with this.
pub async fn fetch<T: DeserializeOwned>(address: SocketAddr, path: &str) -> Result<T, FetchError> {
    let no_answer = |reason: String| FetchError::NoAnswer { address, reason };
    let body = timeout(REQUEST_TIMEOUT, get(address, path)).await;
    let body =
        body.map_err(|_| no_answer(format!("nothing within {REQUEST_TIMEOUT:?}")))?.map_err(no_answer)?;
    serde_json::from_slice(&body).map_err(|error| FetchError::NotOurs { address, reason: error.to_string() })
}

async fn get(address: SocketAddr, path: &str) -> Result<Bytes, String> {
    let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|error| error.to_string())?;
    let request =
        Request::get(path).header(hyper::header::HOST, address.to_string()).body(Empty::<Bytes>::new());
    let request = request.map_err(|error| error.to_string())?;
    let answer = async {
        let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
        let body = Limited::new(response.into_body(), BODY_MAX).collect().await;
        body.map(|body| body.to_bytes()).map_err(|error| error.to_string())
    };
    tokio::pin!(answer);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        answer = &mut answer => answer,
        // Its end may come before the last of the body was read.
        _ = &mut connection => answer.await,
    }
}

const JSON: &str = "application/json";
const TEXT: &str = "text/plain; charset=utf-8";
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
const CONNECTIONS_MAX: usize = 64;
const BODY_MAX: usize = 64 << 20;
