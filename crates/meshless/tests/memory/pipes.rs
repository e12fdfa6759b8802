//! A server whose connections are pipes, and a connector that opens them.

use std::io;
use std::task::{Context, Poll};

use meshless::client::{BoxIo, Connect, Connecting};
use meshless::resolver::Address;
use meshless::server::{Accepted, Listener, Peer};
use tokio::io::DuplexStream;
use tokio::sync::mpsc;

/// The two ends of a network of pipes with one server.
pub(crate) fn network() -> (Dialer, Pipes) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (Dialer(sender), Pipes(receiver))
}

#[derive(Clone)]
pub(crate) struct Dialer(mpsc::UnboundedSender<DuplexStream>);

impl Connect for Dialer {
    fn connect(&self, _: &Address) -> Connecting {
        let pipes = self.0.clone();
        Box::pin(async move {
            let (near, far) = tokio::io::duplex(1 << 14);
            pipes.send(far).map_err(io::Error::other)?;
            Ok(Box::new(near) as BoxIo)
        })
    }
}

pub(crate) struct Pipes(mpsc::UnboundedReceiver<DuplexStream>);

impl Listener for Pipes {
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Accepted>> {
        match self.0.poll_recv(cx) {
            Poll::Ready(Some(io)) => Poll::Ready(Ok(Accepted::new(io, Peer::Other("pipe".into())))),
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }
}
