//! Objects, as far as `compare --kubernetes` goes until its load runs. The load never ends by
//! itself: a worker says what it has measured when its pod is deleted.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use super::http::{Reply, json_reply, serve, status};

/// What the cluster is like. Its one namespace is `shop`.
#[derive(Clone, Debug, Default)]
pub struct ClusterConfig {
    /// What the user may not do, such as `create deployments`.
    pub denied: Vec<String>,
    /// What its pods wait for: reason and message.
    pub waiting: Option<(&'static str, &'static str)>,
    /// Why its pods are scheduled nowhere.
    pub unschedulable: Option<&'static str>,
    /// A kind of objects that is refused.
    pub refused: Option<&'static str>,
    /// Its servers become ready, and each worker of a load has this log, the last line of which it
    /// writes at its end.
    pub worker_log: Option<&'static [&'static str]>,
}

/// A cluster of one namespace, `shop`, and its kubeconfig. It runs in a thread of its own until it
/// is dropped, since its clients are processes that a test waits for.
#[derive(Debug)]
pub struct Cluster {
    folder: tempfile::TempDir,
    /// Present while it accepts connections.
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
    state: Arc<Mutex<ObjectsState>>,
}

#[derive(Debug)]
struct ObjectsState {
    cluster: ClusterConfig,
    created: usize,
    /// By path.
    objects: BTreeMap<String, Value>,
    /// Names of pods that were told to go, and of those whose log has ended.
    deleted: BTreeSet<String>,
    ended: BTreeSet<String>,
    /// Logs that are followed, by pod.
    logs: BTreeMap<String, mpsc::UnboundedSender<std::io::Result<Bytes>>>,
}

impl Cluster {
    /// Starts it, on a free port of loopback.
    pub fn start(cluster: ClusterConfig) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(ObjectsState {
            cluster,
            created: 0,
            objects: BTreeMap::new(),
            deleted: BTreeSet::new(),
            ended: BTreeSet::new(),
            logs: BTreeMap::new(),
        }));
        let (stop, stopped) = oneshot::channel();
        let shared = Arc::clone(&state);
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                let answer = move |request: Request<Bytes>| shared.lock().unwrap().reply(&request);
                tokio::select! {
                    () = serve(listener, answer) => {}
                    _ = stopped => {}
                }
            });
        });
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(KUBECONFIG), kubeconfig(address).to_string()).unwrap();
        Self { folder, stop: Some(stop), thread: Some(thread), state }
    }

    /// A folder that lives as long as the cluster.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The file that says where the cluster is.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join(KUBECONFIG)
    }

    /// From now on connections are refused.
    pub fn stop_listening(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }

    /// Objects that were ever created.
    pub fn created(&self) -> usize {
        self.state.lock().unwrap().created
    }

    /// Paths of those that exist.
    pub fn left(&self) -> Vec<String> {
        self.state.lock().unwrap().objects.keys().cloned().collect()
    }

    /// Waits until something is true of the server.
    pub fn until(&self, what: &str, wanted: impl Fn(&Self) -> bool) {
        let begin = Instant::now();
        while !wanted(self) {
            assert!(begin.elapsed() < PATIENCE, "not in time: {what}");
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.stop_listening();
    }
}

fn kubeconfig(address: SocketAddr) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "test",
        "clusters": [{ "name": "test", "cluster": { "server": format!("http://{address}") } }],
        "users": [{ "name": "test", "user": {} }],
        "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "test", "namespace": "shop" } }],
    })
}

impl ObjectsState {
    fn reply(&mut self, request: &Request<Bytes>) -> Response<Reply> {
        let (path, query) = (request.uri().path(), request.uri().query().unwrap_or_default());
        if let Some(pod) = path.strip_suffix("/log") {
            return self.log(pod.rsplit('/').next().unwrap_or_default());
        }
        let body = serde_json::from_slice(request.body()).unwrap_or(Value::Null);
        let (code, object) = self.answer(request.method(), path, query, body);
        json_reply(StatusCode::from_u16(code).unwrap(), &object)
    }

    /// The log of a worker as it is followed: the last line comes when its pod is deleted, and then
    /// the end.
    fn log(&mut self, pod: &str) -> Response<Reply> {
        let (lines, body) = mpsc::unbounded_channel();
        let written = self.cluster.worker_log.unwrap_or_default();
        for line in written.split_last().map_or(&[][..], |(_, first)| first) {
            let _ = lines.send(Ok(format!("{line}\n").into()));
        }
        self.logs.insert(pod.to_owned(), lines);
        if self.deleted.contains(pod) {
            self.end_log(pod);
        }
        Response::new(Reply::Lines(body))
    }

    /// Ends the log of a pod, if someone follows it. The pod is gone only then: a log that nobody
    /// follows keeps it.
    fn end_log(&mut self, pod: &str) {
        if let Some(lines) = self.logs.remove(pod) {
            let last = self.cluster.worker_log.and_then(<[_]>::last).copied().unwrap_or_default();
            let _ = lines.send(Ok(format!("{last}\n").into()));
            self.ended.insert(pod.to_owned());
        }
    }

    fn answer(&mut self, method: &Method, path: &str, query: &str, body: Value) -> (u16, Value) {
        if path.ends_with("/selfsubjectaccessreviews") {
            return (201, self.review(body));
        }
        if path == "/api/v1/namespaces/shop" {
            return (200, json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "shop" } }));
        }
        let name = path.rsplit('/').next().unwrap_or_default();
        match method.as_str() {
            "POST" if self.cluster.refused == Some(name) => failure(403, "exceeded quota"),
            "POST" => {
                let name = body["metadata"]["name"].as_str().unwrap_or_default();
                self.objects.insert(format!("{path}/{name}"), body.clone());
                self.created += 1;
                (201, body)
            }
            "GET" if name == "endpointslices" && self.cluster.denied.contains(&format!("list {name}")) => {
                failure(403, "endpointslices.discovery.k8s.io is forbidden")
            }
            "GET" if name == "pods" => (200, self.pods(query)),
            "GET" => self
                .objects
                .get(path)
                .map_or_else(|| failure(404, "not found"), |object| (200, self.with_status(object))),
            "DELETE" if path.contains("/pods/") => {
                self.deleted.insert(name.to_owned());
                self.end_log(name);
                (200, json!({ "apiVersion": "v1", "kind": "Status", "status": "Success" }))
            }
            "DELETE" => match self.objects.remove(path) {
                Some(_) => (200, json!({ "apiVersion": "v1", "kind": "Status", "status": "Success" })),
                None => failure(404, "not found"),
            },
            _ => failure(405, "not here"),
        }
    }

    fn review(&self, mut review: Value) -> Value {
        let asked = &review["spec"]["resourceAttributes"];
        let word = |name: &str| asked[name].as_str().unwrap_or_default().to_owned();
        let subresource = asked["subresource"].as_str().map_or_else(String::new, |name| format!("/{name}"));
        let act = format!("{} {}{subresource}", word("verb"), word("resource"));
        review["status"] = json!({ "allowed": !self.cluster.denied.contains(&act) });
        review
    }

    /// An object with what its controller says of it.
    fn with_status(&self, object: &Value) -> Value {
        let mut object = object.clone();
        let ready = object["kind"] == "Deployment" && self.cluster.worker_log.is_some();
        if let Some(replicas) = object["spec"].get("replicas").filter(|_| ready).cloned() {
            object["status"] =
                json!({ "replicas": replicas, "updatedReplicas": replicas, "readyReplicas": replicas });
        }
        object
    }

    fn pods(&self, query: &str) -> Value {
        let items = match self.cluster.worker_log {
            None => self.stuck_pods(),
            // As a selector says it: `batch.kubernetes.io/job-name=NAME`.
            Some(_) if query.contains("job-name") => self.pods_of("Job", "completions"),
            Some(_) => self.pods_of("Deployment", "replicas"),
        };
        json!({ "apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": items })
    }

    /// Pods that run and are ready, as many as `count` says, until their objects are deleted and
    /// their logs have ended.
    fn pods_of(&self, kind: &str, count: &str) -> Vec<Value> {
        let objects = self.objects.values().filter(|object| object["kind"] == kind);
        let pods = objects.flat_map(|object| {
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            (0..object["spec"][count].as_u64().unwrap_or_default())
                .map(move |index| format!("{name}-{index}"))
        });
        let ready = json!([{ "type": "Ready", "status": "True" }]);
        pods.filter(|pod| !self.ended.contains(pod))
            .map(|pod| json!({ "metadata": { "name": pod }, "status": { "phase": "Running", "conditions": ready } }))
            .collect()
    }

    /// One pod per Deployment, which does not start.
    fn stuck_pods(&self) -> Vec<Value> {
        let deployments = self.objects.values().filter(|object| object["kind"] == "Deployment");
        let pods = deployments.map(|deployment| {
            let waiting = self.cluster.waiting.map(|(reason, message)| json!({ "reason": reason, "message": message }));
            let container = json!({
                "name": "server", "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": { "waiting": waiting },
            });
            let unscheduled = self.cluster.unschedulable.map(|message| {
                json!({ "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message })
            });
            let conditions: Vec<_> = unscheduled.into_iter().collect();
            let metadata = json!({ "name": format!("{}-1", deployment["metadata"]["name"].as_str().unwrap_or_default()) });
            json!({ "metadata": metadata, "status": { "phase": "Pending", "conditions": conditions, "containerStatuses": [container] } })
        });
        pods.collect()
    }
}

fn failure(code: u16, message: &str) -> (u16, Value) {
    (code, status(code, if code == 404 { "NotFound" } else { "Forbidden" }, message))
}

const KUBECONFIG: &str = "kubeconfig";

/// Longer than anything here takes; reaching it is a failure.
const PATIENCE: Duration = Duration::from_secs(20);
