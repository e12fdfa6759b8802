//! The server under attack, a process of its own on a processor of its own.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::pin::Pin;
use std::process::{Child, Command, Stdio};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::Frame;
use tokio::io::AsyncReadExt;

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
        let listener = meshless::bind(([127, 0, 0, 1], 0).into()).expect("a port of loopback");
        println!("{}", listener.local_addr().expect("it is bound"));
        let server = meshless::Server::builder().add_service(Large);
        // Its stdin closes when the parent ends, however that ends.
        let orphaned = async { drop(tokio::io::stdin().read_u8().await) };
        server.serve_with_incoming_shutdown([listener], orphaned).await.expect("it listens");
    });
    runtime.shutdown_background();
}

/// Answers with 100 KB, or not at all.
#[derive(Clone)]
struct Large;

impl tonic::server::NamedService for Large {
    const NAME: &'static str = "hostile.Large";
}

impl tower_service::Service<http::Request<tonic::body::Body>> for Large {
    type Response = http::Response<Answer>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        let message = (request.uri().path() == "/hostile.Large/Answer").then(|| vec![7; 100_000].into());
        ready(Ok(http::Response::new(Answer { message, _request: request })))
    }
}

struct Answer {
    message: Option<Bytes>,
    _request: http::Request<tonic::body::Body>,
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.message.take().map_or(Poll::Pending, |message| Poll::Ready(Some(Ok(Frame::data(message)))))
    }
}

/// Asks this program to be the server.
pub(super) const SERVE: &str = "HOSTILE_SERVE";
