//! `meshless serve`, as its user stops it.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use crate::support::meshless;

#[test]
fn sigterm_stops_it_gracefully() {
    let mut server =
        meshless("serve --listen 127.0.0.1:0 --listen 127.0.0.1:0").stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(server.stderr.take().unwrap()).lines();
    let said = lines.next().unwrap().unwrap();
    assert!(said.contains("serving"), "{said}");
    let pid = rustix::process::Pid::from_child(&server);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert!(server.wait().unwrap().success());
    let rest: Vec<_> = lines.map_while(Result::ok).collect();
    assert!(rest.last().is_some_and(|line| line.contains("stopped")), "{rest:?}");
}
