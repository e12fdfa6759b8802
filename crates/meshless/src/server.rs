//! A gRPC server whose connections age, so that clients which keep one connection are spread again and again.
//!
//! [`Server`] accepts connections, gives each to the connection driver, and ends them all at shutdown. It knows nothing of
//! HTTP/2 and decides nothing about one connection.

mod admission;
mod call;
mod call_task;
mod calls;
mod config;
mod connection;
mod error;
mod event;
mod grpc;
mod listener;
mod overload;
mod state;
mod wire;

use std::convert::Infallible;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tonic::server::NamedService;
use tonic::service::Routes;
use tonic::transport::server::Connected;
use tower_service::Service;

pub use call::CallContext;
pub use config::ConnectionConfig;
pub use connection::serve_connection;
pub use error::ServeError;
pub use event::{ClosedReason, ConnectionChange, ConnectionEvent, ConnectionSummary};
pub use listener::bind;
pub use overload::CallLimit;

use admission::{Admission, Admitted, ConnectionLimits, refuse};
use connection::drive;
use grpc::GrpcCalls;
use listener::Acceptor;
use overload::{CallGate, GatedCalls};

/// A gRPC server for tonic's services.
///
/// ```no_run
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// # use std::time::Duration;
/// # let (_, health) = tonic_health::server::health_reporter();
/// meshless::Server::builder()
///     .max_connection_age(Duration::from_secs(60))
///     .max_connection_age_grace(Duration::from_secs(10))
///     .add_service(health)
///     .serve("[::]:50051".parse()?)
///     .await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
pub struct Server {
    config: ConnectionConfig,
    limits: ConnectionLimits,
    call_gate: Option<Arc<CallGate>>,
    routes: Routes,
    observer: Option<Arc<Observer>>,
}

impl Server {
    /// A server with gRPC's defaults: connections do not age and may idle; keepalive after 2 h; a drain of 30 s.
    pub fn builder() -> Self {
        Self::default()
    }

    /// How old a connection may become (± 10 % each) before its client is told to connect again. Default and zero: no
    /// limit. See [`LifetimeConfig::max_age`](crate::LifetimeConfig::max_age).
    ///
    /// A client that keeps one connection stays on one backend for as long; so does a new backend without its share of
    /// the calls. A rotation costs about as much CPU as four calls.
    #[must_use]
    pub fn max_connection_age(self, age: Duration) -> Self {
        self.lifetime(|lifetime| lifetime.max_age(age))
    }

    /// How long calls may still run after that; then they are cut. Default and zero: as long as they like. Set it above
    /// the longest deadline of a call.
    #[must_use]
    pub fn max_connection_age_grace(self, grace: Duration) -> Self {
        self.lifetime(|lifetime| lifetime.max_age_grace(grace))
    }

    /// How long a connection may be without a call before it is sent away. Default and zero: no limit.
    #[must_use]
    pub fn max_connection_idle(self, idle: Duration) -> Self {
        self.lifetime(|lifetime| lifetime.max_idle(idle))
    }

    /// After how much silence a client is asked for a sign of life, and how long it may take. Defaults: 2 h, 20 s. See
    /// [`ConnectionConfig::keepalive`].
    #[must_use]
    pub fn keepalive(mut self, time: Duration, timeout: Duration) -> Self {
        self.config = self.config.keepalive(time, timeout);
        self
    }

    /// How often a client may ping, and whether also while it has no call. Defaults: every 5 min, and only every 2 h
    /// without calls (gRFC A8). After two strikes the connection is closed with `too_many_pings`.
    #[must_use]
    pub fn ping_enforcement(self, interval_min: Duration, without_calls: bool) -> Self {
        self.lifetime(|lifetime| lifetime.ping_interval_min(interval_min).pings_without_calls(without_calls))
    }

    /// How long calls may still run after shutdown began; then they are cut. Default: 30 s. Zero: not at all.
    ///
    /// Kubernetes kills the process `terminationGracePeriodSeconds` (30 s by default) after SIGTERM, a `preStop` hook
    /// included: keep the sum of that hook's time, this one and 3 s below it.
    #[must_use]
    pub fn drain_timeout(self, timeout: Duration) -> Self {
        self.lifetime(|lifetime| lifetime.drain_timeout(timeout))
    }

    /// How many calls a client may have open on one connection. Default: 10 000. See [`ConnectionConfig`] for what
    /// one hostile client can pin.
    #[must_use]
    pub fn max_concurrent_streams(mut self, streams: u32) -> Self {
        self.config = self.config.max_concurrent_streams(streams);
        self
    }

    /// How long one call, above all a stream, may last (± 10 % each) before its handler is told to end it, and how long it may
    /// go on after that; then it ends with UNAVAILABLE. Defaults: no limit, 10 s. See
    /// [`CallContext::stream_ending`].
    #[must_use]
    pub fn max_stream_age(self, age: Duration, grace: Duration) -> Self {
        self.lifetime(|lifetime| lifetime.max_stream_age(age).max_stream_age_grace(grace))
    }

    /// Ages connections sooner while there are more of them than usual: see [`ConnectionConfig::level_connections`].
    /// Default: off. `exponent` 3 nearly halves the spread of clients that keep one connection.
    #[must_use]
    pub fn level_connections(mut self, exponent: u32) -> Self {
        self.config = self.config.level_connections(exponent);
        self
    }

    /// Replaces all settings above. Those below are not of one connection.
    #[must_use]
    pub fn connection_config(mut self, config: ConnectionConfig) -> Self {
        self.config = config;
        self
    }

    /// How many connections the server serves at once. Default: 10 000. The client of one more is told to go (GOAWAY, no call
    /// of it processed), so that it tries another backend.
    #[must_use]
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.limits.max = connections;
        self
    }

    /// How many new connections the server takes in a second, on average; a second's worth may come at once, the others wait
    /// in the listener's backlog. Default and zero: no limit (a connection costs as much CPU as four calls, with TLS some
    /// ten times that).
    #[must_use]
    pub fn max_connections_per_second(mut self, connections: u32) -> Self {
        self.limits.per_second = std::num::NonZeroU32::new(connections);
        self
    }

    /// How many calls the server works on at once, on all connections together, and what becomes of the others. Default:
    /// no limit. A number lets as many more wait and fails the rest with RESOURCE_EXHAUSTED; [`CallLimit`] says more.
    #[must_use]
    pub fn max_concurrent_calls(mut self, limit: impl Into<CallLimit>) -> Self {
        self.call_gate = Some(Arc::new(CallGate::new(limit.into())));
        self
    }

    /// Is told when connections open, are sent away, and close. It runs on the connection's task: it must not block.
    #[must_use]
    pub fn on_connection_event(
        mut self,
        observer: impl Fn(&ConnectionEvent) + Send + Sync + 'static,
    ) -> Self {
        self.observer = Some(Arc::new(observer));
        self
    }

    /// Adds a service, as generated by tonic, with or without interceptors and layers. Calls to services that were not
    /// added end with UNIMPLEMENTED.
    #[must_use]
    pub fn add_service<S, B>(mut self, service: S) -> Self
    where
        S: Service<Request<tonic::body::Body>, Response = Response<B>, Error = Infallible>
            + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        S::Future: Send + 'static,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        self.routes = self.routes.add_service(service);
        self
    }

    /// Serves on `addr` for ever.
    ///
    /// # Errors
    /// If `addr` cannot be listened on.
    pub async fn serve(self, addr: SocketAddr) -> Result<(), ServeError> {
        self.serve_with_shutdown(addr, std::future::pending()).await
    }

    /// Serves on `addr` until `shutdown` completes, then drains: it stops listening, sends every connection away, waits for
    /// their calls (at most the drain timeout), cuts what is left, and returns. No connection is left then.
    ///
    /// # Errors
    /// If `addr` cannot be listened on.
    pub async fn serve_with_shutdown<F>(self, addr: SocketAddr, shutdown: F) -> Result<(), ServeError>
    where
        F: Future<Output = ()>,
    {
        let listener = bind(addr)?;
        self.serve_with_incoming_shutdown([listener], shutdown).await
    }

    /// The same on listeners that exist already, for instance from [`bind`] with port 0, or from
    /// `tokio::net::TcpListener::from_std`.
    ///
    /// # Errors
    /// None today: what fails once the listeners exist concerns one connection, or passes.
    pub async fn serve_with_incoming_shutdown<L, F>(self, listeners: L, shutdown: F) -> Result<(), ServeError>
    where
        L: IntoIterator<Item = TcpListener>,
        F: Future<Output = ()>,
    {
        let mut acceptor = Acceptor::new(listeners.into_iter().collect());
        let (drain, draining) = watch::channel(false);
        let mut admission = Admission::new(self.limits);
        let mut connections = Connections { server: self, draining, next: 0, tasks: JoinSet::new() };
        let mut shutdown = std::pin::pin!(shutdown);
        loop {
            tokio::select! {
                biased;
                () = &mut shutdown => break,
                Some(ended) = connections.tasks.join_next() => log_panic(ended),
                (io, peer) = async { admission.ready().await; acceptor.accept().await } =>
                    connections.admit(io, peer, admission.admit()),
            }
        }
        // A client whose connection waits in the backlog believes that it is connected: it is told to go, not reset.
        let mut acceptor = Some(acceptor);
        let waiting = std::future::poll_fn(|cx| {
            std::task::Poll::Ready(acceptor.take().map_or_else(Vec::new, |acceptor| acceptor.close(cx)))
        });
        for (io, peer) in waiting.await {
            connections.admit(io, peer, admission.admit());
        }
        tracing::debug!(connections = connections.tasks.len(), "draining");
        drain.send_replace(true);
        connections.end().await;
        Ok(())
    }

    fn lifetime(
        mut self,
        change: impl FnOnce(meshless_core::LifetimeConfig) -> meshless_core::LifetimeConfig,
    ) -> Self {
        let lifetime = self.config.lifetime_mut();
        *lifetime = change(lifetime.clone());
        self
    }

    fn observe(
        &self,
        connection: u64,
        peer: SocketAddr,
        change: ConnectionChange,
        age: Duration,
        calls: u64,
    ) {
        tracing::debug!(connection, %peer, ?change, ?age, calls, "connection");
        if let Some(observer) = &self.observer {
            observer(&ConnectionEvent { connection, peer, change, age, calls });
        }
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("config", &self.config)
            .field("limits", &self.limits)
            .field("call_gate", &self.call_gate)
            .field("routes", &self.routes)
            .field("observer", &self.observer.as_ref().map(|_| ".."))
            .finish()
    }
}

type Observer = dyn Fn(&ConnectionEvent) + Send + Sync;

/// The connections of a running server; all end when this is dropped.
struct Connections {
    server: Server,
    draining: watch::Receiver<bool>,
    next: u64,
    tasks: JoinSet<()>,
}

impl Connections {
    fn admit(&mut self, io: TcpStream, peer: SocketAddr, admitted: Admitted) {
        match admitted {
            Admitted::Serve(place) => self.spawn(io, peer, place),
            Admitted::Refuse(refusal) => drop(self.tasks.spawn(refuse(io, refusal))),
            Admitted::Close => tracing::debug!(%peer, "closed: too many connections"),
        }
    }

    fn spawn(&mut self, io: TcpStream, peer: SocketAddr, place: OwnedSemaphorePermit) {
        // It fails if the client is gone already, which the first read tells as well.
        let _ = io.set_nodelay(true);
        let connection = self.next;
        self.next += 1;
        let server = self.server.clone();
        let mut draining = self.draining.clone();
        self.tasks.spawn(async move {
            let opened = Instant::now();
            server.observe(connection, peer, ConnectionChange::Opened, Duration::ZERO, 0);
            let _place = place;
            let services = GatedCalls::new(server.routes.clone(), server.call_gate.clone());
            let service = GrpcCalls::new(services, io.connect_info());
            let drain = async move {
                // An error: the server is gone, which is a drain too.
                let _ = draining.wait_for(|draining| *draining).await;
            };
            let ended = drive(io, service, &server.config, drain, |reason, calls| {
                server.observe(
                    connection,
                    peer,
                    ConnectionChange::GoingAway(reason),
                    opened.elapsed(),
                    calls,
                );
            });
            let summary = ended.await;
            let closed = ConnectionChange::Closed(summary.reason);
            server.observe(connection, peer, closed, summary.age, summary.calls);
        });
    }

    /// Waits until all have ended. Each ends itself by its own drain timeout.
    async fn end(mut self) {
        while let Some(ended) = self.tasks.join_next().await {
            log_panic(ended);
        }
    }
}

fn log_panic(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a connection's task failed");
    }
}
