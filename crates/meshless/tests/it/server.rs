//! The whole server, over loopback sockets and pipes.

#[cfg(feature = "tls")]
mod expiry;
mod header_lists;
mod health;
mod keepalive;
mod layers;
#[cfg(all(feature = "client", unix))]
mod listeners;
mod log;
#[cfg(feature = "otel")]
mod metrics;
mod out_of_band;
mod pipes;
mod settings;
mod shutdown;
#[cfg(all(feature = "client", feature = "tls"))]
mod tls;

mod hostile;
mod late_messages;
mod long_lives;
#[cfg(feature = "client")]
mod overload;
mod requests;

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use meshless::server::{CloseReason, ConnectionChange, ConnectionEvent, GoAwayReason};
use meshless::{ServeError, Server};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::raw_peer::{ALL_STREAMS, END_STREAM, RawPeer, Received, go_away, request};

/// A service whose calls never end. `/test.Stuck/Stream` sends its response's head first,
/// `/test.Stuck/Flood` data without an end too.
#[derive(Clone)]
struct Stuck;

impl tonic::server::NamedService for Stuck {
    const NAME: &'static str = "test.Stuck";
}

impl tower_service::Service<http::Request<tonic::body::Body>> for Stuck {
    type Response = http::Response<StuckBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        Box::pin(async move {
            match request.uri().path() {
                "/test.Stuck/Stream" => Ok(stuck(false)),
                "/test.Stuck/Flood" => Ok(stuck(true)),
                _ => std::future::pending().await,
            }
        })
    }
}

fn stuck(flood: bool) -> http::Response<StuckBody> {
    http::Response::builder().header("content-type", "application/grpc").body(StuckBody { flood }).unwrap()
}

struct StuckBody {
    flood: bool,
}

impl http_body::Body for StuckBody {
    type Data = bytes::Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<bytes::Bytes>, Infallible>>> {
        match self.flood {
            true => Poll::Ready(Some(Ok(http_body::Frame::data(bytes::Bytes::from_static(&[7; 1024]))))),
            false => Poll::Pending,
        }
    }
}

struct Running {
    addrs: Vec<std::net::SocketAddr>,
    shutdown: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<Result<(), ServeError>>,
    events: Arc<Mutex<Vec<ConnectionEvent>>>,
}

/// Starts `server` on `listeners` ports of loopback.
fn start(server: Server, listeners: usize) -> Running {
    let listeners: Vec<_> =
        (0..listeners).map(|_| meshless::server::bind("127.0.0.1:0".parse().unwrap()).unwrap()).collect();
    let addrs = listeners.iter().map(|listener| listener.local_addr().unwrap()).collect();
    let events = Arc::new(Mutex::new(Vec::new()));
    let log = events.clone();
    let (shutdown, stop) = oneshot::channel();
    let server =
        server.add_service(Stuck).on_connection_event(move |event| log.lock().unwrap().push(event.clone()));
    let task = tokio::spawn(server.serve_with_incoming_shutdown(listeners, async {
        let _ = stop.await;
    }));
    Running { addrs, shutdown, task, events }
}

impl Running {
    async fn stop(self) -> Vec<ConnectionEvent> {
        self.shutdown.send(()).unwrap();
        self.task.await.unwrap().unwrap();
        Arc::try_unwrap(self.events).expect("no connection holds the observer").into_inner().unwrap()
    }
}

async fn check(addr: std::net::SocketAddr) {
    let channel = tonic::transport::Endpoint::from_shared(format!("http://{addr}")).unwrap();
    let mut client = HealthClient::new(channel.connect().await.unwrap());
    client.check(HealthCheckRequest::default()).await.unwrap();
}

#[tokio::test]
async fn a_tonic_client_is_served_on_every_listener() {
    let server = start(Server::builder(), 2);
    for addr in server.addrs.clone() {
        check(addr).await;
    }
    let events = server.stop().await;
    let opened = events.iter().filter(|event| event.change == ConnectionChange::Opened).count();
    assert_eq!(opened, 2);
    assert!(
        events.iter().any(|event| matches!(event.change, ConnectionChange::Closed(_)) && event.calls == 1)
    );
}

#[tokio::test]
async fn shutdown_sends_every_connection_away_and_leaves_none() {
    let server = start(Server::builder(), 1);
    let mut peers = Vec::new();
    for _ in 0..50 {
        peers.push(RawPeer::connect(TcpStream::connect(server.addrs[0]).await.unwrap()).await);
    }
    let clients = tokio::spawn(async move {
        for mut peer in peers {
            assert_eq!(peer.next().await, go_away(ALL_STREAMS, 0, "graceful_stop"));
            let ping = peer.next().await;
            peer.acknowledge(ping).await;
            assert_eq!(peer.rest().await, [go_away(0, 0, "graceful_stop"), Received::Closed]);
        }
    });
    let addr = server.addrs[0];
    let events = server.stop().await;
    clients.await.unwrap();
    assert!(TcpStream::connect(addr).await.is_err(), "it still listens");
    let count = |change: ConnectionChange| events.iter().filter(|event| event.change == change).count();
    assert_eq!(count(ConnectionChange::Opened), 50);
    assert_eq!(count(ConnectionChange::GoingAway(GoAwayReason::Drain)), 50);
    assert_eq!(count(ConnectionChange::Closed(CloseReason::GoneAway(GoAwayReason::Drain))), 50);
}

#[tokio::test]
async fn shutdown_ends_with_calls_that_never_do() {
    let server = start(Server::builder().drain_timeout(Duration::from_millis(50)), 1);
    let mut peer = RawPeer::connect(TcpStream::connect(server.addrs[0]).await.unwrap()).await;
    peer.call(1, "/test.Stuck/Unary").await;
    peer.call(3, "/test.Stuck/Stream").await;
    assert!(matches!(peer.next().await, Received::Headers { stream: 3, .. }));
    let client = tokio::spawn(async move { peer.rest().await });
    let events = server.stop().await;
    let last = events.last().unwrap();
    assert_eq!(last.change, ConnectionChange::Closed(CloseReason::DrainTimeout));
    assert_eq!(last.calls, 2);
    assert_eq!(client.await.unwrap().last(), Some(&Received::Closed));
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let taken = meshless::server::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let addr = taken.local_addr().unwrap();
    let error = Server::builder().serve(addr).await.unwrap_err();
    assert!(matches!(error, ServeError::PortInUse { .. }));
    assert!(error.to_string().contains(&addr.to_string()), "{error}");
}

#[tokio::test]
async fn the_clients_deadline_ends_a_call_before_and_after_its_head() {
    let server = start(Server::builder(), 1);
    let mut peer = RawPeer::connect(TcpStream::connect(server.addrs[0]).await.unwrap()).await;
    let deadline = &[("grpc-timeout", "20m")][..];
    // `4` as a header's value: Huffman coded (RFC 7541 Appendix B), after its length.
    let status = |block: &[u8]| block.windows(2).any(|pair| pair == [0x81, 0b0110_1011]);
    peer.send(&request(1, "/test.Stuck/Unary", deadline, END_STREAM)).await;
    let Received::Headers { stream: 1, block, end: true } = peer.next().await else {
        panic!("no trailers only")
    };
    assert!(status(&block), "{block:?}");
    peer.send(&request(3, "/test.Stuck/Stream", deadline, END_STREAM)).await;
    assert!(matches!(peer.next().await, Received::Headers { stream: 3, end: false, .. }));
    assert!(matches!(peer.next().await, Received::Headers { stream: 3, end: true, .. }));
    drop(peer);
    let events = server.stop().await;
    assert_eq!(events.last().unwrap().calls, 2);
}
