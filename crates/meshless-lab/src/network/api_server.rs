//! The cluster's API server, embedded, as far as the EndpointSlice of one Service goes.
//!
//! Scenarios tell it here what a control plane knows of the pods, and `kubernetes:///` channels list and watch it over real
//! HTTP. Every change is a new version of the one slice; a watch that reads slowly is told the last version and not all
//! of them, so nothing piles up. It believes everybody, knows no other resource, and remembers no past: a watch can
//! begin at any version.

use std::convert::Infallible;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response, StatusCode, header};
use hyper::body::{Body, Bytes, Frame};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

/// An API server that knows the Service `echo` of the namespace `lab`. It stops when it is dropped.
#[derive(Debug)]
pub struct ApiServer {
    local_addr: SocketAddr,
    slice: watch::Sender<Slice>,
    acceptor: JoinHandle<()>,
}

/// What a control plane says of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PodCondition {
    /// It does not pass its readiness probe: it starts, or its container is dead.
    Unready,
    /// It gets calls.
    Ready,
    /// It was deleted, and still passes its readiness probe: a lame duck.
    Leaving,
    /// It was deleted, and drains.
    Draining,
}

impl ApiServer {
    /// Serves on `listen` (port 0 picks a free one). The Service has no pod yet.
    ///
    /// # Errors
    /// If the address cannot be bound.
    pub async fn bind(listen: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let local_addr = listener.local_addr()?;
        let slice = watch::Sender::new(Slice { version: FIRST_VERSION, content: content(0, &[]) });
        let acceptor = tokio::spawn(accept(listener, slice.subscribe()));
        Ok(Self { local_addr, slice, acceptor })
    }

    /// The pods of the Service from now on, all of which listen on `port`.
    pub fn set_pods(&self, port: u16, pods: &[(IpAddr, PodCondition)]) {
        let content = content(port, pods);
        self.slice.send_if_modified(|slice| {
            let is_new = slice.content != content;
            if is_new {
                *slice = Slice { version: slice.version + 1, content };
            }
            is_new
        });
    }

    /// The address of the server.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// What a channel that reads this server calls.
    pub fn target() -> String {
        format!("kubernetes:///{SERVICE}.{NAMESPACE}:{PORT_NAME}")
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.acceptor.abort();
    }
}

/// The one slice, as it is now.
#[derive(Clone, Debug)]
struct Slice {
    version: u64,
    /// Its ports and endpoints.
    content: Value,
}

impl Slice {
    fn object(&self) -> Value {
        let mut object = self.content.clone();
        object["apiVersion"] = API_VERSION.into();
        object["kind"] = "EndpointSlice".into();
        object["addressType"] = "IPv4".into();
        object["metadata"] = json!({
            "name": format!("{SERVICE}-1"), "namespace": NAMESPACE, "resourceVersion": self.version.to_string(),
            "labels": { SERVICE_LABEL: SERVICE },
        });
        object
    }

    fn list(&self) -> Value {
        json!({
            "apiVersion": API_VERSION, "kind": "EndpointSliceList",
            "metadata": { "resourceVersion": self.version.to_string() }, "items": [self.object()],
        })
    }
}

/// Ports and endpoints of a slice. A pod is known by its place: one that comes back at its address is the same.
fn content(port: u16, pods: &[(IpAddr, PodCondition)]) -> Value {
    let endpoints = pods.iter().map(|(address, condition)| {
        let [ready, serving, terminating] = match condition {
            PodCondition::Unready => [false, false, false],
            PodCondition::Ready => [true, true, false],
            // "Should be marked ready if it is serving and not terminating" (discovery/v1, EndpointConditions).
            PodCondition::Leaving => [false, true, true],
            PodCondition::Draining => [false, false, true],
        };
        json!({
            "addresses": [address],
            "conditions": { "ready": ready, "serving": serving, "terminating": terminating },
            "targetRef": { "kind": "Pod", "name": format!("{SERVICE}-{address}"), "uid": address },
        })
    });
    json!({
        "ports": [{ "name": PORT_NAME, "port": port, "protocol": "TCP" }],
        "endpoints": endpoints.collect::<Vec<_>>(),
    })
}

async fn accept(listener: TcpListener, slice: watch::Receiver<Slice>) {
    let mut connections = JoinSet::new();
    loop {
        let stream = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        let Ok((stream, _)) = stream else { continue };
        // Else an event waits for the acknowledgement of the one before it.
        let _ = stream.set_nodelay(true);
        let slice = slice.clone();
        let service = service_fn(move |request| {
            let response = answer(&request, &slice);
            async move { Ok::<_, Infallible>(response) }
        });
        connections.spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

fn answer<B>(request: &Request<B>, slice: &watch::Receiver<Slice>) -> Response<Answer> {
    let parameter = |name| parameter(request.uri().query().unwrap_or_default(), name);
    let selector = format!("{SERVICE_LABEL}={SERVICE}");
    let is_ours = parameter("labelSelector").is_none_or(|asked| asked == selector);
    let path = format!("/apis/{API_VERSION}/namespaces/{NAMESPACE}/endpointslices");
    if request.uri().path() != path || !is_ours {
        let message = format!("there is only {selector} of {path}");
        let status = json!({
            "apiVersion": "v1", "kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404, "message": message,
        });
        return response(StatusCode::NOT_FOUND, Answer::Whole(Some(status.to_string().into())));
    }
    let number = |name| parameter(name)?.parse::<u64>().ok();
    if parameter("watch").is_none_or(|watch| watch != "true") {
        let list = slice.borrow().list().to_string();
        return response(StatusCode::OK, Answer::Whole(Some(list.into())));
    }
    let lasts = number("timeoutSeconds").map_or(WATCH_LASTS, Duration::from_secs);
    let (lines, body) = mpsc::channel(1);
    // It ends with its reader, with the server, and at its time.
    tokio::spawn(tell(slice.clone(), number("resourceVersion").unwrap_or(0), lasts, lines));
    response(StatusCode::OK, Answer::Lines(body))
}

/// One watch: what is newer than version `told`, and every change from then on.
async fn tell(mut slice: watch::Receiver<Slice>, mut told: u64, lasts: Duration, lines: mpsc::Sender<Bytes>) {
    let changes = async {
        loop {
            let now = slice.borrow_and_update().clone();
            if now.version > told {
                told = now.version;
                let event = json!({ "type": "MODIFIED", "object": now.object() });
                if lines.send(format!("{event}\n").into()).await.is_err() {
                    return;
                }
            }
            if slice.changed().await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        _ = timeout(lasts, changes) => {}
        () = lines.closed() => {}
    }
}

/// A parameter of a query. Of what clients escape, a label selector has two.
fn parameter(query: &str, name: &str) -> Option<String> {
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(found, _)| *found == name)?;
    Some(value.replace("%2F", "/").replace("%3D", "="))
}

fn response(code: StatusCode, answer: Answer) -> Response<Answer> {
    let mut response = Response::new(answer);
    *response.status_mut() = code;
    let json = header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

/// The body of a response.
enum Answer {
    Whole(Option<Bytes>),
    Lines(mpsc::Receiver<Bytes>),
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let bytes = match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take()),
            Self::Lines(lines) => lines.poll_recv(cx),
        };
        bytes.map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}

const API_VERSION: &str = "discovery.k8s.io/v1";
const NAMESPACE: &str = "lab";
const SERVICE: &str = "echo";
const PORT_NAME: &str = "grpc";

/// What the EndpointSlices of a Service carry its name in.
const SERVICE_LABEL: &str = "kubernetes.io/service-name";

/// Zero would mean “any”.
const FIRST_VERSION: u64 = 1;

/// How long a watch lasts that does not say; a real API server draws 5 to 10 minutes.
const WATCH_LASTS: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests;
