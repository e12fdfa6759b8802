//! What cannot be done is refused before anything runs: exit code 2, and one line that says what to
//! do.

use std::net::TcpListener;

use crate::support::{meshless, refused, run, stderr};

#[test]
fn an_unknown_strategy_is_answered_with_the_known_ones() {
    refused(
        "compare --strategies single-conection",
        &["single-conection", "single-connection", "max-age-dns"],
    );
}

#[test]
fn unknown_experiments_and_events_are_answered_with_the_known_ones() {
    refused("compare --experiments burst,storm", &["`storm`", "burst, spread, churn"]);
    refused("compare --events sigkil", &["`sigkil`", "sigkill", "dns-truncated", "overload"]);
}

#[test]
fn unknown_commands_and_flags_are_answered_in_one_line_with_the_nearest() {
    refused("serv", &["unrecognized subcommand 'serv'", "tip: ", "'serve'"]);
    refused("serve --max-conection-age 1m", &["'--max-conection-age'", "tip: ", "'--max-connection-age'"]);
    refused("load", &["--target <TARGET>"]);
    refused("compare --network cloud", &["'cloud'", "loopback, kernel"]);
}

#[test]
fn zero_of_anything_is_refused() {
    refused("compare --calls 0", &["--calls", "from 1"]);
    refused("compare --calls 100,0", &["--calls", "from 1"]);
    refused("compare --rounds 0", &["--rounds", "from 1 to 1000"]);
    refused("compare --backends 0", &["--backends", "from 1 to 200"]);
    refused("compare --rate 0", &["--rate", "above 0"]);
    refused("compare --seconds 0", &["--seconds", "from 1 to 3600"]);
    refused("load --target ipv4:127.0.0.1:1 --calls 0", &["--calls", "whole number from 1 "]);
    refused("serve --max-connections 0", &["--max-connections", "from 1 to"]);
    refused("compare --deadline 0s", &["--deadline", "longer than zero"]);
}

#[test]
fn numbers_are_written_in_digits() {
    for arguments in [
        "load --target ipv4:127.0.0.1:1 --calls 1e6",
        "load --target ipv4:127.0.0.1:1 --calls 10,000",
        "load --target ipv4:127.0.0.1:1 --calls -5",
        "load --target ipv4:127.0.0.1:1 --seconds 10s",
        "load --target ipv4:127.0.0.1:1 --in-flight many",
        "compare --seed abc",
        "compare --seed -1",
        "compare --rounds 2.5",
        "serve --max-concurrent-streams 1e3",
        "serve --workers all",
    ] {
        refused(arguments, &["write a whole number from", "in digits alone"]);
    }
}

#[test]
fn an_event_of_a_cluster_needs_one() {
    refused("compare --events pod-deletion", &["`pod-deletion`", "--kubernetes"]);
}

#[test]
#[cfg(not(feature = "kubernetes"))]
fn flags_of_a_cluster_say_that_they_are_not_built_in() {
    for arguments in ["compare --kubernetes", "compare --kubernetes --events pod-deletion --workers 2"] {
        refused(arguments, &["--kubernetes", "built without Kubernetes", "--no-default-features"]);
    }
}

#[test]
fn tls_without_flags_or_with_a_useless_file_is_answered_with_the_flag() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().display().to_string();
    refused("load --target https://127.0.0.1:1", &["https://127.0.0.1:1 asks for TLS", "--tls-ca"]);
    refused(
        &format!("load --target http://127.0.0.1:1 --tls-ca {path}"),
        &["--tls-ca", &path, "it is empty"],
    );
    refused(
        "load --target ipv4:127.0.0.1:1 --tls-ca /nowhere/ca.crt",
        &["--tls-ca: cannot read /nowhere/ca.crt"],
    );
    refused(&format!("serve --tls-cert {path} --tls-key {path}"), &[&path, "no certificate found"]);
}

#[test]
fn a_target_that_is_none_is_answered_with_what_can_be_written() {
    refused("load --target consul:///x", &["unknown scheme \"consul\"", "dns:///", "kubernetes:///"]);
    refused("load --target dns:///x", &["names no port", "x:50051"]);
    // What a program could set, its command line cannot.
    for target in ["consul:///x", "https://127.0.0.1:1", "dns:///x", "nothing"] {
        let output = run(&format!("load --target {target}"));
        let stderr = stderr(&output);
        for word in ["resolver", "feature", "tls(", "authority("] {
            assert!(!stderr.contains(word), "{target}: {stderr}");
        }
    }
}

#[test]
fn a_duration_needs_its_unit() {
    refused("compare --deadline 300", &["--deadline", "100ms"]);
    refused("serve --max-connection-age soon", &["--max-connection-age", "100ms"]);
}

#[test]
fn a_folder_that_cannot_be_written_is_refused_before_the_run() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let below_a_file = file.path().join("report");
    refused(&format!("compare --out {}", below_a_file.display()), &["folder", "--out"]);
}

#[test]
fn a_control_plane_that_cannot_start_says_why() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().display().to_string();
    let service = "--service echo.shop:50051=ipv4:127.0.0.1:1";
    let ports = "--listen 127.0.0.1:0 --status 127.0.0.1:0";
    refused(&format!("xds {ports}"), &["nothing to serve"]);
    refused("xds --service echo.shop:50051", &["--service", "NAME=TARGET"]);
    refused("xds --service echo.shop:50051=dns:///echo", &["--service", "port"]);
    refused(&format!("xds {ports} --service echo.shop:1=unix:/run/echo"), &["echo.shop:1", "Unix domain"]);
    refused(&format!("xds {ports} {service} --policy {path}"), &[&path, "it is not JSON", "line 1"]);
    std::fs::write(file.path(), r#"{"services": {"echo.shop:50051": {"subsetSize": "20"}}}"#).unwrap();
    refused(
        &format!("xds {ports} {service} --policy {path}"),
        &[&path, r#"services["echo.shop:50051"].subsetSize: must be a whole number"#],
    );
    refused(&format!("xds {ports} --endpoints {path}"), &[&path, "a list of endpoints or a target"]);
    refused(&format!("xds {ports} {service} --policy /nowhere/p.json"), &["/nowhere/p.json", "No such file"]);
    refused(&format!("xds {service} --tls-listen 127.0.0.1:0"), &["--tls-cert"]);
    refused("xds status --status 127.0.0.1:1", &["127.0.0.1:1", "--status"]);
    refused("xds bootstrap --language cobol --server a:1", &["cobol", "go, java, python, node, rust"]);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    refused(&format!("xds {service} --listen {address}"), &[&address, "in use"]);
}

#[test]
#[cfg(feature = "kubernetes")]
fn a_control_plane_of_a_namespace_needs_a_cluster() {
    refused(
        "xds --listen 127.0.0.1:0 --status 127.0.0.1:0 --namespace shop",
        &["no Kubernetes cluster to ask", "kubectl proxy", "--api-server"],
    );
}

#[test]
fn too_few_file_descriptors_are_refused() {
    let program = env!("CARGO_BIN_EXE_meshless");
    let mut shell = std::process::Command::new("sh");
    let output = shell.args(["-c", &format!("ulimit -n 100 && exec {program} compare")]).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    assert!(stderr(&output).contains("only 100 files"), "{}", stderr(&output));
}

#[test]
fn a_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    refused(&format!("serve --listen {address}"), &[&address, "in use"]);
}

#[test]
#[cfg(not(feature = "kubernetes"))]
fn a_service_of_kubernetes_needs_the_feature() {
    refused(
        "load --target kubernetes:///echo.shop:50051",
        &["kubernetes:///echo.shop:50051", "built without"],
    );
}

#[test]
#[cfg(feature = "kubernetes")]
fn without_a_cluster_there_is_no_service() {
    let nowhere = tempfile::tempdir().unwrap();
    let output = meshless("load --target kubernetes:///echo.shop:50051")
        .env_remove("KUBERNETES_SERVICE_HOST")
        .env("KUBECONFIG", nowhere.path().join("config"))
        .env("HOME", nowhere.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
    for words in ["no Kubernetes cluster to ask", "in a pod", "$KUBECONFIG"] {
        assert!(stderr(&output).contains(words), "{} does not say {words}", stderr(&output));
    }
}

#[test]
fn a_child_process_without_its_parent_ends() {
    let output = meshless("serve --control --listen 127.0.0.1:0").output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
}
