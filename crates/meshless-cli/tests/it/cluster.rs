//! `compare --kubernetes` against a cluster that says no: one line each, exit code 2, and nothing
//! left behind. What it does on one that says yes is seen with a real API server (peers/cluster).

use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::support::{meshless, stderr};
use meshless_testkit::api_server::{Cluster, ClusterConfig};

fn compare(server: &Cluster) -> Command {
    let mut command = meshless("compare --kubernetes --experiments spread --strategies round_robin");
    command.args(["--out".as_ref(), server.folder().join("report").as_os_str()]);
    command.env("KUBECONFIG", server.kubeconfig());
    command
}

fn refused(output: &Output, says: &[&str]) {
    let stderr = stderr(output);
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    let said: Vec<_> = stderr.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(said.len(), 1, "{stderr}");
    for words in says {
        assert!(said[0].contains(words), "{} does not say {words}", said[0]);
    }
}

#[test]
fn without_a_kubeconfig_no_cluster_is_known() {
    let nowhere = tempfile::tempdir().unwrap();
    let mut command = meshless("compare --kubernetes");
    command.env("KUBECONFIG", nowhere.path().join("none")).env("HOME", nowhere.path()).current_dir(&nowhere);
    refused(&command.output().unwrap(), &["no cluster is known", "$KUBECONFIG"]);
}

#[test]
fn a_cluster_that_does_not_answer_is_said_to() {
    let mut server = Cluster::start(ClusterConfig::default());
    let mut command = compare(&server);
    server.stop_listening();
    refused(&command.output().unwrap(), &["does not answer", "refused"]);
}

#[test]
fn an_unknown_context_is_answered_with_the_known_ones() {
    let server = Cluster::start(ClusterConfig::default());
    refused(&compare(&server).args(["--context", "prod"]).output().unwrap(), &["`prod`", "choose from test"]);
}

#[test]
fn what_a_cluster_does_not_have_is_refused() {
    let server = Cluster::start(ClusterConfig::default());
    refused(
        &compare(&server).args(["--events", "dns-flap"]).output().unwrap(),
        &["no event `dns-flap`", "scale, rolling, pod-deletion"],
    );
    let output = meshless("compare --kubernetes --experiments burst").output().unwrap();
    refused(&output, &["only spread and churn"]);
    assert_eq!(server.created(), 0);
}

#[test]
fn an_unknown_namespace_is_refused_before_anything_is_applied() {
    let server = Cluster::start(ClusterConfig::default());
    let output = compare(&server).args(["--namespace", "elsewhere"]).output().unwrap();
    refused(&output, &["no namespace `elsewhere`", "kubectl create namespace elsewhere"]);
    assert_eq!(server.created(), 0);
}

#[test]
fn all_missing_rights_are_in_one_line_and_nothing_is_applied() {
    let denied = ["create deployments", "patch deployments", "get pods/log", "watch endpointslices"];
    let server = Cluster::start(ClusterConfig {
        denied: denied.map(str::to_owned).to_vec(),
        ..ClusterConfig::default()
    });
    refused(&compare(&server).output().unwrap(), &["`shop`", "create/patch deployments, get pods/log;"]);
    let output = compare(&server).arg("--endpoint-slices").output().unwrap();
    refused(&output, &["create/patch deployments, get pods/log, watch endpointslices;"]);
    assert_eq!(server.created(), 0);
}

#[test]
fn an_image_that_cannot_be_pulled_is_named_and_all_is_taken_away() {
    let waiting = Some(("ErrImagePull", "no such host"));
    let server = Cluster::start(ClusterConfig { waiting, ..ClusterConfig::default() });
    let output = compare(&server).args(["--image", "example.com/none:1"]).output().unwrap();
    refused(&output, &["`example.com/none:1` cannot be pulled (ErrImagePull): no such host"]);
    assert_eq!((server.created(), server.left()), (3, Vec::<String>::new()));
}

#[test]
fn a_refused_object_is_named_and_what_was_applied_is_taken_away() {
    let server = Cluster::start(ClusterConfig { refused: Some("services"), ..ClusterConfig::default() });
    refused(
        &compare(&server).output().unwrap(),
        &["refused to create the Service meshless-lab-", "exceeded quota"],
    );
    assert_eq!((server.created(), server.left()), (1, Vec::<String>::new()));
}

#[test]
fn servers_that_never_start_are_given_up_with_the_reason_and_taken_away() {
    let server = Cluster::start(ClusterConfig {
        unschedulable: Some("0/3 nodes are available"),
        ..ClusterConfig::default()
    });
    let output = compare(&server).args(["--start-within", "1s"]).output().unwrap();
    refused(&output, &["did not start within 1 s", "is Pending (Unschedulable: 0/3 nodes are available)"]);
    assert_eq!((server.created(), server.left()), (3, Vec::<String>::new()));
}

#[test]
fn ctrl_c_takes_all_away() {
    let server = Cluster::start(ClusterConfig::default());
    let child = compare(&server).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    server.until("the servers are applied", |server| server.left().len() == 3);
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
    assert_eq!(server.left(), Vec::<String>::new());
}

#[test]
fn what_workers_have_measured_when_a_run_is_interrupted_is_told() {
    let worker_log = Some(WORKER_LOG);
    for signal in [rustix::process::Signal::INT, rustix::process::Signal::TERM] {
        let server = Cluster::start(ClusterConfig { worker_log, ..ClusterConfig::default() });
        let mut command = compare(&server);
        command.args(["--workers", "2"]).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn().unwrap();
        server
            .until("the load is applied", |server| server.left().iter().any(|path| path.contains("/jobs/")));
        rustix::process::kill_process(rustix::process::Pid::from_child(&child), signal).unwrap();
        let output = child.wait_with_output().unwrap();
        let (said, shown) = (stderr(&output), String::from_utf8_lossy(&output.stdout).into_owned());
        assert_eq!(output.status.code(), Some(130), "{said}");
        // What it does, in this order, though nobody sits at a terminal.
        let steps =
            ["starting the servers", "ending the run early", "reading what", "deleting what was applied"];
        let at: Vec<_> =
            steps.iter().map(|step| said.find(step).unwrap_or_else(|| panic!("{step}: {said}"))).collect();
        assert!(at.is_sorted(), "{said}");
        let words = shown.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains("spread, ended after 0.1 of 10 s: round_robin had 14 calls answered (8, 6 by backend) and 2 failed"), "{shown}");
        assert_eq!(server.left(), Vec::<String>::new());
    }
}

#[test]
fn a_worker_that_is_told_to_stop_says_what_it_has_measured_and_ends() {
    let part = r#"{"strategy":"round_robin","service":"none.invalid","endpoint_slices":false,"at":{"secs":0,"nanos":0},"length":{"secs":3600,"nanos":0},"rate":5.0,"seed":1}"#;
    let begin = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis();
    let score = format!(r#"{{"begin_ms":{begin},"deadline":{{"secs":1,"nanos":0}},"parts":[{part}]}}"#);
    for signal in [rustix::process::Signal::INT, rustix::process::Signal::TERM] {
        let mut worker = meshless("worker")
            .args(["--score", &score])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(worker.stdout.take().unwrap()).lines();
        assert!(lines.next().unwrap().unwrap().contains("here"));
        rustix::process::kill_process(rustix::process::Pid::from_child(&worker), signal).unwrap();
        let last = lines.map_while(Result::ok).last();
        assert_eq!(last.as_deref(), Some("meshless-worker \"stopped\""));
        assert_eq!(worker.wait_with_output().unwrap().status.code(), Some(130));
    }
}

#[test]
fn a_load_that_may_not_read_endpoint_slices_says_so() {
    let denied = vec!["list endpointslices".to_owned()];
    let server = Cluster::start(ClusterConfig { denied, ..ClusterConfig::default() });
    let mut load = meshless("load --target kubernetes:///echo.shop:3001 --calls 1")
        .env("KUBECONFIG", server.kubeconfig())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(load.stderr.take().unwrap()).lines().map_while(Result::ok);
    let warning = said.find(|line| line.contains("may not read EndpointSlices"));
    assert!(warning.is_some_and(|line| line.contains("WARN") && line.contains("going on with DNS")));
    rustix::process::kill_process(rustix::process::Pid::from_child(&load), rustix::process::Signal::TERM)
        .unwrap();
    load.wait().unwrap();
}

/// Of a worker that was stopped in its first tenth of a second.
const WORKER_LOG: &[&str] = &[
    "meshless-worker {\"here\":{\"late_ms\":0}}",
    r#"meshless-worker {"bin":{"part":0,"index":0,"bin":{"backends":{"a":4,"b":3},"failed":[[{"code":14,"hint":"NeverSent"},1]],"latencies":[]}}}"#,
    "meshless-worker \"stopped\"",
];
