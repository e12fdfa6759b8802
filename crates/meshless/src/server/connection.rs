//! Drives one connection: hyper speaks HTTP/2, the lifetime machine decides, this code acts.
//!
//! It serves any HTTP/2 service (hyper, axum), also below tonic; [`Server`](crate::Server) calls it
//! for each accepted connection. It spawns nothing itself (hyper spawns a task per call). When it
//! returns, the socket is closed.

use std::io::ErrorKind;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures_core::Stream;
use futures_util::future::Either;
use futures_util::stream::FuturesUnordered;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use meshless_core::{GoAwayReason, LifetimeAction};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::task::coop;
use tokio::time::{Instant, Sleep};
use tower_service::Service;

use super::call_task::CallExecutor;
use super::config::ConnectionConfig;
use super::event::{Carried, CloseReason, ConnectionSummary};
use super::middleware::track::CountedCalls;
use super::request_body::{RequestBody, UnreadReader};
use super::state::ConnectionState;
use super::wire::{self, ClosedIo, ServerWire};

/// Serves HTTP/2 on `io`, which is established (TLS included), until the connection has ended.
///
/// `config` sets how the connection ages, idles and handles pings. When `drain` completes, the
/// connection gets a GOAWAY, as at a server's shutdown. Each request carries a
/// [`CallContext`](crate::CallContext). For gRPC, `service` must enforce a call's deadline
/// (`grpc-timeout`); [`Server`](crate::Server) does. A stream that still runs one second after its
/// deadline, or after its maximum age and grace, is reset. Must run on a Tokio runtime with its
/// timer enabled. Dropping the future cuts the connection.
///
/// ```no_run
/// # async fn serve(app: impl tower_service::Service<
/// #     http::Request<meshless::server::RequestBody>, Response = http::Response<String>,
/// #     Error = std::convert::Infallible, Future: Send + 'static> + Clone + Send + 'static,
/// # ) -> std::io::Result<()> {
/// use std::time::Duration;
/// let lifetime = meshless::server::LifetimeConfig::default().max_age(Duration::from_secs(60));
/// let config = meshless::server::ConnectionConfig::default().lifetime(lifetime);
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
/// loop {
///     let (io, _) = listener.accept().await?;
///     let (app, config) = (app.clone(), config.clone());
///     tokio::spawn(async move { meshless::serve_connection(io, app, &config, std::future::pending()).await });
/// }
/// # }
/// ```
pub async fn serve_connection<I, S, B, D>(
    io: I,
    service: S,
    config: &ConnectionConfig,
    drain: D,
) -> ConnectionSummary
where
    I: AsyncRead + AsyncWrite + Unpin,
    S: Service<Request<RequestBody>, Response = Response<B>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
    D: Future<Output = ()>,
{
    drive(io, service, config, drain, std::future::pending(), |_, _| {}).await
}

/// Like [`serve_connection`]. When `hurry` completes, the connection is cut. `on_going_away` is
/// called before a GOAWAY, with its reason and what the connection has carried.
pub(super) async fn drive<I, S, B, D>(
    io: I,
    service: S,
    config: &ConnectionConfig,
    drain: D,
    hurry: impl Future<Output = ()>,
    on_going_away: impl FnMut(GoAwayReason, Carried),
) -> ConnectionSummary
where
    I: AsyncRead + AsyncWrite + Unpin,
    S: Service<Request<RequestBody>, Response = Response<B>> + Clone + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
    D: Future<Output = ()>,
{
    let opened = Instant::now();
    let state = ConnectionState::new(config.begin_lifetime(opened.into_std()));
    let (wire, mut remains) = ServerWire::new(io, state.clone(), config.header_limits().for_h2());
    let reason = {
        let calls = CountedCalls::new(service, state.clone(), config.header_limits());
        let mut connection =
            pin!(config.http2(CallExecutor::new(state.clone())).serve_connection(TokioIo::new(wire), calls));
        // Each is polled only when it is woken, not with every frame.
        let orders = FuturesUnordered::new();
        orders.push(Either::Left(async {
            drain.await;
            ConnectionOrder::Drain
        }));
        orders.push(Either::Right(async {
            hurry.await;
            ConnectionOrder::Hurry
        }));
        let mut driver = Driver {
            state: &state,
            timer: pin!(Timer::default()),
            orders: pin!(orders),
            unread: UnreadReader::new(state.clone()),
            on_going_away,
        };
        std::future::poll_fn(|cx| driver.poll(connection.as_mut(), cx)).await
    };
    if let Ok(remains) = remains.try_recv() {
        let linger_close = async { tokio::join!(linger(remains, &reason), state.no_calls()) };
        // Handlers notice the end at their next poll. One that blocks its thread cannot be waited
        // for.
        let _ = tokio::time::timeout(LINGER, linger_close).await;
    }
    let Carried { calls, health_checks } = state.carried();
    ConnectionSummary { reason, age: opened.elapsed(), calls, health_checks }
}

struct Driver<'a, O, F> {
    state: &'a Arc<ConnectionState>,
    timer: Pin<&'a mut Timer>,
    orders: Pin<&'a mut O>,
    unread: UnreadReader,
    on_going_away: F,
}

/// What the server can order of a connection.
enum ConnectionOrder {
    Drain,
    Hurry,
}

impl<O, F> Driver<'_, O, F>
where
    O: Stream<Item = ConnectionOrder>,
    F: FnMut(GoAwayReason, Carried),
{
    fn poll<C: Http2Connection>(
        &mut self,
        mut connection: Pin<&mut C>,
        cx: &mut Context<'_>,
    ) -> Poll<CloseReason> {
        self.state.begin_turn();
        loop {
            self.unread.poll(cx);
            if let Poll::Ready(result) = connection.as_mut().poll(cx) {
                return Poll::Ready(self.ended(result));
            }
            if self.state.take_received() {
                // Reads the clock once each time the task is woken, not for each read or frame.
                self.state.lifetime().handle_received(Instant::now().into_std());
            }
            while let Poll::Ready(Some(order)) = self.orders.as_mut().poll_next(cx) {
                match order {
                    ConnectionOrder::Drain => self.state.lifetime().handle_drain(Instant::now().into_std()),
                    ConnectionOrder::Hurry => return Poll::Ready(CloseReason::Hurried),
                }
            }
            match self.poll_action(cx) {
                None => {
                    self.unread.poll_later(cx);
                    return Poll::Pending;
                }
                Some(LifetimeAction::GoAway { reason }) => {
                    self.state.go_away(reason);
                    connection.as_mut().graceful_shutdown();
                    (self.on_going_away)(reason, self.state.carried());
                }
                Some(LifetimeAction::FinishGoAway) => self.state.finish_go_away(),
                // The wire writes it when hyper flushes, which it does in each poll.
                Some(LifetimeAction::Ping) => self.state.ping(),
                Some(LifetimeAction::Close { reason }) => return Poll::Ready(reason.into()),
                Some(action) => debug_assert!(false, "an action without a driver: {action:?}"),
            }
        }
    }

    /// Returns the machine's next action. `None` if there is none now; the timer is then set for
    /// the machine's next timeout.
    fn poll_action(&mut self, cx: &mut Context<'_>) -> Option<LifetimeAction> {
        let mut lifetime = self.state.lifetime();
        loop {
            if let Some(action) = lifetime.poll_action() {
                return Some(action);
            }
            if self.timer.as_mut().poll_at(lifetime.poll_timeout().map(Instant::from_std), cx).is_pending() {
                return None;
            }
            lifetime.handle_timeout(Instant::now().into_std());
        }
    }

    fn ended(&self, result: hyper::Result<()>) -> CloseReason {
        match (result, self.state.going_away()) {
            // A client that has all its answers may close its socket without GOAWAY, as health
            // probes do. What hyper writes after that fails, and says nothing about the connection.
            (Err(error), _) if !is_hang_up(&error) || self.state.lifetime().calls() > 0 => {
                CloseReason::Failed(chain(&error))
            }
            (_, None) => CloseReason::Client,
            (_, Some(reason)) => CloseReason::GoneAway(reason),
        }
    }
}

/// The driver's view of hyper's connection, whose type names everything it carries.
trait Http2Connection: Future<Output = hyper::Result<()>> {
    fn graceful_shutdown(self: Pin<&mut Self>);
}

impl<I, S, B> Http2Connection
    for hyper::server::conn::http2::Connection<TokioIo<ServerWire<I>>, S, CallExecutor>
where
    I: AsyncRead + AsyncWrite + Unpin,
    S: hyper::service::Service<Request<Incoming>, Response = Response<B>>,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    fn graceful_shutdown(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

pin_project_lite::pin_project! {
    /// One sleep that is reset only when its instant changes.
    #[derive(Default)]
    struct Timer {
        at: Option<Instant>,
        #[pin]
        sleep: Option<Sleep>,
        // The task that the sleep will wake.
        waker: Option<Waker>,
    }
}

impl Timer {
    /// Returns ready when `at` has come.
    fn poll_at(self: Pin<&mut Self>, at: Option<Instant>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        if *this.at != at {
            *this.at = at;
            *this.waker = None;
            match (this.sleep.as_mut().as_pin_mut(), at) {
                (Some(sleep), Some(at)) => sleep.reset(at),
                (_, at) => this.sleep.set(at.map(tokio::time::sleep_until)),
            }
        }
        let Some(sleep) = this.sleep.as_pin_mut() else { return Poll::Pending };
        let will_wake = this.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
        // A poll with every frame would cost more than the whole lifetime machine.
        if will_wake && !sleep.is_elapsed() {
            return Poll::Pending;
        }
        // Without budget the sleep wakes the task at once, and stores no waker for later.
        *this.waker = coop::has_budget_remaining().then(|| cx.waker().clone());
        sleep.poll(cx)
    }
}

/// Closes a socket so that all sent bytes arrive: FIN, then read until the client closes too.
///
/// A socket that is closed with unread bytes answers with RST. Then the client may lose what it has
/// not read yet, even the GOAWAY: a stream that was never processed looks like one that broke in
/// the middle.
async fn linger<I: AsyncRead + AsyncWrite + Unpin>(mut remains: ClosedIo<I>, reason: &CloseReason) {
    let last_words = match reason {
        CloseReason::TooManyPings => Some((ENHANCE_YOUR_CALM, "too_many_pings")),
        CloseReason::FrameFlood => Some((ENHANCE_YOUR_CALM, "too_many_control_frames")),
        // For a client that is only slow: it learns which calls it can retry.
        CloseReason::KeepaliveTimeout => Some((NO_ERROR, "keepalive_timeout")),
        CloseReason::Hurried => Some((NO_ERROR, GoAwayReason::Drain.debug_data())),
        _ => None,
    };
    let last_words = last_words
        .filter(|_| remains.may_insert)
        .map(|(code, why)| wire::go_away(remains.last_stream, code, why))
        .unwrap_or_default();
    if remains.io.write_all(&last_words).await.is_err() || remains.io.shutdown().await.is_err() {
        return;
    }
    let mut discarded = [0; 4096];
    while !remains.peer_closed {
        remains.peer_closed = matches!(remains.io.read(&mut discarded).await, Ok(0) | Err(_));
    }
}

/// Returns true if the client has closed its end of the socket.
fn is_hang_up(error: &(dyn std::error::Error + 'static)) -> bool {
    let kind = match (error.downcast_ref::<std::io::Error>(), error.downcast_ref::<h2::Error>()) {
        (Some(error), _) => Some(error.kind()),
        (_, Some(error)) => error.get_io().map(std::io::Error::kind),
        _ => None,
    };
    match (kind, error.source()) {
        (Some(kind), _) => HANG_UPS.contains(&kind),
        (None, Some(source)) => is_hang_up(source),
        (None, None) => false,
    }
}

/// Formats an error with its sources: hyper only says "http2 error".
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// How long a closed connection is still read, and its handlers are waited for. A client that reads
/// at all closes within a round trip.
pub(super) const LINGER: Duration = Duration::from_secs(1);

/// The errors of a socket whose other end was closed.
const HANG_UPS: [ErrorKind; 5] = [
    ErrorKind::BrokenPipe,
    ErrorKind::ConnectionAborted,
    ErrorKind::ConnectionReset,
    ErrorKind::NotConnected,
    ErrorKind::UnexpectedEof,
];

/// NO_ERROR (RFC 9113 §7).
const NO_ERROR: u32 = 0;

/// ENHANCE_YOUR_CALM (RFC 9113 §7).
const ENHANCE_YOUR_CALM: u32 = 0xb;
