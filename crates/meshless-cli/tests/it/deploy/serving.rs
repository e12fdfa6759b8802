//! The arguments of the manifests, given to the program itself.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};

use k8s_openapi::api::core::v1::Container;

use super::*;
use crate::support::{meshless, stderr};

/// The container's arguments with some of them replaced, as the kubelet of a pod of this name gives
/// them.
fn arguments(container: &Container, pod: &str, replaced: &[(&str, &str)]) -> String {
    let mut arguments = container.args.clone().unwrap();
    for (name, value) in replaced {
        assert!(!argument(container, name).is_empty());
        arguments.retain(|argument| !argument.starts_with(&format!("{name}=")));
        arguments.push(format!("{name}={value}"));
    }
    let mut arguments = arguments.join(" ");
    for variable in container.env.iter().flatten() {
        let source = variable.value_from.clone().unwrap().field_ref.unwrap();
        assert_eq!(source.field_path, "metadata.name", "{}", variable.name);
        arguments = arguments.replace(&format!("$({})", variable.name), pod);
    }
    assert!(!arguments.contains("$("), "a variable that the manifest does not set: {arguments}");
    arguments
}

/// A server as the manifest starts it, but on a port of its own, and its address.
fn serve(container: &Container, pod: &str) -> (Child, String) {
    let arguments = arguments(container, pod, &[("--listen", "127.0.0.1:0")]);
    let mut server = meshless(&format!("{arguments} --control"))
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
    (server, address)
}

#[test]
fn the_log_of_the_load_tells_how_many_calls_each_pod_answered() {
    let manifests = Manifests::read();
    let pods = ["echo-6d5f-abcde", "echo-6d5f-fghij", "echo-6d5f-klmno"];
    let server = manifests.server();
    let (servers, addresses): (Vec<_>, Vec<_>) =
        pods.iter().map(|pod| serve(&server.containers[0], pod)).unzip();
    let target = format!("ipv4:{}", addresses.join(","));
    for job in manifests.jobs() {
        let load = arguments(&job.containers[0], "load", &[("--target", &target), ("--calls", "300")]);
        let output = meshless(&load).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
        let log = String::from_utf8(output.stdout).unwrap();
        // As in `  echo-6d5f-abcde: 100 calls, 33.3 %`.
        let answered: BTreeMap<_, u64> = log
            .lines()
            .filter_map(|line| line.strip_prefix("  ")?.split_once(": "))
            .filter_map(|(pod, count)| Some((pod, count.split_once(" calls, ")?.0.parse().ok()?)))
            .collect();
        assert_eq!(answered.keys().copied().collect::<Vec<_>>(), pods, "{log}");
        assert_eq!(answered.values().sum::<u64>(), 300, "{log}");
    }
    for mut server in servers {
        drop(server.stdin.take());
        assert!(server.wait().unwrap().success());
    }
}

#[test]
fn a_server_on_every_address_of_its_pod_calls_itself_as_its_pod() {
    let mut server = meshless("serve --listen 0.0.0.0:0 --service-time 0s --control")
        .env("POD_NAME", "echo-6d5f-abcde")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut ready = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut ready).unwrap();
    let ready: Value = serde_json::from_str(&ready).unwrap();
    let port = ready["Ready"]["addresses"][0].as_str().unwrap().rsplit(':').next().unwrap().to_owned();
    let output = meshless(&format!("load --target ipv4:127.0.0.1:{port} --calls 3 --json")).output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["backends"], serde_json::json!({ "echo-6d5f-abcde": 3 }), "{}", stderr(&output));
    drop(server.stdin.take());
    server.wait().unwrap();
}
