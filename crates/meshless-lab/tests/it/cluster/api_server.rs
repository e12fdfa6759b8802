//! A Kubernetes API server as far as `compare --kubernetes` goes until its servers would be ready, which here they never are.

use std::collections::BTreeMap;
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
}

impl ApiServer {
    pub(crate) fn start(cluster: Cluster) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State { cluster, created: 0, objects: BTreeMap::new() }));
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
    while let Some((method, path, body)) = request(&mut reader) {
        let (code, answer) = state.lock().unwrap().answer(&method, &path, body);
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

/// The next request on a connection: method, path without its query, and body.
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
    let path = target.split('?').next()?.to_owned();
    Some((method, path, serde_json::from_slice(&body).unwrap_or(Value::Null)))
}

impl State {
    fn answer(&mut self, method: &str, path: &str, body: Value) -> (u16, Value) {
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
            "GET" if name == "pods" => (200, self.pods()),
            "GET" => self
                .objects
                .get(path)
                .map_or_else(|| failure(404, "not found"), |object| (200, object.clone())),
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

    /// One pod per Deployment.
    fn pods(&self) -> Value {
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
        json!({ "apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": pods.collect::<Vec<_>>() })
    }
}

fn failure(code: u16, message: &str) -> (u16, Value) {
    let reason = if code == 404 { "NotFound" } else { "Forbidden" };
    let status = json!({
        "apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure", "message": message, "reason": reason, "code": code,
    });
    (code, status)
}
