//! A Kubernetes API server as far as EndpointSlices go, whose state and manners a test decides: real HTTP/1.1 on loopback, lists as
//! JSON, watches as chunked lines of it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Frame;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

/// One request as it arrived, with its query.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Asked {
    pub(crate) path: String,
    pub(crate) query: HashMap<String, String>,
}

impl Asked {
    pub(crate) fn is_watch(&self) -> bool {
        self.query.get("watch").is_some_and(|watch| watch == "true")
    }
}

/// How requests are answered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Manner {
    Obliging,
    /// 403 to everything, as without a Role.
    Denying,
    /// 500 to everything.
    Failing,
    /// Lists that are not JSON.
    Babbling,
    /// Watches from versions before the last [`compact`](ApiServer::compact) get status 410.
    GoneByStatus,
    /// Watches get this status, lists are answered.
    WatchesFail(u16),
    /// Lists never end.
    EndlessList,
    /// Lists are never answered.
    SilentLists,
    /// Watches end at once.
    WatchesEnd,
    /// Everything is answered with a redirect to this address.
    Redirecting(SocketAddr),
}

pub(crate) struct ApiServer {
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<State>>,
}

struct State {
    manner: Manner,
    version: u64,
    compacted: u64,
    /// By namespace and name, with their labels.
    slices: BTreeMap<(String, String), Value>,
    /// What watches that begin late are still told.
    history: Vec<(u64, Value)>,
    watchers: Vec<Watcher>,
    /// Whether events are kept from the watches that are open: their network has eaten them.
    silent: bool,
    asked: Vec<Asked>,
    /// What lists say in place of the version.
    list_version: Option<String>,
}

struct Watcher {
    namespace: String,
    service: String,
    lines: mpsc::UnboundedSender<io::Result<Bytes>>,
}

impl ApiServer {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State {
            manner: Manner::Obliging,
            version: 100,
            compacted: 0,
            slices: BTreeMap::new(),
            history: Vec::new(),
            watchers: Vec::new(),
            silent: false,
            asked: Vec::new(),
            list_version: None,
        }));
        let shared = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((io, _)) = listener.accept().await {
                // As in Go. Else an event waits for the acknowledgement of the one before it.
                io.set_nodelay(true).unwrap();
                let state = Arc::clone(&shared);
                let service = service_fn(move |request| {
                    let response = state.lock().unwrap().answer(&request);
                    async move { Ok::<_, Infallible>(response) }
                });
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(io), service),
                );
            }
        });
        Self { address, state }
    }

    /// A client whose own namespace is `shop`.
    pub(crate) fn client(&self) -> meshless::resolver::KubernetesClient {
        meshless::resolver::KubernetesClient::new(&format!("http://{}", self.address))
            .unwrap()
            .namespace("shop")
    }

    pub(crate) fn set_manner(&self, manner: Manner) {
        self.state.lock().unwrap().manner = manner;
    }

    /// Lists say this in place of their version.
    pub(crate) fn set_list_version(&self, version: &str) {
        self.state.lock().unwrap().list_version = Some(version.to_owned());
    }

    /// Creates or changes a slice of the Service `shop/echo`.
    pub(crate) fn put(&self, name: &str, slice: Value) {
        self.put_of("shop", "echo", name, slice);
    }

    pub(crate) fn put_of(&self, namespace: &str, service: &str, name: &str, mut slice: Value) {
        let mut state = self.state.lock().unwrap();
        state.version += 1;
        slice["apiVersion"] = json!("discovery.k8s.io/v1");
        slice["kind"] = json!("EndpointSlice");
        slice["metadata"] = json!({
            "name": name, "namespace": namespace, "resourceVersion": state.version.to_string(),
            "labels": { "kubernetes.io/service-name": service },
        });
        let key = (namespace.to_owned(), name.to_owned());
        let kind = if state.slices.contains_key(&key) { "MODIFIED" } else { "ADDED" };
        state.slices.insert(key, slice.clone());
        state.tell(kind, slice);
    }

    pub(crate) fn delete(&self, name: &str) {
        let mut state = self.state.lock().unwrap();
        state.version += 1;
        let mut slice = state.slices.remove(&("shop".to_owned(), name.to_owned())).unwrap();
        slice["metadata"]["resourceVersion"] = json!(state.version.to_string());
        state.tell("DELETED", slice);
    }

    /// A bookmark at the present version.
    pub(crate) fn bookmark(&self) {
        let mut state = self.state.lock().unwrap();
        let bookmark = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": { "resourceVersion": state.version.to_string() },
        });
        state.send(&line("BOOKMARK", &bookmark), |_| true);
    }

    /// Forgets the past: watches cannot go on from before the present version.
    pub(crate) fn compact(&self) {
        let mut state = self.state.lock().unwrap();
        state.compacted = state.version;
        state.history.clear();
    }

    /// Watches are told nothing of the past, however old their version is.
    pub(crate) fn forget(&self) {
        self.state.lock().unwrap().history.clear();
    }

    /// A line on every open watch.
    pub(crate) fn say(&self, text: &str) {
        self.state.lock().unwrap().send(text, |_| true);
    }

    /// Ends every watch, as at its timeout.
    pub(crate) fn end_watches(&self) {
        self.state.lock().unwrap().watchers.clear();
    }

    /// Cuts every watch in the middle of its body.
    pub(crate) fn break_watches(&self) {
        for watcher in self.state.lock().unwrap().watchers.drain(..) {
            let _ = watcher.lines.send(Err(io::ErrorKind::ConnectionReset.into()));
        }
    }

    /// The open watches hear nothing more, and stay open.
    pub(crate) fn silence(&self, silent: bool) {
        self.state.lock().unwrap().silent = silent;
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.state.lock().unwrap().asked.clone()
    }

    pub(crate) fn watches_asked(&self) -> usize {
        self.asked().iter().filter(|asked| asked.is_watch()).count()
    }

    pub(crate) fn lists_asked(&self) -> usize {
        self.asked().iter().filter(|asked| !asked.is_watch()).count()
    }

    /// Watches that someone reads.
    pub(crate) fn watches_open(&self) -> usize {
        self.state.lock().unwrap().watchers.iter().filter(|watcher| !watcher.lines.is_closed()).count()
    }

    /// Waits until something is true of the server.
    pub(crate) async fn until(&self, what: &str, wanted: impl Fn(&Self) -> bool) {
        for _ in 0..2_000 {
            if wanted(self) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("not within 10 s: {what}; asked {:#?}", self.asked());
    }
}

impl State {
    fn answer(&mut self, request: &Request<Incoming>) -> Response<Answer> {
        let query = request.uri().query().unwrap_or_default();
        let query = query.split('&').filter_map(|pair| pair.split_once('='));
        let decoded = |text: &str| text.replace("%2F", "/").replace("%3D", "=");
        let query = query.map(|(name, value)| (name.to_owned(), decoded(value))).collect();
        let asked = Asked { path: request.uri().path().to_owned(), query };
        self.asked.push(asked.clone());
        match self.manner {
            Manner::Denying => {
                let message =
                    "endpointslices.discovery.k8s.io is forbidden: User \"echo\" cannot list resource";
                return status(StatusCode::FORBIDDEN, message);
            }
            Manner::Redirecting(to) => {
                let mut response = status(StatusCode::FOUND, "");
                let to = format!("http://{to}{}", request.uri()).parse().unwrap();
                response.headers_mut().insert(http::header::LOCATION, to);
                return response;
            }
            Manner::Failing => return status(StatusCode::INTERNAL_SERVER_ERROR, "etcd is not there"),
            _ => {}
        }
        let Some(namespace) = asked
            .path
            .strip_prefix("/apis/discovery.k8s.io/v1/namespaces/")
            .and_then(|rest| rest.strip_suffix("/endpointslices"))
        else {
            return status(StatusCode::NOT_FOUND, &asked.path);
        };
        let service = asked.query.get("labelSelector").and_then(|selector| selector.split_once('='));
        let Some(("kubernetes.io/service-name", service)) = service else {
            return status(StatusCode::BAD_REQUEST, "no selector");
        };
        if asked.is_watch() { self.watch(&asked, namespace, service) } else { self.list(namespace, service) }
    }

    fn list(&self, namespace: &str, service: &str) -> Response<Answer> {
        match self.manner {
            Manner::EndlessList => return Response::new(Answer::Endless),
            Manner::SilentLists => return Response::new(Answer::Silent),
            _ => {}
        }
        if self.manner == Manner::Babbling {
            return Response::new(Answer::Whole(Some(Bytes::from_static(b"{\"items\": [{]"))));
        }
        let items: Vec<_> = self.slices.values().filter(|slice| is_of(slice, namespace, service)).collect();
        let list = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSliceList",
            "metadata": { "resourceVersion": self.list_version.clone().unwrap_or(self.version.to_string()) },
            "items": items,
        });
        Response::new(Answer::Whole(Some(list.to_string().into())))
    }

    fn watch(&mut self, asked: &Asked, namespace: &str, service: &str) -> Response<Answer> {
        if let Manner::WatchesFail(code) = self.manner {
            return status(
                StatusCode::from_u16(code).unwrap(),
                "Too large resource version: 12, current: 11",
            );
        }
        let Ok(from) = asked.query["resourceVersion"].parse::<u64>() else {
            return status(StatusCode::BAD_REQUEST, "Invalid value: \"resourceVersion\"");
        };
        let (lines, body) = mpsc::unbounded_channel();
        if from < self.compacted {
            if self.manner == Manner::GoneByStatus {
                return status(StatusCode::GONE, "too old resource version");
            }
            let gone = json!({
                "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
                "message": "too old resource version", "reason": "Expired", "code": 410,
            });
            let _ = lines.send(Ok(line("ERROR", &gone).into()));
            return Response::new(Answer::Lines(body));
        }
        for (version, event) in &self.history {
            if *version > from && is_of(&event["object"], namespace, service) {
                let _ = lines.send(Ok(format!("{event}\n").into()));
            }
        }
        if self.manner == Manner::WatchesEnd {
            return Response::new(Answer::Lines(body));
        }
        self.watchers.push(Watcher { namespace: namespace.to_owned(), service: service.to_owned(), lines });
        Response::new(Answer::Lines(body))
    }

    fn tell(&mut self, kind: &str, slice: Value) {
        let text = line(kind, &slice);
        self.history.push((self.version, json!({ "type": kind, "object": slice })));
        self.send(&text, |watcher| is_of(&slice, &watcher.namespace, &watcher.service));
    }

    fn send(&mut self, text: &str, to: impl Fn(&Watcher) -> bool) {
        let send = |watcher: &Watcher| !to(watcher) || watcher.lines.send(Ok(text.to_owned().into())).is_ok();
        if !self.silent {
            self.watchers.retain(send);
        }
    }
}

fn is_of(slice: &Value, namespace: &str, service: &str) -> bool {
    slice["metadata"]["namespace"] == namespace
        && slice["metadata"]["labels"]["kubernetes.io/service-name"] == service
}

fn line(kind: &str, object: &Value) -> String {
    format!("{}\n", json!({ "type": kind, "object": object }))
}

fn status(code: StatusCode, message: &str) -> Response<Answer> {
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message,
        "reason": "", "code": code.as_u16(),
    });
    let mut response = Response::new(Answer::Whole(Some(body.to_string().into())));
    *response.status_mut() = code;
    response
}

/// The body of a response.
enum Answer {
    Whole(Option<Bytes>),
    Lines(mpsc::UnboundedReceiver<io::Result<Bytes>>),
    /// Spaces without end, which JSON allows.
    Endless,
    Silent,
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Endless => Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[b' '; 1 << 16]))))),
            Self::Silent => Poll::Pending,
            Self::Lines(lines) => lines.poll_recv(cx).map(|line| Some(line?.map(Frame::data))),
        }
    }
}
