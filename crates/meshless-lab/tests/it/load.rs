//! `meshless load`, as its user ends it.

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::meshless;

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
