//! A gRPC server whose connections age, so that clients which keep one connection are spread again
//! and again.
//!
//! [`Server`] holds the settings; `serve` runs it. It knows nothing of HTTP/2 and decides nothing
//! about one connection.

mod accepted;
mod admission;
mod call;
mod call_task;
mod calls;
mod config;
mod connection;
mod connections;
mod error;
mod event;
mod grpc;
mod grpc_service;
mod header_limits;
mod health;
mod layers;
mod listener;
mod metered;
mod metrics;
pub mod orca;
mod overload;
mod peer;
mod serve;
mod shutdown;
mod state;
#[cfg(feature = "tls")]
mod tls;
#[cfg(unix)]
mod unix;
mod wire;

use std::convert::Infallible;
use std::fmt;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use tonic::server::NamedService;
use tonic::service::Routes;
use tower_layer::Layer;
use tower_service::Service;

pub use meshless_core::{GoAwayReason, LifetimeConfig};

pub use crate::shared::io::{BoxIo, Io};
pub use accepted::Accepted;
pub use call::CallContext;
pub use config::ConnectionConfig;
pub use connection::serve_connection;
pub use error::ServeError;
use event::Carried;
pub use event::{CloseReason, ConnectionChange, ConnectionEvent, ConnectionSummary};
pub use health::{HealthReporter, ServingStatus};
pub use listener::{Listener, bind};
pub use meshless_core::CallLimit;
pub use peer::Peer;
pub use shutdown::{Shutdown, ShutdownHandle};
#[cfg(feature = "tls")]
pub use tls::ServerTlsConfig;
#[cfg(unix)]
pub use unix::{UnixListener, bind_unix};

use grpc_service::GrpcService;
use layers::Layers;
use overload::CallGate;

use meshless_core::ConnectionLimits;
use metrics::ServerMetrics;

/// A gRPC server for tonic's services.
///
/// ```no_run
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// # use std::time::Duration;
/// # let (_, echo) = tonic_health::server::health_reporter();
/// meshless::Server::builder()
///     .max_connection_age(Duration::from_secs(60))
///     .max_connection_age_grace(Duration::from_secs(10))
///     .add_service(echo)
///     .serve_with_shutdown("[::]:50051".parse()?, meshless::Shutdown::on_signals()?)
///     .await?;
/// # Ok(())
/// # }
/// ```
///
/// # Shutdown
///
/// In this order: health turns to NOT_SERVING; the server goes on serving and accepting for the
/// [lame duck](Self::lame_duck); every connection gets a GOAWAY and the listeners close; calls
/// finish, for at most the [drain timeout](Self::drain_timeout); what is left is cut;
/// `serve_with_shutdown` returns, and no task or socket of the server is left, but for handlers
/// that block their thread. A second signal, or [`ShutdownHandle::hurry`], skips what is left of
/// both waits.
///
/// ## Kubernetes' arithmetic
///
/// Kubernetes sends SIGTERM and takes the pod out of its Services *at the same time*, and SIGKILL
/// `terminationGracePeriodSeconds` later, a `preStop` hook included. So
///
/// ```text
/// preStop + lame duck + drain timeout + 1 s goodbye + what the process does after it < terminationGracePeriodSeconds
///       0 +       5 s +          20 s + 1 s         + 0                              < 30 s, by default
/// ```
///
/// A `preStop` sleep does what the lame duck does, but keeps health at SERVING: have one of the
/// two.
#[derive(Clone)]
pub struct Server {
    config: ConnectionConfig,
    limits: ConnectionLimits,
    call_gate: Option<Arc<CallGate>>,
    routes: Routes,
    layers: Layers,
    /// Names of the services that were added.
    services: Vec<&'static str>,
    metrics: ServerMetrics,
    health: HealthReporter,
    /// The health service is the built-in one.
    has_own_health: bool,
    /// `None`: what began the shutdown decides.
    lame_duck: Option<Duration>,
    observer: Option<Arc<Observer>>,
    #[cfg(feature = "tls")]
    tls: Option<ServerTlsConfig>,
}

impl Server {
    /// A server with gRPC's defaults: connections do not age and may idle; keepalive after 2 h; a
    /// drain of 20 s.
    pub fn builder() -> Self {
        Self::default()
    }

    /// How old a connection may become (± 10 % each) before its client is told to connect again.
    /// Default `None`: no limit. See
    /// [`LifetimeConfig::max_age`](crate::server::LifetimeConfig::max_age).
    ///
    /// A client that keeps one connection stays on one backend for as long; so does a new backend
    /// without its share of the calls. A rotation costs about as much CPU as four calls.
    #[must_use]
    pub fn max_connection_age(self, age: impl Into<Option<Duration>>) -> Self {
        self.lifetime(|lifetime| lifetime.max_age(age))
    }

    /// How long calls may still run after that; then they are cut. Default `None`: as long as they
    /// like. Set it above the longest deadline of a call.
    #[must_use]
    pub fn max_connection_age_grace(self, grace: impl Into<Option<Duration>>) -> Self {
        self.lifetime(|lifetime| lifetime.max_age_grace(grace))
    }

    /// How long a connection may be without a call before it is sent away. Default `None`: no
    /// limit.
    #[must_use]
    pub fn max_connection_idle(self, idle: impl Into<Option<Duration>>) -> Self {
        self.lifetime(|lifetime| lifetime.max_idle(idle))
    }

    /// After how much silence a client is asked for a sign of life, and how long it may take.
    /// Defaults: 2 h, 20 s. See [`ConnectionConfig::keepalive`].
    #[must_use]
    pub fn keepalive(mut self, time: impl Into<Option<Duration>>, timeout: Duration) -> Self {
        self.config = self.config.keepalive(time, timeout);
        self
    }

    /// How often a client may ping, and whether also while it has no call. Defaults: every 5 min,
    /// and only every 2 h without calls (gRFC A8). After two strikes the connection is closed with
    /// `too_many_pings`.
    #[must_use]
    pub fn ping_enforcement(self, interval_min: Duration, without_calls: bool) -> Self {
        self.lifetime(|lifetime| lifetime.ping_interval_min(interval_min).pings_without_calls(without_calls))
    }

    /// How long the server goes on serving and accepting once its shutdown has begun, with health
    /// at NOT_SERVING, before it sends connections away. Default: 5 s after SIGTERM (see
    /// [`Shutdown::on_signals`]), and none after Ctrl-C, a future or a [`ShutdownHandle`]; what is
    /// set here holds for all of them.
    ///
    /// Clients go on connecting to a pod for as long as the news of its end takes to reach every
    /// kube-proxy, DNS cache and load balancer: some seconds in most clusters, more behind a
    /// cloud's load balancer. A listener that closes sooner refuses them. See [Kubernetes'
    /// arithmetic](Self#kubernetes-arithmetic).
    #[must_use]
    pub fn lame_duck(mut self, delay: Duration) -> Self {
        self.lame_duck = Some(delay);
        self
    }

    /// How long calls may still run after the lame duck; then they are cut. Default: 20 s. Zero:
    /// not at all. `None`: as long as they like. See [Kubernetes'
    /// arithmetic](Self#kubernetes-arithmetic).
    #[must_use]
    pub fn drain_timeout(self, timeout: impl Into<Option<Duration>>) -> Self {
        self.lifetime(|lifetime| lifetime.drain_timeout(timeout))
    }

    /// How many calls a client may have open on one connection. Default: 10 000. See
    /// [`ConnectionConfig`] for what one hostile client can pin.
    #[must_use]
    pub fn max_concurrent_streams(mut self, streams: u32) -> Self {
        self.config = self.config.max_concurrent_streams(streams);
        self
    }

    /// How long one call, above all a stream, may last (± 10 % each) before its handler is told to
    /// end it, and how long it may go on after that; then it ends with UNAVAILABLE. Defaults: no
    /// limit, 10 s. See [`CallContext::stream_ending`].
    #[must_use]
    pub fn max_stream_age(
        self,
        age: impl Into<Option<Duration>>,
        grace: impl Into<Option<Duration>>,
    ) -> Self {
        self.lifetime(|lifetime| lifetime.max_stream_age(age).max_stream_age_grace(grace))
    }

    /// Ages connections sooner while there are more of them than usual: see
    /// [`ConnectionConfig::level_connections`]. Default: off. `exponent` 3 nearly halves the spread
    /// of clients that keep one connection.
    #[must_use]
    pub fn level_connections(mut self, exponent: u32) -> Self {
        self.config = self.config.level_connections(exponent);
        self
    }

    /// Speaks TLS with every client, on every listener. Clients must ask for HTTP/2 by ALPN, as
    /// gRPC's all do. The handshake falls under
    /// [`LifetimeConfig::handshake_timeout`](crate::server::LifetimeConfig::handshake_timeout), and
    /// a connection's age begins after it.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(mut self, tls: ServerTlsConfig) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Replaces the settings above that concern one connection: ages, idleness, keepalive, pings,
    /// the drain timeout, streams.
    #[must_use]
    pub fn connection_config(mut self, config: ConnectionConfig) -> Self {
        self.config = config;
        self
    }

    /// How many connections the server serves at once. Default: 10 000. The client of one more is
    /// told to go (GOAWAY, no call of it processed), so that it tries another backend.
    #[must_use]
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.limits.max = connections;
        self
    }

    /// How many new connections the server takes in a second, on average; a second's worth may come
    /// at once, the others wait in the listener's backlog. Default `None`: no limit (a connection
    /// costs as much CPU as four calls, with TLS some ten times that).
    #[must_use]
    pub fn max_connections_per_second(mut self, connections: impl Into<Option<NonZeroU32>>) -> Self {
        self.limits.per_second = connections.into();
        self
    }

    /// How many calls the server works on at once, on all connections together, and what becomes of
    /// the others. Default: no limit. A number lets as many more wait and fails the rest with
    /// RESOURCE_EXHAUSTED; [`CallLimit`] says more.
    #[must_use]
    pub fn max_concurrent_calls(mut self, limit: impl Into<CallLimit>) -> Self {
        self.call_gate = Some(Arc::new(CallGate::new(limit.into())));
        self
    }

    /// Is told when connections open, are sent away, and close. It runs on the connection's task:
    /// it must not block.
    ///
    /// The server itself logs these events, at INFO or DEBUG as [`ConnectionEvent::is_routine`]
    /// says.
    #[must_use]
    pub fn on_connection_event(
        mut self,
        observer: impl Fn(&ConnectionEvent) + Send + Sync + 'static,
    ) -> Self {
        self.observer = Some(Arc::new(observer));
        self
    }

    /// Measures calls and connections with this meter: see [`metrics`](crate::metrics). Default:
    /// nothing is measured.
    #[cfg(feature = "otel")]
    #[must_use]
    pub fn metrics(mut self, meter: opentelemetry::metrics::Meter) -> Self {
        self.metrics = ServerMetrics::new(&meter);
        self
    }

    /// Sets the statuses that the built-in `grpc.health.v1.Health` reports, before and while the
    /// server runs.
    ///
    /// Nothing needs to be set: services are SERVING once added, and NOT_SERVING once the shutdown
    /// begins. Clones of this `Server` share the reporter.
    pub fn health(&self) -> HealthReporter {
        self.health.clone()
    }

    /// Leaves out the built-in `grpc.health.v1.Health`, which is not needed to add another: an
    /// added service of that name takes its place (and is not told of shutdowns).
    #[must_use]
    pub fn without_health(mut self) -> Self {
        self.has_own_health = false;
        self
    }

    /// Serves these routes in place of what was added so far: tonic's `Routes`, or an axum
    /// `Router`, whose plain HTTP/2 handlers then have ageing connections, TLS and this shutdown
    /// too. Services can be added to them.
    ///
    /// Their requests are not checked, since any of them may be plain HTTP: gRPC services belong in
    /// [`add_service`](Self::add_service), after this.
    ///
    /// What the routes hold cannot be asked: if `grpc.health.v1.Health` is among them, say
    /// [`without_health`](Self::without_health) as well, or serving panics when the built-in one
    /// meets it ("Overlapping method route"). The built-in one knows the services that
    /// [`add_service`](Self::add_service) adds, and `""`; name those in the routes to it with
    /// [`health`](Self::health) if somebody asks for them.
    #[must_use]
    pub fn routes(mut self, routes: impl Into<Routes>) -> Self {
        self.routes = routes.into();
        self
    }

    /// Puts a tower layer around all services, those that are added later and the built-in health
    /// service included. The first one is the outermost. Calls that the server refuses by its own
    /// limits do not reach it.
    ///
    /// What fails with an error becomes a status, as in tonic: an error of time limits is
    /// DEADLINE_EXCEEDED or CANCELLED, any other UNKNOWN with its text. A call costs an allocation
    /// for each layer.
    #[must_use]
    pub fn layer<L, B>(mut self, layer: L) -> Self
    where
        L: Layer<Routes> + Send + Sync + 'static,
        L::Service:
            Service<Request<tonic::body::Body>, Response = Response<B>> + Clone + Send + Sync + 'static,
        <L::Service as Service<Request<tonic::body::Body>>>::Future: Send,
        <L::Service as Service<Request<tonic::body::Body>>>::Error:
            Into<Box<dyn std::error::Error + Send + Sync>>,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        self.layers.push(layer);
        self
    }

    /// Adds a service, as generated by tonic, with or without interceptors and layers. Calls to
    /// services that were not added end with UNIMPLEMENTED.
    ///
    /// Requests to it must be gRPC: another method than POST is answered with 405, another content
    /// type than `application/grpc` with 415, and the handler does not run. Content types of
    /// gRPC-Web and preflights of CORS pass, for layers that translate them.
    ///
    /// # Panics
    /// If a service of that name was added before, as tonic's `Routes` do.
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
        self.routes = self.routes.add_service(GrpcService::new(service));
        self.services.push(S::NAME);
        if S::NAME == HEALTH_SERVICE {
            self.has_own_health = false;
        } else {
            self.health.set_status(S::NAME, ServingStatus::Serving);
        }
        self
    }

    /// Serves on `addr` for ever.
    ///
    /// # Errors
    /// If `addr` cannot be listened on.
    pub async fn serve(self, addr: SocketAddr) -> Result<(), ServeError> {
        self.serve_with_shutdown(addr, std::future::pending()).await
    }

    /// Serves on `addr` until `shutdown`, then drains; see [above](Self#shutdown). `shutdown` is a
    /// [`Shutdown`], or any future whose completion begins one.
    ///
    /// # Errors
    /// If `addr` cannot be listened on.
    pub async fn serve_with_shutdown(
        self,
        addr: SocketAddr,
        shutdown: impl Into<Shutdown>,
    ) -> Result<(), ServeError> {
        let listener = bind(addr)?;
        self.serve_with_incoming_shutdown([listener], shutdown).await
    }

    /// The same on listeners that exist already: from [`bind`] with port 0, from [`bind_unix`],
    /// from `tokio::net::TcpListener::from_std`, or a [`Listener`] of one's own. Those of different
    /// kinds go in as `Box<dyn Listener>`.
    ///
    /// # Errors
    /// None today: what fails once the listeners exist concerns one connection, or passes.
    pub async fn serve_with_incoming_shutdown<L: Listener>(
        self,
        listeners: impl IntoIterator<Item = L>,
        shutdown: impl Into<Shutdown>,
    ) -> Result<(), ServeError> {
        let listeners = listeners.into_iter().map(|listener| Box::new(listener) as Box<dyn Listener>);
        serve::serve(self, listeners.collect(), shutdown.into()).await;
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
        peer: &Peer,
        change: ConnectionChange,
        age: Duration,
        Carried { calls, health_checks }: Carried,
    ) {
        let event = ConnectionEvent { connection, peer: peer.clone(), change, age, calls, health_checks };
        event.log();
        if let Some(observer) = &self.observer {
            observer(&event);
        }
    }
}

impl Default for Server {
    fn default() -> Self {
        Self {
            limits: ConnectionLimits::default(),
            call_gate: None,
            config: ConnectionConfig::default(),
            routes: Routes::default(),
            layers: Layers::default(),
            services: Vec::new(),
            metrics: ServerMetrics::default(),
            health: HealthReporter::default(),
            has_own_health: true,
            lame_duck: None,
            observer: None,
            #[cfg(feature = "tls")]
            tls: None,
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
            .field("layers", &self.layers)
            .field("lame_duck", &self.lame_duck)
            .field("observer", &self.observer.as_ref().map(|_| ".."))
            .finish()
    }
}

type Observer = dyn Fn(&ConnectionEvent) + Send + Sync;

/// The name of the health service, built in or not.
const HEALTH_SERVICE: &str = "grpc.health.v1.Health";
