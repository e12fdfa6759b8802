//! Tests of your own code: server and channel in one process, joined by pipes, under a clock that
//! jumps. An hour passes in no time, and no port is used.
//!
//! ```console
//! $ cargo run -p meshless --example testing
//! ```
//!
//! In your crate, `main` is a `#[tokio::test(start_paused = true)]`. Where the clock does not
//! matter, a real socket takes fewer lines: `bind("127.0.0.1:0")`, and `ipv4:` with its address.

use std::io;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use meshless::client::{BoxIo, Connect, Connecting};
use meshless::resolver::Address;
use meshless::server::{Accepted, Listener, Peer};
use meshless::{Channel, Server};
use tokio::io::{DuplexStream, duplex};
use tokio::sync::mpsc;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

/// The client's end: each connection is a pipe, whose other end goes to the server.
struct Dial(mpsc::UnboundedSender<DuplexStream>);

impl Connect for Dial {
    fn connect(&self, _: &Address) -> Connecting {
        let (ours, theirs) = duplex(64 * 1024);
        let sent = self.0.send(theirs).map_err(|_| io::ErrorKind::ConnectionRefused.into());
        Box::pin(async move { sent.map(|()| Box::new(ours) as BoxIo) })
    }
}

/// The server's end.
struct Pipes(mpsc::UnboundedReceiver<DuplexStream>);

impl Listener for Pipes {
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Accepted>> {
        match ready!(self.0.poll_recv(cx)) {
            Some(io) => Poll::Ready(Ok(Accepted::new(io, Peer::Other("pipe".into())))),
            None => Poll::Pending,
        }
    }
}

#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (dial, pipes) = mpsc::unbounded_channel();
    let server = Server::builder().max_connection_age(Duration::from_secs(60));
    tokio::spawn(server.serve_with_incoming_shutdown([Pipes(pipes)], std::future::pending()));
    let channel = Channel::builder("ipv4:10.0.0.1:50051").connector(Dial(dial)).connect().await?;
    let mut client = HealthClient::new(channel);
    for _ in 0..360 {
        client.check(HealthCheckRequest::default()).await?; // the code under test
        tokio::time::sleep(Duration::from_secs(10)).await;
    }
    println!("an hour, sixty connections, and every call answered");
    Ok(())
}
