//! The server under attack, a process of its own on a processor of its own.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use tokio::io::AsyncReadExt;

use crate::hoard::Hoard;

/// The server's process, which is this program again.
pub(super) struct Server {
    process: Child,
    pub(super) address: SocketAddr,
}

impl Server {
    pub(super) fn start() -> Self {
        let program = std::env::current_exe().expect("this program has a path");
        let mut process = Command::new("taskset")
            .args(["-c", "1"])
            .arg(program)
            .env(SERVE, "")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("`taskset` is there, and this program can be run again");
        let mut line = String::new();
        BufReader::new(process.stdout.as_mut().expect("it is piped"))
            .read_line(&mut line)
            .expect("it says where it listens");
        Self { process, address: line.trim().parse().expect("it says an address") }
    }

    pub(super) fn pid(&self) -> u32 {
        self.process.id()
    }

    pub(super) fn stop(&mut self) {
        self.process.kill().expect("it runs");
        self.process.wait().expect("it ends");
    }
}

/// What that process does.
pub(super) fn serve() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime can be built");
    runtime.block_on(async {
        let listener = meshless::server::bind(([127, 0, 0, 1], 0).into()).expect("a port of loopback");
        println!("{}", listener.local_addr().expect("it is bound"));
        let server = meshless::Server::builder().add_service(Hoard);
        // Its stdin closes when the parent ends, however that ends.
        let orphaned = async { drop(tokio::io::stdin().read_u8().await) };
        server.serve_with_incoming_shutdown([listener], orphaned).await.expect("it listens");
    });
    runtime.shutdown_background();
}

/// Asks this program to be the server.
pub(super) const SERVE: &str = "HOSTILE_SERVE";
