//! A connection against a scripted peer, frame by frame.
//!
//! Everything runs over in-memory pipes under a paused clock. If a test waits for something that
//! never comes, time jumps to the next limit, and the test does not hang.

mod calls;
mod goaway;
mod keepalive;
mod limits;
mod opening;
mod panic;
mod peer;
mod rotation;
mod stall;
mod streaming;

use std::io;
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::Frame;
use http_body_util::{BodyExt, Full};
use meshless_core::AttemptFate;
use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tonic::body::Body;

use self::peer::Peer;
use super::event::Report;
use super::*;
use crate::client::call::{AttemptBody, Failure, Outgoing, attempt};
use crate::client::connector::{Connect, Connecting, Connector};
use crate::shared::io::BoxIo;

type CallResult = Result<http::Response<AttemptBody>, Failure>;

/// A connection, the peer at its other end, and the events for the driver.
struct Rig {
    connection: Connection,
    peer: Peer,
    events: mpsc::UnboundedReceiver<Event>,
}

impl Rig {
    /// Returns a ready connection to a server without limits.
    async fn new() -> Self {
        Self::with(&[], ConnectionConfig::default()).await
    }

    /// Returns a ready connection to a server with these SETTINGS.
    async fn with(settings: &[(u16, u32)], config: ConnectionConfig) -> Self {
        let (io, far) = tokio::io::duplex(PIPE);
        let (report, events) = reporter();
        let connecting = tokio::spawn(dial(io, config, report));
        let mut peer = Peer::accept(far).await;
        peer.settings(settings).await;
        let connection = connecting.await.unwrap().expect("the peer sent SETTINGS");
        peer.expect_settings_ack().await;
        // From here on the client's own SETTINGS are in force.
        peer.acknowledge_settings().await;
        settle().await;
        Self { connection, peer, events }
    }

    /// Starts a call in its own task.
    fn call(&self, outgoing: Outgoing) -> JoinHandle<(CallResult, Outgoing)> {
        let slot = self.connection.try_reserve().expect("there is room");
        call_in(slot, outgoing)
    }

    async fn event(&mut self) -> Event {
        tokio::time::timeout(Duration::from_secs(3600), self.events.recv())
            .await
            .expect("an event within an hour")
            .expect("the connection's task is alive")
    }

    fn no_event(&mut self) {
        assert!(self.events.try_recv().is_err(), "no event was due");
    }
}

fn call_in(slot: StreamPermit, mut outgoing: Outgoing) -> JoinHandle<(CallResult, Outgoing)> {
    tokio::spawn(async move { (attempt(slot, &mut outgoing).await, outgoing) })
}

fn reporter() -> (Report, mpsc::UnboundedReceiver<Event>) {
    let (tx, rx) = mpsc::unbounded_channel();
    let report = Box::new(move |event| {
        let _ = tx.send(event);
    });
    (report, rx)
}

async fn dial(
    io: DuplexStream,
    config: ConnectionConfig,
    report: Report,
) -> Result<Connection, ConnectError> {
    let address = Address::Unix("/test".into());
    let connector = Connector::Custom(std::sync::Arc::new(Pipe(Mutex::new(Some(io)))));
    let destination = Destination {
        address: &address,
        connector: &connector,
        #[cfg(feature = "tls")]
        tls: None,
    };
    Connection::connect(destination, &config, report).await
}

/// A connector with a single stream.
struct Pipe(Mutex<Option<DuplexStream>>);

impl Connect for Pipe {
    fn connect(&self, _address: &Address) -> Connecting {
        let io = self.0.lock().unwrap().take();
        Box::pin(async move {
            io.map(|io| Box::new(io) as BoxIo).ok_or_else(|| io::ErrorKind::ConnectionRefused.into())
        })
    }
}

fn unary(bytes: &'static [u8]) -> Outgoing {
    request(Body::new(Full::new(Bytes::from_static(bytes))))
}

/// A request whose body comes from the test.
fn streaming() -> (mpsc::Sender<Bytes>, Outgoing) {
    let (tx, rx) = mpsc::channel(1);
    (tx, request(Body::new(Fed(rx))))
}

fn request(body: Body) -> Outgoing {
    let request = http::Request::post("http://backend/hello.HelloService/Echo").body(body).unwrap();
    Outgoing::new(request)
}

struct Fed(mpsc::Receiver<Bytes>);

impl http_body::Body for Fed {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, tonic::Status>>> {
        self.0.poll_recv(cx).map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}

/// Reads a response to its end: the data, and the status in the trailers.
async fn read(answer: CallResult) -> Result<(Bytes, String), tonic::Status> {
    let collected = answer.map_err(Failure::into_status)?.into_body().collect().await?;
    let status = collected.trailers().and_then(|trailers| trailers.get("grpc-status")).cloned();
    Ok((collected.to_bytes(), status.map(|s| s.to_str().unwrap().to_owned()).unwrap_or_default()))
}

/// Lets every task that can run, run.
async fn settle() {
    for _ in 0..32 {
        tokio::task::yield_now().await;
    }
}

/// Bytes that the pipe holds before a writer must wait.
const PIPE: usize = 1 << 20;
