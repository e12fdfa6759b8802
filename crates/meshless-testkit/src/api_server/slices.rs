//! EndpointSlices, whose state and manners a test decides: lists as JSON, watches as chunked lines
//! of it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::http::{Reply, failure, json_reply, serve, status};

/// One request as it arrived, with its query.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    /// Its path.
    pub path: String,
    /// Its parameters, of whose escapes those of a label selector are undone.
    pub query: HashMap<String, String>,
}

impl Asked {
    /// True if it asks for a watch and not for a list.
    pub fn is_watch(&self) -> bool {
        self.query.get("watch").is_some_and(|watch| watch == "true")
    }
}

/// How requests are answered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Manner {
    /// As it should be.
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

/// An API server that knows EndpointSlices. It stops when it is dropped.
#[derive(Debug)]
pub struct ApiServer {
    /// Where it listens.
    pub address: SocketAddr,
    state: Arc<Mutex<SlicesState>>,
    acceptor: JoinHandle<()>,
}

#[derive(Debug)]
struct SlicesState {
    manner: Manner,
    version: u64,
    compacted: u64,
    /// By namespace and name, with their labels.
    slices: BTreeMap<(String, String), Value>,
    /// What watches that begin late are still told.
    history: VecDeque<(u64, Value)>,
    watchers: Vec<Watcher>,
    /// Whether events are kept from the watches that are open: their network has eaten them.
    silent: bool,
    asked: VecDeque<Asked>,
    /// What lists say in place of the version.
    list_version: Option<String>,
}

#[derive(Debug)]
struct Watcher {
    namespace: String,
    service: String,
    lines: mpsc::UnboundedSender<io::Result<Bytes>>,
}

impl ApiServer {
    /// A server on a free port of loopback, without a slice.
    pub async fn start() -> Self {
        Self::bind((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap()
    }

    /// Serves on `listen` (port 0 picks a free one), without a slice.
    ///
    /// # Errors
    /// If the address cannot be bound.
    pub async fn bind(listen: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        let state = Arc::new(Mutex::new(SlicesState {
            manner: Manner::Obliging,
            version: FIRST_VERSION,
            compacted: 0,
            slices: BTreeMap::new(),
            history: VecDeque::new(),
            watchers: Vec::new(),
            silent: false,
            asked: VecDeque::new(),
            list_version: None,
        }));
        let shared = Arc::clone(&state);
        let acceptor = tokio::spawn(serve(listener, move |request| shared.lock().unwrap().answer(&request)));
        Ok(Self { address, state, acceptor })
    }

    /// Requests are answered in this way from now on.
    pub fn set_manner(&self, manner: Manner) {
        self.state().manner = manner;
    }

    /// Lists say this in place of their version.
    pub fn set_list_version(&self, version: &str) {
        self.state().list_version = Some(version.to_owned());
    }

    /// Creates or changes a slice of the Service `shop/echo`.
    pub fn put(&self, name: &str, slice: Value) {
        self.put_of("shop", "echo", name, slice);
    }

    /// Creates or changes a slice of any Service.
    pub fn put_of(&self, namespace: &str, service: &str, name: &str, slice: Value) {
        self.state().put(namespace, service, name, slice);
    }

    /// Creates a slice, or changes it if its addresses, ports or endpoints are others.
    pub(super) fn put_if_new(&self, namespace: &str, service: &str, name: &str, slice: Value) {
        let mut state = self.state();
        let known = state.slices.get(&(namespace.to_owned(), name.to_owned()));
        let is_same = |known: &Value| CONTENT.iter().all(|field| known[field] == slice[field]);
        if !known.is_some_and(is_same) {
            state.put(namespace, service, name, slice);
        }
    }

    /// Deletes a slice of the Service `shop/echo`.
    pub fn delete(&self, name: &str) {
        let mut state = self.state();
        state.version += 1;
        let mut slice = state.slices.remove(&("shop".to_owned(), name.to_owned())).unwrap();
        slice["metadata"]["resourceVersion"] = json!(state.version.to_string());
        state.tell("DELETED", slice);
    }

    /// A bookmark at the present version.
    pub fn bookmark(&self) {
        let mut state = self.state();
        let bookmark = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": { "resourceVersion": state.version.to_string() },
        });
        state.send(&line("BOOKMARK", &bookmark), |_| true);
    }

    /// Forgets the past: watches cannot go on from before the present version.
    pub fn compact(&self) {
        let mut state = self.state();
        state.compacted = state.version;
        state.history.clear();
    }

    /// Watches are told nothing of the past, however old their version is.
    pub fn forget(&self) {
        self.state().history.clear();
    }

    /// A line on every open watch.
    pub fn say(&self, text: &str) {
        self.state().send(text, |_| true);
    }

    /// Ends every watch, as at its timeout.
    pub fn end_watches(&self) {
        self.state().watchers.clear();
    }

    /// Cuts every watch in the middle of its body.
    pub fn break_watches(&self) {
        for watcher in self.state().watchers.drain(..) {
            let _ = watcher.lines.send(Err(io::ErrorKind::ConnectionReset.into()));
        }
    }

    /// The open watches hear nothing more, and stay open.
    pub fn silence(&self, silent: bool) {
        self.state().silent = silent;
    }

    /// The last requests, at most 4096 of them.
    pub fn asked(&self) -> Vec<Asked> {
        self.state().asked.iter().cloned().collect()
    }

    /// How many of them ask for a watch.
    pub fn watches_asked(&self) -> usize {
        self.asked().iter().filter(|asked| asked.is_watch()).count()
    }

    /// How many of them ask for a list.
    pub fn lists_asked(&self) -> usize {
        self.asked().iter().filter(|asked| !asked.is_watch()).count()
    }

    /// Watches that someone reads.
    pub fn watches_open(&self) -> usize {
        self.state().watchers.iter().filter(|watcher| !watcher.lines.is_closed()).count()
    }

    /// Waits until something is true of the server.
    pub async fn until(&self, what: &str, wanted: impl Fn(&Self) -> bool) {
        for _ in 0..2_000 {
            if wanted(self) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("not within 10 s: {what}; asked {:#?}", self.asked());
    }

    fn state(&self) -> MutexGuard<'_, SlicesState> {
        self.state.lock().unwrap()
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.acceptor.abort();
    }
}

impl SlicesState {
    fn put(&mut self, namespace: &str, service: &str, name: &str, mut slice: Value) {
        self.version += 1;
        slice["apiVersion"] = json!("discovery.k8s.io/v1");
        slice["kind"] = json!("EndpointSlice");
        slice["metadata"] = json!({
            "name": name, "namespace": namespace, "resourceVersion": self.version.to_string(),
            "labels": { "kubernetes.io/service-name": service },
        });
        let key = (namespace.to_owned(), name.to_owned());
        let kind = if self.slices.contains_key(&key) { "MODIFIED" } else { "ADDED" };
        self.slices.insert(key, slice.clone());
        self.tell(kind, slice);
    }

    fn answer(&mut self, request: &Request<Bytes>) -> Response<Reply> {
        let query = request.uri().query().unwrap_or_default();
        let query = query.split('&').filter_map(|pair| pair.split_once('='));
        let decoded = |text: &str| text.replace("%2F", "/").replace("%3D", "=");
        let query = query.map(|(name, value)| (name.to_owned(), decoded(value))).collect();
        let asked = Asked { path: request.uri().path().to_owned(), query };
        push_bounded(&mut self.asked, asked.clone());
        match self.manner {
            Manner::Denying => {
                let message =
                    "endpointslices.discovery.k8s.io is forbidden: User \"echo\" cannot list resource";
                return failure(StatusCode::FORBIDDEN, "Forbidden", message);
            }
            Manner::Redirecting(to) => {
                let mut response = failure(StatusCode::FOUND, "", "");
                let to = format!("http://{to}{}", request.uri()).parse().unwrap();
                response.headers_mut().insert(header::LOCATION, to);
                return response;
            }
            Manner::Failing => {
                return failure(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", "etcd is not there");
            }
            _ => {}
        }
        let Some(namespace) = asked
            .path
            .strip_prefix("/apis/discovery.k8s.io/v1/namespaces/")
            .and_then(|rest| rest.strip_suffix("/endpointslices"))
        else {
            return failure(StatusCode::NOT_FOUND, "NotFound", &asked.path);
        };
        let service = asked.query.get("labelSelector").and_then(|selector| selector.split_once('='));
        let Some(("kubernetes.io/service-name", service)) = service else {
            return failure(StatusCode::BAD_REQUEST, "BadRequest", "no selector");
        };
        if asked.is_watch() { self.watch(&asked, namespace, service) } else { self.list(namespace, service) }
    }

    fn list(&self, namespace: &str, service: &str) -> Response<Reply> {
        match self.manner {
            Manner::EndlessList => return Response::new(Reply::Endless),
            Manner::SilentLists => return Response::new(Reply::Silent),
            _ => {}
        }
        if self.manner == Manner::Babbling {
            return Response::new(Reply::Whole(Some(Bytes::from_static(b"{\"items\": [{]"))));
        }
        let items: Vec<_> = self.slices.values().filter(|slice| is_of(slice, namespace, service)).collect();
        let list = json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSliceList",
            "metadata": { "resourceVersion": self.list_version.clone().unwrap_or(self.version.to_string()) },
            "items": items,
        });
        json_reply(StatusCode::OK, &list)
    }

    fn watch(&mut self, asked: &Asked, namespace: &str, service: &str) -> Response<Reply> {
        if let Manner::WatchesFail(code) = self.manner {
            return failure(
                StatusCode::from_u16(code).unwrap(),
                "Timeout",
                "Too large resource version: 12, current: 11",
            );
        }
        let Ok(from) = asked.query["resourceVersion"].parse::<u64>() else {
            return failure(StatusCode::BAD_REQUEST, "BadRequest", "Invalid value: \"resourceVersion\"");
        };
        let (lines, body) = mpsc::unbounded_channel();
        if from < self.compacted {
            if self.manner == Manner::GoneByStatus {
                return failure(StatusCode::GONE, "Expired", "too old resource version");
            }
            let gone = status(410, "Expired", "too old resource version");
            let _ = lines.send(Ok(line("ERROR", &gone).into()));
            return Response::new(Reply::Lines(body));
        }
        for (version, event) in &self.history {
            if *version > from && is_of(&event["object"], namespace, service) {
                let _ = lines.send(Ok(format!("{event}\n").into()));
            }
        }
        if self.manner == Manner::WatchesEnd {
            return Response::new(Reply::Lines(body));
        }
        self.watchers.push(Watcher { namespace: namespace.to_owned(), service: service.to_owned(), lines });
        let lasts = asked.query.get("timeoutSeconds").and_then(|seconds| seconds.parse().ok());
        Response::new(Reply::lines_for(body, lasts.map_or(WATCH_LASTS, Duration::from_secs)))
    }

    fn tell(&mut self, kind: &str, slice: Value) {
        let text = line(kind, &slice);
        let event = json!({ "type": kind, "object": slice });
        if let Some((version, _)) = push_bounded(&mut self.history, (self.version, event)) {
            self.compacted = version;
        }
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

/// Lets the oldest go when there are too many, and returns it.
fn push_bounded<T>(list: &mut VecDeque<T>, item: T) -> Option<T> {
    let oldest = if list.len() == MOST_REMEMBERED { list.pop_front() } else { None };
    list.push_back(item);
    oldest
}

/// What a slice says; the rest is its name and its version.
const CONTENT: [&str; 3] = ["addressType", "ports", "endpoints"];

/// Above zero, which would mean "any".
const FIRST_VERSION: u64 = 100;

/// How long a watch lasts that does not say; a real API server draws 5 to 10 minutes.
const WATCH_LASTS: Duration = Duration::from_secs(300);

/// Requests and events that are kept: a thousand times what a test or a run of the lab makes.
const MOST_REMEMBERED: usize = 4096;

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
