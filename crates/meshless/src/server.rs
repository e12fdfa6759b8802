//! A gRPC server whose connections age. This spreads clients that keep one connection again and
//! again.
//!
//! [`Server`] holds the settings; `serve` runs it. Nothing here reads HTTP/2 or decides about a
//! single connection.

mod accepted;
mod admission;
mod call;
mod call_task;
mod config;
mod connection;
mod connections;
mod error;
mod event;
mod grpc_service;
mod header_limits;
mod health;
mod layers;
mod listener;
mod metrics;
mod middleware;
mod observed;
pub mod orca;
mod peer;
mod request_body;
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
pub use request_body::RequestBody;
pub use shutdown::{Shutdown, ShutdownHandle};
#[cfg(feature = "tls")]
pub use tls::ServerTlsConfig;
#[cfg(unix)]
pub use unix::{UnixListener, bind_unix};

use grpc_service::GrpcService;
use layers::Layers;
use middleware::CallGate;

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
/// These steps happen in this order:
///
/// 1. Health turns to NOT_SERVING.
/// 2. The server serves and accepts for the [lame duck](Self::lame_duck) period.
/// 3. Every connection gets a GOAWAY, and the listeners close.
/// 4. Calls finish, for at most the [drain timeout](Self::drain_timeout). Then they are cut.
/// 5. `serve_with_shutdown` returns. No task or socket of the server is left, except handlers that
///    block their thread.
///
/// A second signal, or [`ShutdownHandle::hurry`], skips the rest of both waits.
///
/// ## Kubernetes' arithmetic
///
/// Kubernetes sends SIGTERM and removes the pod from its Services *at the same time*. SIGKILL
/// follows after `terminationGracePeriodSeconds`, which include a `preStop` hook. So
///
/// ```text
/// preStop + lame duck + drain timeout + 1 s goodbye + what the process does after it < terminationGracePeriodSeconds
///       0 +       5 s +          20 s + 1 s         + 0                              < 30 s, by default
/// ```
///
/// A `preStop` sleep does the same as the lame duck, but keeps health at SERVING. Use only one of
/// them.
#[derive(Clone)]
pub struct Server {
    config: ConnectionConfig,
    limits: ConnectionLimits,
    call_gate: Option<Arc<CallGate>>,
    routes: Routes,
    layers: Layers,
    /// The names of the services that were added.
    services: Vec<&'static str>,
    metrics: ServerMetrics,
    health: HealthReporter,
    /// The health service is the built-in one.
    has_own_health: bool,
    /// `None`: the default depends on what began the shutdown.
    lame_duck: Option<Duration>,
    observer: Option<Arc<Observer>>,
    #[cfg(feature = "tls")]
    tls: Option<ServerTlsConfig>,
}

impl Server {
    /// Returns a server with gRPC's defaults.
    ///
    /// Connections do not age and may idle; keepalive after 2 h; a drain of 20 s.
    pub fn builder() -> Self {
        Self::default()
    }

    /// Sets the age (± 10 % each) at which a connection's client is told to connect again. Default
    /// `None`: no limit. See [`LifetimeConfig::max_age`](crate::server::LifetimeConfig::max_age).
    ///
    /// Until then, a client that keeps one connection stays on one backend, and a new backend does
    /// not get its share of the calls. A rotation costs about as much CPU as four calls.
    #[must_use]
    pub fn max_connection_age(self, age: impl Into<Option<Duration>>) -> Self {
        self.lifetime(|lifetime| lifetime.max_age(age))
    }

    /// Sets how long calls may still run after the maximum age; then they are cut. Default `None`:
    /// no limit. Set it above the longest deadline of a call.
    #[must_use]
    pub fn max_connection_age_grace(self, grace: impl Into<Option<Duration>>) -> Self {
        self.lifetime(|lifetime| lifetime.max_age_grace(grace))
    }

    /// Sets how long a connection may have no call before it gets a GOAWAY. Default `None`: no
    /// limit.
    #[must_use]
    pub fn max_connection_idle(self, idle: impl Into<Option<Duration>>) -> Self {
        self.lifetime(|lifetime| lifetime.max_idle(idle))
    }

    /// Sets after how much silence a client gets a PING, and how long the answer may take.
    /// Defaults: 2 h, 20 s. See [`ConnectionConfig::keepalive`].
    #[must_use]
    pub fn keepalive(mut self, time: impl Into<Option<Duration>>, timeout: Duration) -> Self {
        self.config = self.config.keepalive(time, timeout);
        self
    }

    /// Sets how often a client may ping, and if it may ping without calls. Defaults: every 5 min,
    /// and only every 2 h without calls (gRFC A8). After two strikes the connection is closed with
    /// `too_many_pings`.
    #[must_use]
    pub fn ping_enforcement(self, interval_min: Duration, without_calls: bool) -> Self {
        self.lifetime(|lifetime| lifetime.ping_interval_min(interval_min).pings_without_calls(without_calls))
    }

    /// Sets how long the server still serves and accepts after its shutdown has begun.
    ///
    /// Health is NOT_SERVING during that time; then connections get a GOAWAY. Default: 5 s after
    /// SIGTERM (see [`Shutdown::on_signals`]), and none after Ctrl-C, a future or a
    /// [`ShutdownHandle`]. A value set here holds for all of them.
    ///
    /// Clients connect to a pod until every kube-proxy, DNS cache and load balancer knows that it
    /// ends. This takes some seconds in most clusters, and more behind a cloud's load balancer. A
    /// listener that closes sooner refuses these clients. See [Kubernetes'
    /// arithmetic](Self#kubernetes-arithmetic).
    #[must_use]
    pub fn lame_duck(mut self, delay: Duration) -> Self {
        self.lame_duck = Some(delay);
        self
    }

    /// Sets how long calls may still run after the lame duck; then they are cut. Default: 20 s.
    /// Zero cuts them at once; `None` is no limit. See [Kubernetes'
    /// arithmetic](Self#kubernetes-arithmetic).
    #[must_use]
    pub fn drain_timeout(self, timeout: impl Into<Option<Duration>>) -> Self {
        self.lifetime(|lifetime| lifetime.drain_timeout(timeout))
    }

    /// Sets how many calls a client may have open on one connection. Default: 10 000. See
    /// [`ConnectionConfig`] for what one hostile client can pin.
    #[must_use]
    pub fn max_concurrent_streams(mut self, streams: u32) -> Self {
        self.config = self.config.max_concurrent_streams(streams);
        self
    }

    /// Sets how long one call, above all a stream, may last (± 10 % each), and the grace after
    /// that.
    ///
    /// At that age the handler is told to end the call; after the grace the call ends with
    /// UNAVAILABLE. Defaults: no limit, 10 s. See [`CallContext::stream_ending`].
    #[must_use]
    pub fn max_stream_age(
        self,
        age: impl Into<Option<Duration>>,
        grace: impl Into<Option<Duration>>,
    ) -> Self {
        self.lifetime(|lifetime| lifetime.max_stream_age(age).max_stream_age_grace(grace))
    }

    /// Ages connections sooner while the server has more of them than usual. See
    /// [`ConnectionConfig::level_connections`]. Default: off. An `exponent` of 3 nearly halves the
    /// spread of clients that keep one connection.
    #[must_use]
    pub fn level_connections(mut self, exponent: u32) -> Self {
        self.config = self.config.level_connections(exponent);
        self
    }

    /// Speaks TLS with every client, on every listener. Clients must ask for HTTP/2 by ALPN, as all
    /// gRPC clients do.
    ///
    /// [`LifetimeConfig::handshake_timeout`](crate::server::LifetimeConfig::handshake_timeout)
    /// includes the handshake. A connection's age begins after it.
    #[cfg(feature = "tls")]
    #[must_use]
    pub fn tls(mut self, tls: ServerTlsConfig) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Replaces all settings above that concern one connection: ages, idleness, keepalive, pings,
    /// the drain timeout, streams.
    #[must_use]
    pub fn connection_config(mut self, config: ConnectionConfig) -> Self {
        self.config = config;
        self
    }

    /// Sets how many connections the server serves at once. Default: 10 000. The client of one more
    /// gets a GOAWAY and none of its calls is processed, so that it tries another backend.
    #[must_use]
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.limits.max = connections;
        self
    }

    /// Sets how many new connections the server accepts per second, on average. Default `None`: no
    /// limit.
    ///
    /// A second's worth may come at once; the others wait in the listener's backlog. (A connection
    /// costs as much CPU as four calls, with TLS about ten times that.)
    #[must_use]
    pub fn max_connections_per_second(mut self, connections: impl Into<Option<NonZeroU32>>) -> Self {
        self.limits.per_second = connections.into();
        self
    }

    /// Sets how many calls the server works on at once, on all connections together. Default: no
    /// limit.
    ///
    /// With a number, the same number of further calls may wait. The rest fail with
    /// RESOURCE_EXHAUSTED. [`CallLimit`] has more settings.
    #[must_use]
    pub fn max_concurrent_calls(mut self, limit: impl Into<CallLimit>) -> Self {
        self.call_gate = Some(Arc::new(CallGate::new(limit.into())));
        self
    }

    /// Calls `observer` when a connection opens, gets a GOAWAY, and closes. It runs on the
    /// connection's task: it must not block.
    ///
    /// The server also logs these events itself, at DEBUG if [`ConnectionEvent::is_routine`]
    /// returns true, else at INFO.
    #[must_use]
    pub fn on_connection_event(
        mut self,
        observer: impl Fn(&ConnectionEvent) + Send + Sync + 'static,
    ) -> Self {
        self.observer = Some(Arc::new(observer));
        self
    }

    /// Measures calls and connections with this meter: see [`metrics`](crate::metrics). Default: no
    /// metrics.
    #[cfg(feature = "otel")]
    #[must_use]
    pub fn metrics(mut self, meter: opentelemetry::metrics::Meter) -> Self {
        self.metrics = ServerMetrics::new(&meter);
        self
    }

    /// Returns the handle that sets the statuses of the built-in `grpc.health.v1.Health`, before
    /// and while the server runs.
    ///
    /// Nothing needs to be set: services are SERVING when they are added, and NOT_SERVING when the
    /// shutdown begins. Clones of this `Server` share the reporter.
    pub fn health(&self) -> HealthReporter {
        self.health.clone()
    }

    /// Leaves out the built-in `grpc.health.v1.Health`.
    ///
    /// This is not needed to replace it: an added service of that name takes its place (and is not
    /// told of shutdowns).
    #[must_use]
    pub fn without_health(mut self) -> Self {
        self.has_own_health = false;
        self
    }

    /// Serves these routes in place of what was added so far. Services can be added to them.
    ///
    /// `routes` are tonic's `Routes`, or an axum `Router`. Its plain HTTP/2 handlers then also have
    /// ageing connections, TLS and this shutdown.
    ///
    /// Requests to the routes are not checked, since each may be plain HTTP. Add gRPC services with
    /// [`add_service`](Self::add_service) after this.
    ///
    /// The server cannot see which services the routes hold. If `grpc.health.v1.Health` is one of
    /// them, call [`without_health`](Self::without_health) as well, or serving panics ("Overlapping
    /// method route"). The built-in one knows `""` and the services of
    /// [`add_service`](Self::add_service). If clients ask for the health of services in the routes,
    /// set it with [`health`](Self::health).
    #[must_use]
    pub fn routes(mut self, routes: impl Into<Routes>) -> Self {
        self.routes = routes.into();
        self
    }

    /// Puts a tower layer around all services, also the built-in health service and those added
    /// later.
    ///
    /// The first layer is the outermost. Calls that the server refuses by its own limits do not
    /// reach it.
    ///
    /// An error of a layer becomes a status, as in tonic: an error of time limits is
    /// DEADLINE_EXCEEDED or CANCELLED, any other UNKNOWN with its text. Each layer costs a call one
    /// allocation.
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
    /// Requests to it must be gRPC. Another method than POST is answered with 405, another content
    /// type than `application/grpc` with 415, and the handler does not run. gRPC-Web content types
    /// and CORS preflights pass, for layers that translate them.
    ///
    /// # Panics
    /// If a service of that name was added before, as in tonic's `Routes`.
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

    /// Serves on `addr` until the future is dropped.
    ///
    /// # Errors
    /// If the server cannot listen on `addr`.
    pub async fn serve(self, addr: SocketAddr) -> Result<(), ServeError> {
        self.serve_with_shutdown(addr, std::future::pending()).await
    }

    /// Serves on `addr` until `shutdown`, then drains; see [above](Self#shutdown). `shutdown` is a
    /// [`Shutdown`], or any future: the shutdown begins when it completes.
    ///
    /// # Errors
    /// If the server cannot listen on `addr`.
    pub async fn serve_with_shutdown(
        self,
        addr: SocketAddr,
        shutdown: impl Into<Shutdown>,
    ) -> Result<(), ServeError> {
        let listener = bind(addr)?;
        self.serve_with_incoming_shutdown([listener], shutdown).await
    }

    /// Like [`serve_with_shutdown`](Self::serve_with_shutdown), on listeners that exist already.
    ///
    /// They come from [`bind`] with port 0, from [`bind_unix`], from
    /// `tokio::net::TcpListener::from_std`, or are a [`Listener`] of your own. To mix kinds, pass
    /// `Box<dyn Listener>`.
    ///
    /// # Errors
    /// None today: once the listeners exist, each error concerns one connection, or passes.
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

/// The name of the health service, built-in or not.
const HEALTH_SERVICE: &str = "grpc.health.v1.Health";
