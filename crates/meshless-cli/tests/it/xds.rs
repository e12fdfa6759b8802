//! `meshless xds`, as somebody tries it on a laptop.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use serde_json::Value;

use crate::support::{meshless, run, stderr};

#[test]
fn it_prints_what_clients_need_and_says_how_it_is_doing() {
    let mut server = meshless(
        "xds --listen 127.0.0.1:0 --status 127.0.0.1:0 --service echo.shop:50051=ipv4:127.0.0.1:3001,127.0.0.2:3001",
    )
    .stdout(Stdio::piped())
    .stderr(Stdio::null())
    .spawn()
    .unwrap();
    let said: Vec<_> =
        BufReader::new(server.stdout.take().unwrap()).lines().take(4).map(Result::unwrap).collect();
    let bootstrap: Value = serde_json::from_str(&said[1]).unwrap();
    let address = bootstrap["xds_servers"][0]["server_uri"].as_str().unwrap();
    assert!(said[0].contains(address), "{said:?}");
    assert!(said[2].contains("xds:///echo.shop:50051"), "{said:?}");
    let status = said[3].rsplit_once(' ').unwrap().1.trim_end_matches('`').to_owned();
    let output = run(&format!("xds status --status {status}"));
    let tables = String::from_utf8(output.stdout.clone()).unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(tables.contains("echo.shop:50051  ok     2"), "{tables}");
    let pid = rustix::process::Pid::from_child(&server);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    assert!(server.wait().unwrap().success());
}

#[test]
fn a_bootstrap_is_what_each_language_takes() {
    for (language, server, uri, says) in [
        ("go", "meshless-xds.shop:18000", "dns:///meshless-xds.shop:18000", "google.golang.org/grpc/xds"),
        ("java", "127.0.0.1:18000", "127.0.0.1:18000", "grpc-xds"),
        ("python", "dns:///a.b:1", "dns:///a.b:1", "grpc.insecure_channel"),
        ("node", "a.b:1", "dns:///a.b:1", ".register()"),
        ("rust", "dns:///a.b:1", "http://a.b:1", "tonic-xds"),
    ] {
        let output =
            run(&format!("xds bootstrap --language {language} --server {server} --service echo.shop:grpc"));
        let text = String::from_utf8(output.stdout).unwrap();
        let json = text.split('\'').nth(1).unwrap();
        let bootstrap: Value = serde_json::from_str(json).unwrap();
        assert_eq!(bootstrap["xds_servers"][0]["server_uri"], uri, "{language}");
        assert!(bootstrap["node"]["locality"].is_object(), "grpc-js refuses a bootstrap without it");
        assert!(text.contains(says) && text.contains("xds:///echo.shop:grpc"), "{text}");
    }
}
