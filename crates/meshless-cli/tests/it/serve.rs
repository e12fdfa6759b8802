//! `meshless serve`, as its user stops it.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use crate::support::meshless;

#[test]
fn sigterm_stops_it_gracefully() {
    let mut server = meshless("serve --listen 127.0.0.1:0 --listen 127.0.0.1:0 --lame-duck 0s")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(server.stderr.take().unwrap()).lines();
    let said = lines.next().unwrap().unwrap();
    assert!(said.contains("serving"), "{said}");
    let pid = rustix::process::Pid::from_child(&server);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(server.wait().unwrap().success());
    let rest: Vec<_> = lines.map_while(Result::ok).collect();
    assert!(rest.last().is_some_and(|line| line.contains("stopped")), "{rest:?}");
}

#[test]
fn a_second_signal_hurries_it() {
    let mut server = meshless("serve --listen 127.0.0.1:0 --lame-duck 1h --drain-timeout 1h")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(server.stderr.take().unwrap()).lines().map_while(Result::ok);
    let pid = rustix::process::Pid::from_child(&server);
    let signal = |signal| rustix::process::kill_process(pid, signal).unwrap();
    assert!(lines.next().unwrap().contains("serving"));
    signal(rustix::process::Signal::TERM);
    let said = lines.next().unwrap();
    assert!(said.contains("shutdown has begun"), "{said}");
    signal(rustix::process::Signal::INT);
    assert!(server.wait().unwrap().success());
    assert!(lines.last().is_some_and(|line| line.contains("stopped")));
}
