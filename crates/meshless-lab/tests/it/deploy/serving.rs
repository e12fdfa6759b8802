//! The arguments of the manifests, given to the program itself.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use k8s_openapi::api::core::v1::Container;

use super::*;
use crate::support::{meshless, stderr};

/// The container's arguments with some of them replaced.
fn arguments(container: &Container, replaced: &[(&str, &str)]) -> String {
    let mut arguments = container.args.clone().unwrap();
    for (name, value) in replaced {
        assert!(!argument(container, name).is_empty());
        arguments.retain(|argument| !argument.starts_with(&format!("{name}=")));
        arguments.push(format!("{name}={value}"));
    }
    arguments.join(" ")
}

#[test]
fn the_load_of_the_manifests_reaches_the_server_of_the_manifests() {
    let manifests = Manifests::read();
    let server = arguments(&manifests.server().containers[0], &[("--listen", "127.0.0.1:0")]);
    let mut server = meshless(&format!("{server} --control"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut ready = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut ready).unwrap();
    let address = serde_json::from_str(&ready)
        .map(|ready: Value| ready["Ready"]["addresses"][0].as_str().unwrap_or_default().to_owned());
    let Ok(address) = address else {
        panic!("{}", stderr(&server.wait_with_output().unwrap()));
    };
    for job in manifests.jobs() {
        let target = format!("ipv4:{address}");
        let load = arguments(&job.containers[0], &[("--target", &target), ("--calls", "20")]);
        let output = meshless(&format!("{load} --json")).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["ok"], 20);
    }
    drop(server.stdin.take());
    assert!(server.wait().unwrap().success());
}
