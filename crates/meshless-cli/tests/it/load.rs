//! `meshless load`, as its user ends it.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::{meshless, run, stderr};

/// A server with a certificate for 127.0.0.1 in this folder, which wants one of its clients. Killed
/// when dropped.
struct MutualTls {
    folder: tempfile::TempDir,
    server: std::process::Child,
    address: String,
}

impl MutualTls {
    fn start() -> Self {
        use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: String| std::fs::write(folder.path().join(name), text).unwrap();
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let names = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        write("ca.crt", authority.pem());
        write("tls.crt", names.signed_by(&key, &*authority).unwrap().pem());
        write("tls.key", key.serialize_pem());
        let path = folder.path().display().to_string();
        let mut server = meshless(&format!(
            "serve --control --listen 127.0.0.1:0 --service-time 1ms --tls-cert {path}/tls.crt --tls-key {path}/tls.key \
             --client-ca {path}/ca.crt"
        ))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
        let ready = BufReader::new(server.stdout.take().unwrap()).lines().next().unwrap().unwrap();
        let ready: Value = serde_json::from_str(&ready).unwrap();
        let address = ready["Ready"]["addresses"][0].as_str().unwrap().to_owned();
        Self { folder, server, address }
    }

    /// What `load` says with these flags; `FOLDER` stands for the folder of the certificates.
    fn load(&self, flags: &str) -> (Option<i32>, String) {
        let flags = flags.replace("FOLDER", &self.folder.path().display().to_string());
        let output = run(&format!("load --target ipv4:{} --calls 3 {flags}", self.address));
        (output.status.code(), stderr(&output) + &String::from_utf8_lossy(&output.stdout))
    }
}

impl Drop for MutualTls {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

#[test]
fn tls_that_does_not_fit_is_answered_with_the_flag() {
    let server = MutualTls::start();
    let identity = "--tls-cert FOLDER/tls.crt --tls-key FOLDER/tls.key";
    let (code, said) = server.load(&format!("--tls-ca FOLDER/ca.crt {identity}"));
    assert_eq!(code, Some(0), "{said}");
    for (flags, expected) in [
        ("--tls-ca FOLDER/ca.crt", "--tls-cert FILE and --tls-key FILE"),
        ("--tls-ca FOLDER/tls.crt", "--tls-ca FILE names those that are"),
        ("--tls-ca FOLDER/ca.crt --tls-server-name other.test", "--tls-server-name NAME"),
        ("", "--tls-ca FILE switches TLS on"),
        ("--tls-ca FOLDER/tls.key", "--tls-ca: "),
        (
            "--tls-ca FOLDER/ca.crt --tls-cert FOLDER/ca.crt --tls-key FOLDER/tls.key",
            "--tls-cert, --tls-key: ",
        ),
    ] {
        let (code, said) = server.load(flags);
        assert!(code == Some(2) && said.contains(expected), "{flags}: {code:?}: {said}");
    }
}

#[test]
fn no_latency_is_shown_where_nothing_was_answered() {
    let mut server = meshless("serve --control --listen 127.0.0.1:0 --service-time 10s")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let ready = BufReader::new(server.stdout.take().unwrap()).lines().next().unwrap().unwrap();
    let ready: Value = serde_json::from_str(&ready).unwrap();
    let address = ready["Ready"]["addresses"][0].as_str().unwrap();
    let load = format!("load --target ipv4:{address} --calls 2 --deadline 100ms");
    let text = run(&load);
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(text.contains("0 ok, 2 failed") && !text.contains("latency"), "{text}");
    let json: Value = serde_json::from_slice(&run(&format!("{load} --json")).stdout).unwrap();
    assert!(json["latency_ms"].is_null() && json["failed"] == 2, "{json}");
    server.kill().unwrap();
    server.wait().unwrap();
}

#[test]
fn ctrl_c_ends_it_with_what_it_has_seen() {
    let mut server = meshless("serve --control --listen 127.0.0.1:0 --service-time 1ms")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut commands = server.stdin.take().unwrap();
    let mut answers = BufReader::new(server.stdout.take().unwrap()).lines();
    let mut answer = || serde_json::from_str::<Value>(&answers.next().unwrap().unwrap()).unwrap();
    let address = answer()["Ready"]["addresses"][0].as_str().unwrap().to_owned();
    let load = meshless(&format!("load --target ipv4:{address} --seconds 3600 --json"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    loop {
        commands.write_all(b"\"Usage\"\n").unwrap();
        if answer()["Usage"]["executed"].as_u64().unwrap() > 100 {
            break;
        }
    }
    kill_process(Pid::from_child(&load), Signal::INT).unwrap();
    let ended = load.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(130), "{ended:?}");
    let report: Value = serde_json::from_slice(&ended.stdout).unwrap();
    assert!(report["ok"].as_u64().unwrap() > 100 && report["failed"] == 0, "{report}");
    drop(commands);
    server.wait().unwrap();
}

#[test]
fn a_signal_ends_it_before_there_is_a_connection() {
    // It accepts, and never speaks.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = format!("ipv4:{}", silent.local_addr().unwrap());
    for signal in [Signal::TERM, Signal::INT] {
        let load = meshless(&format!("load --target {target} --seconds 3600"))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let _connection = silent.accept().unwrap();
        kill_process(Pid::from_child(&load), signal).unwrap();
        let ended = load.wait_with_output().unwrap();
        assert_eq!(ended.status.code(), Some(130), "{ended:?}");
        assert!(stderr(&ended).contains("no call was made"), "{}", stderr(&ended));
    }
}

#[test]
fn a_signal_does_not_wait_for_calls_that_take_long() {
    let mut server = meshless("serve --control --listen 127.0.0.1:0 --service-time 1h")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut commands = server.stdin.take().unwrap();
    let mut answers = BufReader::new(server.stdout.take().unwrap()).lines();
    let mut answer = || serde_json::from_str::<Value>(&answers.next().unwrap().unwrap()).unwrap();
    let address = answer()["Ready"]["addresses"][0].as_str().unwrap().to_owned();
    let load = meshless(&format!("load --target ipv4:{address} --deadline 1h --in-flight 3 --json"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    loop {
        commands.write_all(b"\"Usage\"\n").unwrap();
        if answer()["Usage"]["in_flight"].as_u64().unwrap() == 3 {
            break;
        }
    }
    kill_process(Pid::from_child(&load), Signal::TERM).unwrap();
    let ended = load.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(130), "{ended:?}");
    let report: Value = serde_json::from_slice(&ended.stdout).unwrap();
    assert_eq!((&report["given_up"], &report["ok"], &report["failed"]), (&3.into(), &0.into(), &0.into()));
    drop(commands);
    server.wait().unwrap();
}
