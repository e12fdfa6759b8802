//! A listener whose connections are pipes, so that a whole server runs under a paused clock.

use std::io;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use meshless::server::{Accepted, ConnectionEvent, Listener, Peer};
use meshless::{HealthReporter, Server, Shutdown, ShutdownHandle};
use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::Stuck;
use crate::raw_peer::{END_STREAM, RawPeer, Received, frame, request};

struct Pipes(mpsc::UnboundedReceiver<DuplexStream>);

impl Listener for Pipes {
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Accepted>> {
        match self.0.poll_recv(cx) {
            Poll::Ready(Some(io)) => Poll::Ready(Ok(Accepted::new(io, Peer::Other("pipe".into())))),
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }
}

/// A server that runs over pipes.
pub(super) struct Piped {
    pub(super) shutdown: ShutdownHandle,
    pub(super) health: HealthReporter,
    pub(super) task: JoinHandle<()>,
    connect: mpsc::UnboundedSender<DuplexStream>,
    events: Arc<Mutex<Vec<ConnectionEvent>>>,
}

impl Piped {
    pub(super) fn start(server: Server) -> Self {
        let (connect, pipes) = mpsc::unbounded_channel();
        let shutdown = Shutdown::new();
        let events = Arc::new(Mutex::new(Vec::new()));
        let log = events.clone();
        let server = server
            .add_service(Stuck)
            .on_connection_event(move |event| log.lock().unwrap().push(event.clone()));
        Self {
            shutdown: shutdown.handle(),
            health: server.health(),
            task: tokio::spawn(async move {
                server.serve_with_incoming_shutdown([Pipes(pipes)], shutdown).await.unwrap();
            }),
            connect,
            events,
        }
    }

    /// A client with its connection open; fails if the server listens no more.
    pub(super) async fn connect(&self) -> RawPeer<DuplexStream> {
        RawPeer::connect(self.pipe()).await
    }

    /// A client that has said nothing yet.
    pub(super) fn pipe(&self) -> DuplexStream {
        let (near, far) = tokio::io::duplex(PIPE_LEN);
        self.connect.send(far).expect("the server listens");
        near
    }

    pub(super) fn is_listening(&self) -> bool {
        !self.connect.is_closed()
    }

    /// Waits for its end, and returns all that happened to its connections.
    pub(super) async fn ended(self) -> Vec<ConnectionEvent> {
        self.task.await.unwrap();
        Arc::try_unwrap(self.events).expect("no connection holds the observer").into_inner().unwrap()
    }
}

/// Asks for the whole server's health on `stream`; returns the status as the wire has it.
pub(super) async fn check(peer: &mut RawPeer<DuplexStream>, stream: u32) -> u8 {
    peer.send(&request(stream, "/grpc.health.v1.Health/Check", &[], 0)).await;
    peer.send(&frame(crate::raw_peer::DATA, END_STREAM, stream, &[0; 5])).await;
    loop {
        match peer.next().await {
            Received::Data { stream: answered, payload } if answered == stream => return payload[6],
            Received::Closed => panic!("closed instead of an answer"),
            _ => {}
        }
    }
}

const PIPE_LEN: usize = 1 << 14;
