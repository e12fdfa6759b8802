//! A Kubernetes API server as far as `compare --kubernetes` goes until its load runs. The load
//! never ends by itself: a worker says what it has measured when its pod is deleted.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// What the cluster is like. Its one namespace is `shop`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cluster {
    /// What the user may not do, such as `create deployments`.
    pub(crate) denied: Vec<String>,
    /// What its pods wait for: reason and message.
    pub(crate) waiting: Option<(&'static str, &'static str)>,
    /// Why its pods are scheduled nowhere.
    pub(crate) unschedulable: Option<&'static str>,
    /// A kind of objects that is refused.
    pub(crate) refused: Option<&'static str>,
    /// Its servers become ready, and each worker of a load has this log, the last line of which it
    /// writes at its end.
    pub(crate) worker_log: Option<&'static [&'static str]>,
}

pub(crate) struct ApiServer {
    folder: tempfile::TempDir,
    address: SocketAddr,
    stopped: Arc<AtomicBool>,
    state: Arc<Mutex<State>>,
}

struct State {
    cluster: Cluster,
    created: usize,
    /// By path.
    objects: BTreeMap<String, Value>,
    /// Names of pods that were told to go, and of those whose log has ended.
    deleted: BTreeSet<String>,
    ended: BTreeSet<String>,
}

impl ApiServer {
    pub(crate) fn start(cluster: Cluster) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State {
            cluster,
            created: 0,
            objects: BTreeMap::new(),
            deleted: BTreeSet::new(),
            ended: BTreeSet::new(),
        }));
        let stopped = Arc::new(AtomicBool::new(false));
        let (shared, stop) = (Arc::clone(&state), Arc::clone(&stopped));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let state = Arc::clone(&shared);
                thread::spawn(move || serve(&stream, &state));
            }
        });
        let server = Self { folder: tempfile::tempdir().unwrap(), address, stopped, state };
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{ "name": "test", "cluster": { "server": format!("http://{address}") } }],
            "users": [{ "name": "test", "user": {} }],
            "contexts": [{ "name": "test", "context": { "cluster": "test", "user": "test", "namespace": "shop" } }],
        });
        std::fs::write(server.kubeconfig(), config.to_string()).unwrap();
        server
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("kubeconfig")
    }

    /// From now on connections are refused.
    pub(crate) fn stop_listening(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        // The thread looks up at the next connection.
        let _ = TcpStream::connect(self.address);
        while TcpStream::connect(self.address).is_ok() {
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Objects that were ever created.
    pub(crate) fn created(&self) -> usize {
        self.state.lock().unwrap().created
    }

    /// Paths of those that exist.
    pub(crate) fn left(&self) -> Vec<String> {
        self.state.lock().unwrap().objects.keys().cloned().collect()
    }

    /// Waits until something is true of the server.
    pub(crate) fn until(&self, what: &str, wanted: impl Fn(&Self) -> bool) {
        let begin = Instant::now();
        while !wanted(self) {
            assert!(begin.elapsed() < super::PATIENCE, "not in time: {what}");
            thread::sleep(Duration::from_millis(5));
        }
    }
}

fn serve(stream: &TcpStream, state: &Mutex<State>) {
    let mut reader = BufReader::new(stream);
    while let Some((method, target, body)) = request(&mut reader) {
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        if let Some(pod) = path.strip_suffix("/log") {
            return log(stream, state, pod.rsplit('/').next().unwrap_or_default());
        }
        let (code, answer) = state.lock().unwrap().answer(&method, path, query, body);
        let answer = answer.to_string();
        let head = format!(
            "HTTP/1.1 {code} -\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            answer.len()
        );
        let mut stream = stream;
        if stream.write_all(format!("{head}{answer}").as_bytes()).is_err() {
            return;
        }
    }
}

/// Writes the log of a worker as it is followed: the last line when its pod is deleted, and then
/// its end. The pod is gone only then, so that a log that nobody follows keeps it.
fn log(mut stream: &TcpStream, state: &Mutex<State>, pod: &str) {
    let lines = state.lock().unwrap().cluster.worker_log.unwrap_or_default();
    let (last, first) = lines.split_last().unwrap();
    let head = "HTTP/1.1 200 -\r\ncontent-type: text/plain\r\nconnection: close\r\n\r\n";
    let mut write = |text: &str| stream.write_all(text.as_bytes()).unwrap();
    write(head);
    first.iter().for_each(|line| write(&format!("{line}\n")));
    let begin = Instant::now();
    while !state.lock().unwrap().deleted.contains(pod) && begin.elapsed() < super::PATIENCE {
        thread::sleep(Duration::from_millis(5));
    }
    write(&format!("{last}\n"));
    state.lock().unwrap().ended.insert(pod.to_owned());
}

/// The next request on a connection: method, path with its query, and body.
fn request(reader: &mut impl BufRead) -> Option<(String, String, Value)> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        match header.trim().to_ascii_lowercase().split_once(':') {
            Some(("content-length", value)) => length = value.trim().parse().unwrap(),
            Some(_) => {}
            None => break,
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((method, target, serde_json::from_slice(&body).unwrap_or(Value::Null)))
}

impl State {
    fn answer(&mut self, method: &str, path: &str, query: &str, body: Value) -> (u16, Value) {
        if path.ends_with("/selfsubjectaccessreviews") {
            return (201, self.review(body));
        }
        if path == "/api/v1/namespaces/shop" {
            return (200, json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "shop" } }));
        }
        let name = path.rsplit('/').next().unwrap_or_default();
        match method {
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
    let reason = if code == 404 { "NotFound" } else { "Forbidden" };
    let status = json!({
        "apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure", "message": message, "reason": reason, "code": code,
    });
    (code, status)
}
