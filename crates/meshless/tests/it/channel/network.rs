//! Backends at the other ends of in-memory pipes: a channel's connector that a test holds the far
//! side of, and can cut.

use std::collections::HashMap;
use std::future::{pending, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http_body_util::{BodyExt, StreamBody};
use meshless::client::{BoxIo, Connect, Connecting};
use meshless::resolver::Address;
use meshless::{Channel, ChannelBuilder};
use tokio::io::DuplexStream;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tonic::body::Body;
use tonic::{Code, Request, Status};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
use tower_service::Service;

use meshless_testkit::pipe::{Scissors, cuttable};
use meshless_testkit::raw_peer::RawPeer;

/// How an address answers when it is dialled.
#[derive(Clone, Copy, Debug)]
pub(super) enum Dial {
    Open,
    Refuse,
    /// No file descriptor is left to try.
    NoDescriptor,
    /// Neither yes nor no.
    Silent,
    /// Yes, and then not a word: a process that stands still.
    Mute,
    Panic,
}

/// The connector of a channel, and the way to its far side.
pub(super) struct Network {
    dials: Arc<Mutex<HashMap<Address, Dial>>>,
    links: Arc<Links>,
    opened: mpsc::UnboundedReceiver<(Address, DuplexStream)>,
    connector: Option<Pipes>,
}

impl Network {
    pub(super) fn new() -> Self {
        let (dials, links) = (Arc::default(), Arc::<Links>::default());
        let (pipes, opened) = mpsc::unbounded_channel();
        let connector = Some(Pipes { dials: Arc::clone(&dials), links: Arc::clone(&links), pipes });
        Self { dials, links, opened, connector }
    }

    /// A builder of a channel to `backends` of this network.
    pub(super) fn channel(&mut self, backends: &[SocketAddr]) -> ChannelBuilder {
        let list: Vec<_> = backends.iter().map(ToString::to_string).collect();
        self.channel_to(&format!("ipv4:{}", list.join(",")))
    }

    pub(super) fn channel_to(&mut self, target: &str) -> ChannelBuilder {
        Channel::builder(target).connector(self.connector.take().expect("one channel")).seed(1)
    }

    pub(super) fn set(&self, backend: SocketAddr, dial: Dial) {
        self.dials.lock().unwrap().insert(Address::Tcp(backend), dial);
    }

    /// The switches of this network, for when [`serve`](Self::serve) has taken it.
    pub(super) fn switches(&self) -> Switches {
        Switches { dials: Arc::clone(&self.dials), links: Arc::clone(&self.links) }
    }

    /// The far side of the next connection.
    pub(super) async fn accept(&mut self) -> (Address, DuplexStream) {
        let opened = tokio::time::timeout(Duration::from_secs(3600), self.opened.recv());
        opened.await.expect("the channel connects").expect("the connector is there")
    }

    /// The next connection, as a peer that has sent these SETTINGS.
    pub(super) async fn accept_raw(&mut self, settings: &[(u16, u32)]) -> RawPeer<DuplexStream> {
        let (_, io) = self.accept().await;
        RawPeer::accept(io, settings).await
    }

    pub(super) fn connections_waiting(&self) -> usize {
        self.opened.len()
    }

    /// Waits until nobody has the connector any more: the channel and its driver have ended.
    pub(super) async fn is_let_go(&mut self) -> bool {
        tokio::time::timeout(Duration::from_secs(3600), self.opened.recv()).await.is_ok_and(|io| io.is_none())
    }

    /// Serves every connection from now on: each call goes to `handler`.
    pub(super) fn serve<H>(mut self, max_concurrent_streams: u32, handler: H)
    where
        H: Fn(Call) + Clone + Send + 'static,
    {
        tokio::spawn(async move {
            while let Some((address, io)) = self.opened.recv().await {
                tokio::spawn(serve(io, address, max_concurrent_streams, handler.clone()));
            }
        });
    }
}

/// What happens to the network while it serves.
pub(super) struct Switches {
    dials: Arc<Mutex<HashMap<Address, Dial>>>,
    links: Arc<Links>,
}

impl Switches {
    pub(super) fn set(&self, backend: SocketAddr, dial: Dial) {
        self.dials.lock().unwrap().insert(Address::Tcp(backend), dial);
    }

    /// Swallows what is sent on the connections that a backend has now, and delivers nothing:
    /// neither end is told.
    pub(super) fn cut(&self, backend: SocketAddr) {
        let open = self.links.open.lock().unwrap();
        let of = open.iter().filter(|(address, _)| *address == Address::Tcp(backend));
        of.for_each(|(_, scissors)| scissors.cut());
    }

    /// How often any backend was dialled.
    pub(super) fn dialled(&self) -> usize {
        self.links.dialled.load(SeqCst)
    }
}

#[derive(Default)]
struct Links {
    open: Mutex<Vec<(Address, Scissors)>>,
    dialled: AtomicUsize,
}

/// Serves one connection, which the server ends after `age` as servers do that age their
/// connections; its calls go to `handler`.
pub(super) async fn serve_for(io: DuplexStream, backend: Address, age: Duration, handler: impl Fn(Call)) {
    let mut connection = h2::server::handshake(io).await.unwrap();
    let mut due = std::pin::pin!(tokio::time::sleep(age));
    loop {
        let accepted = tokio::select! {
            accepted = connection.accept() => accepted,
            () = &mut due, if !due.is_elapsed() => {
                connection.graceful_shutdown();
                continue;
            }
        };
        let Some(Ok((request, respond))) = accepted else { break };
        handler(Call { backend: backend.clone(), request, respond });
    }
}

/// A call as a backend sees it.
pub(super) struct Call {
    pub(super) backend: Address,
    pub(super) request: http::Request<RecvStream>,
    pub(super) respond: SendResponse<Bytes>,
}

impl Call {
    /// Answers with a status alone ("Trailers-Only"), and this further header.
    pub(super) fn refuse(mut self, code: tonic::Code, message: &str, header: Option<(&str, &str)>) {
        let mut response = http::Response::builder()
            .header("content-type", "application/grpc")
            .header("grpc-status", code as i32)
            .header("grpc-message", message);
        if let Some((name, value)) = header {
            response = response.header(name, value);
        }
        let _ = self.respond.send_response(response.body(()).unwrap(), true);
    }

    /// Begins to answer, and then fails.
    pub(super) fn fail_after_headers(mut self, code: tonic::Code) {
        let response = http::Response::builder().header("content-type", "application/grpc").body(()).unwrap();
        let Ok(mut body) = self.respond.send_response(response, false) else { return };
        let status = (code as i32).to_string().parse().unwrap();
        let _ = body.send_trailers(http::HeaderMap::from_iter([("grpc-status".parse().unwrap(), status)]));
    }

    /// Answers with SERVING.
    pub(super) fn answer(mut self) {
        let response = http::Response::builder().header("content-type", "application/grpc").body(()).unwrap();
        // Refused if the call was cancelled.
        let Ok(mut body) = self.respond.send_response(response, false) else { return };
        let sent = body.send_data(Bytes::from_static(STATUS_SERVING), false);
        let trailers = http::HeaderMap::from_iter([("grpc-status".parse().unwrap(), "0".parse().unwrap())]);
        let _ = sent.and_then(|()| body.send_trailers(trailers));
    }

    /// Answers with each of these statuses of the health service as it comes, until there is none
    /// any more.
    pub(super) async fn answer_statuses(mut self, mut statuses: watch::Receiver<Option<u8>>) {
        let response = http::Response::builder().header("content-type", "application/grpc").body(()).unwrap();
        let Ok(mut body) = self.respond.send_response(response, false) else { return };
        loop {
            let status = *statuses.borrow_and_update();
            if let Some(status) = status {
                let message = Bytes::from(vec![0, 0, 0, 0, 2, 8, status]);
                if body.send_data(message, false).is_err() {
                    return;
                }
            }
            tokio::select! {
                changed = statuses.changed() => if changed.is_err() { return },
                _ = poll_fn(|cx| body.poll_reset(cx)) => return,
            }
        }
    }

    /// Fails with this code.
    pub(super) fn fail(mut self, code: Code) {
        let response = http::Response::builder()
            .header("content-type", "application/grpc")
            .header("grpc-status", i32::from(code).to_string())
            .body(())
            .unwrap();
        let _ = self.respond.send_response(response, true);
    }

    pub(super) fn header(&self, name: &str) -> Option<String> {
        self.request.headers().get(name).map(|value| value.to_str().unwrap().to_owned())
    }
}

/// Serves one connection.
pub(super) async fn serve(
    io: DuplexStream,
    backend: Address,
    max_concurrent_streams: u32,
    handler: impl Fn(Call),
) {
    let mut builder = h2::server::Builder::new();
    builder.max_concurrent_streams(max_concurrent_streams);
    let mut connection = builder.handshake(io).await.unwrap();
    while let Some(Ok((request, respond))) = connection.accept().await {
        handler(Call { backend: backend.clone(), request, respond });
    }
}

struct Pipes {
    dials: Arc<Mutex<HashMap<Address, Dial>>>,
    links: Arc<Links>,
    pipes: mpsc::UnboundedSender<(Address, DuplexStream)>,
}

impl Connect for Pipes {
    fn connect(&self, address: &Address) -> Connecting {
        let dial = self.dials.lock().unwrap().get(address).copied().unwrap_or(Dial::Open);
        let (pipes, links, address) = (self.pipes.clone(), Arc::clone(&self.links), address.clone());
        links.dialled.fetch_add(1, SeqCst);
        Box::pin(async move {
            match dial {
                Dial::Refuse => Err(io::ErrorKind::ConnectionRefused.into()),
                // EMFILE.
                Dial::NoDescriptor => Err(io::Error::from_raw_os_error(24)),
                Dial::Silent => pending().await,
                Dial::Mute => {
                    let (near, far) = tokio::io::duplex(1 << 20);
                    std::mem::forget(far);
                    Ok(Box::new(near) as BoxIo)
                }
                Dial::Panic => panic!("a connector of little care"),
                Dial::Open => {
                    let (near, far, scissors) = cuttable();
                    links.open.lock().unwrap().push((address.clone(), scissors));
                    let _ = pipes.send((address, far));
                    Ok(Box::new(near) as BoxIo)
                }
            }
        })
    }
}

pub(super) fn backend(n: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, n], 50051))
}

/// One unary call.
pub(super) async fn check(channel: &Channel) -> Result<(), Status> {
    check_with(channel, Request::new(HealthCheckRequest::default())).await
}

pub(super) async fn check_within(channel: &Channel, timeout: Duration) -> Result<(), Status> {
    let mut request = Request::new(HealthCheckRequest::default());
    request.set_timeout(timeout);
    check_with(channel, request).await
}

pub(super) async fn check_with(
    channel: &Channel,
    request: Request<HealthCheckRequest>,
) -> Result<(), Status> {
    HealthClient::new(channel.clone()).check(request).await.map(drop)
}

/// Sends `parts` as a streaming request that stays open.
pub(super) fn streaming(channel: &Channel, parts: Vec<Bytes>) -> JoinHandle<Result<(), Status>> {
    let frames = parts.into_iter().map(|part| Ok::<_, Status>(http_body::Frame::data(part)));
    let open =
        futures_util::StreamExt::chain(futures_util::stream::iter(frames), futures_util::stream::pending());
    let body = Body::new(StreamBody::new(open));
    let request = http::Request::post("/test.Test/Stream").body(body).unwrap();
    let mut channel = channel.clone();
    tokio::spawn(async move { channel.call(request).await?.into_body().collect().await.map(drop) })
}

/// Calls in flight, by the channel's own books.
pub(super) async fn in_flight(channel: &Channel) -> usize {
    channel.state().await.endpoints.iter().map(|endpoint| endpoint.calls_in_flight).sum()
}

/// Lets every task that can run, run.
pub(super) async fn settle() {
    for _ in 0..64 {
        tokio::task::yield_now().await;
    }
}

/// The same in gRPC's framing.
const STATUS_SERVING: &[u8] = b"\0\0\0\0\x02\x08\x01";

/// SERVING, as a message of the health service.
pub(super) const SERVING: &[u8] = b"\x08\x01";
