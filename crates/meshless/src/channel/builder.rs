//! What can be set on a channel, and the check of it: a channel in hand has a target that parses and settings that fit.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use http::uri::{Authority, Scheme};
use meshless_core::{
    BalancerConfig, EjectionConfig, HedgingPolicy, Policy, RetryPolicy, RetryThrottle, RetryThrottling, Rng,
    ZonePreference,
};
use tokio::sync::mpsc;

use super::Channel;
use super::method::{MethodSettings, Methods, Repeat};
use super::place::{WaitsFor, wait_for_place};
use super::retries::Retries;
use super::shared::{CallSettings, Shared};
use crate::connection::{ConnectionConfig, KeepaliveConfig, StallConfig};
use crate::connector::{Connect, Connector};
use crate::driver::{Driver, DriverConfig};
use crate::metrics::ChannelMetrics;
#[cfg(feature = "dns")]
use crate::resolver::{DnsConfig, DnsResolver};
#[cfg(feature = "kubernetes")]
use crate::resolver::{KubernetesConfig, KubernetesResolver};
use crate::resolver::{Resolver, StaticResolver};
use crate::service_config::ServiceConfig;
use crate::target::{Target, TargetError, TargetKind};
#[cfg(feature = "tls")]
use crate::tls::{TlsConfig, TlsError};

/// Settings of a [`Channel`] to be.
#[must_use = "a builder makes a channel with connect() or connect_lazy()"]
pub struct ChannelBuilder {
    target: String,
    balancer: BalancerConfig,
    connection: ConnectionConfig,
    connect_timeout: Option<Duration>,
    connector: Connector,
    resolver: Option<Box<dyn Resolver>>,
    #[cfg(feature = "dns")]
    dns: DnsConfig,
    #[cfg(feature = "kubernetes")]
    kubernetes: KubernetesConfig,
    #[cfg(feature = "tls")]
    tls: Option<TlsConfig>,
    health_service: Option<String>,
    method: MethodSettings,
    service_config: Option<ServiceConfig>,
    /// `None`: not set. `Some(None)`: switched off.
    retry_throttle: Option<Option<RetryThrottling>>,
    waiting_calls_max: usize,
    idle_timeout: Option<Duration>,
    user_agent: Option<String>,
    authority: Option<String>,
    seed: Option<u64>,
    #[cfg(feature = "otel")]
    meter: Option<opentelemetry::metrics::Meter>,
    #[cfg(feature = "otel")]
    metrics_target: Option<String>,
}

impl ChannelBuilder {
    pub(super) fn new(target: String) -> Self {
        Self {
            target,
            balancer: BalancerConfig::default(),
            connection: ConnectionConfig {
                keepalive: Some(default_keepalive()),
                ..ConnectionConfig::default()
            },
            connect_timeout: None,
            connector: Connector::default(),
            resolver: None,
            #[cfg(feature = "dns")]
            dns: DnsConfig::default(),
            #[cfg(feature = "kubernetes")]
            kubernetes: KubernetesConfig::default(),
            #[cfg(feature = "tls")]
            tls: None,
            health_service: None,
            method: MethodSettings::default(),
            service_config: None,
            retry_throttle: None,
            waiting_calls_max: WAITING_CALLS_MAX,
            idle_timeout: Some(IDLE_TIMEOUT),
            user_agent: None,
            authority: None,
            seed: None,
            #[cfg(feature = "otel")]
            meter: None,
            #[cfg(feature = "otel")]
            metrics_target: None,
        }
    }

    /// How a backend is chosen for each call. Default [`Policy::RoundRobin`].
    pub fn policy(mut self, policy: Policy) -> Self {
        self.balancer = self.balancer.policy(policy);
        self
    }

    /// Everything about balancing: the policy with its parameters, backoff, bounds on connecting. Replaces what
    /// [`policy`](Self::policy) set.
    pub fn balancer(mut self, config: BalancerConfig) -> Self {
        self.balancer = config;
        self
    }

    /// When backends whose calls fail get no more of them for a while. Default: after five failures in a row, for 5 s, then one
    /// call tries; never more than half of the backends. Part of [`balancer`](Self::balancer): call it after that.
    pub fn ejection(mut self, ejection: EjectionConfig) -> Self {
        self.balancer = self.balancer.ejection(ejection);
        self
    }

    /// The zone that this process runs in, as the resolver names those of the backends: calls stay there as far as its
    /// backends can take their share, and the rest goes where there is room ([`BalancerConfig::zone`]). An empty name is none, so that
    /// an environment variable may be missing. Part of [`balancer`](Self::balancer): call it after that.
    ///
    /// EndpointSlices name zones, DNS does not: with `dns:///` this has no effect. A `kubernetes:///` target first looks for hints for
    /// this zone, as with `KubernetesConfig::zone`; where the Service has them, they alone decide.
    pub fn zone(mut self, zone: impl Into<String>) -> Self {
        let zone = Some(zone.into()).filter(|zone| !zone.is_empty());
        self.balancer = self.balancer.zone(zone.map(ZonePreference::new));
        self
    }

    /// The longest that a call may take, from the moment it is made. Default: as long as the call's own deadline says,
    /// for ever without one. Where both are set, the shorter counts. Zero fails every call.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.method.timeout = Some(timeout);
        self
    }

    /// Whether calls wait when no backend can be reached, until their deadline, rather than fail with UNAVAILABLE at
    /// once (gRPC's "wait for ready"). Default `false`. One call can differ: [`WaitForReady`](crate::WaitForReady).
    pub fn wait_for_ready(mut self, wait: bool) -> Self {
        self.method.wait_for_ready = wait;
        self
    }

    /// Sends calls that failed again (gRFC A6). Default: only those that no server has processed, which needs no
    /// policy. One call can differ: [`Retry`](crate::Retry); methods can: [`service_config`](Self::service_config).
    ///
    /// The next attempt goes to another backend, if there is one. A call whose response has begun is not sent again, nor one
    /// whose request is longer than what is kept of it: 4 MiB if unary, 256 KiB if a stream.
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.method.repeat = Some(Repeat::Retry(policy));
        self
    }

    /// Sends unary calls a second time before the first attempt has failed (gRFC A6). In place of
    /// [`retry`](Self::retry).
    pub fn hedging(mut self, policy: HedgingPolicy) -> Self {
        self.method.repeat = Some(Repeat::Hedge(policy));
        self
    }

    /// Bounds what retries and hedges add to the load of backends that fail: one bucket for the channel. Default, where
    /// there is a policy: 1000 tokens, 0.1 for a success. `None` removes the bound; do that only where something else
    /// protects the backends from a storm of retries.
    pub fn retry_throttle(mut self, throttling: impl Into<Option<RetryThrottling>>) -> Self {
        self.retry_throttle = Some(throttling.into());
        self
    }

    /// Takes gRPC's service config, as Go and Java channels read it. What it says comes before what is set here,
    /// field by field and method by method; of two timeouts the shorter counts. Only
    /// [`retry_throttle`](Self::retry_throttle) comes before the config's.
    pub fn service_config(mut self, config: ServiceConfig) -> Self {
        self.service_config = Some(config);
        self
    }

    /// How many calls may wait for a backend at a time; one more fails with RESOURCE_EXHAUSTED. Default 100 000. A
    /// call that waits costs about 2 kB and its request.
    pub fn waiting_calls_max(mut self, max: usize) -> Self {
        self.waiting_calls_max = max;
        self
    }

    /// How long one attempt to connect may take: TCP, TLS and the HTTP/2 handshake together. Default as in gRPC: 20 s, or
    /// the pause before the next attempt if that has grown longer. An attempt goes on in the background when the call that asked for it has given up.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = Some(timeout);
        self
    }

    /// After how long without a call the connections are closed; the next call connects again. Default 30 min, as in
    /// grpc-go. `None` keeps them.
    pub fn idle_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.idle_timeout = timeout;
        self
    }

    /// When a connection with calls in flight is given up because its peer is silent (gRFC A8): a PING after `time`
    /// without a byte from it, and the end `timeout` later. Default 20 s and 20 s; `time` below 10 s counts as 10 s,
    /// since servers close connections that ping more often. A server may allow less: grpc-go's default is one PING in
    /// 5 min, enforced while no data flows; the channel then doubles its interval, as A8 asks. Where this is not set, it does not come to
    /// that: after two PINGs without an answer to a call, the next ones are 5 min apart.
    pub fn keepalive(mut self, time: Duration, timeout: Duration) -> Self {
        self.connection.keepalive = Some(KeepaliveConfig::every(time).timeout(timeout));
        self
    }

    /// Whether to send PINGs on connections without calls, too. Default `false`; many servers answer `true` with
    /// GOAWAY.
    pub fn keepalive_without_calls(mut self, without_calls: bool) -> Self {
        let keepalive = self.connection.keepalive.unwrap_or_else(default_keepalive);
        self.connection.keepalive = Some(keepalive.without_calls(without_calls));
        self
    }

    /// How soon calls leave a connection on which calls were sent and not one byte has come back: a black hole, a node that is gone, a
    /// process that stands still. After this long a PING is sent; when its answer is a quarter of this late, new calls go to other
    /// connections and another one is made; after five times this the connection is closed, and calls on it fail with UNAVAILABLE.
    /// Default 1 s. `None` leaves it to [`keepalive`](Self::keepalive).
    ///
    /// A slow handler costs one PING, which servers answer whatever their handlers do; a stream that rests costs none. A server that
    /// stands still for longer than five times this, as in a collection of garbage, loses the calls that it has.
    pub fn stall_timeout(mut self, silence: Option<Duration>) -> Self {
        self.connection.stall = silence.map(StallConfig::after);
        self
    }

    /// Watches the gRPC health service of each backend for `service` (gRFC A17, `healthCheckConfig.serviceName`); the empty name asks about
    /// the server as a whole. A backend gets calls once it says SERVING, and no more when it says anything else, with its connection left
    /// open. Default: no watch. A backend without the health service counts as healthy. Off for [`Policy::PickFirst`], as in gRPC.
    pub fn health_check(mut self, service: impl Into<String>) -> Self {
        self.health_service = Some(service.into());
        self
    }

    /// Uses TLS. Required for `https://` targets; refused for `http://`.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, tls: TlsConfig) -> Self {
        self.tls = Some(tls);
        self
    }

    /// How often DNS is asked, and for what.
    #[cfg(feature = "dns")]
    pub fn dns(mut self, config: DnsConfig) -> Self {
        self.dns = config;
        self
    }

    /// How `kubernetes:///` targets read their Service, and the zone that this process runs in.
    #[cfg(feature = "kubernetes")]
    pub fn kubernetes(mut self, config: KubernetesConfig) -> Self {
        self.kubernetes = config;
        self
    }

    /// Finds the backends by your own means; of the target, only the authority is then used.
    pub fn resolver(mut self, resolver: impl Resolver) -> Self {
        self.resolver = Some(Box::new(resolver));
        self
    }

    /// Opens byte streams by your own means.
    pub fn connector(mut self, connector: impl Connect) -> Self {
        self.connector = Connector::Custom(Arc::new(connector));
        self
    }

    /// Put before the channel's own name in `user-agent`, as in `shop/1.2 grpc-rust-meshless/0.1.0`.
    pub fn user_agent(mut self, name: impl Into<String>) -> Self {
        self.user_agent = Some(name.into());
        self
    }

    /// `:authority` of the calls, in place of the target's host and port.
    pub fn authority(mut self, authority: impl Into<String>) -> Self {
        self.authority = Some(authority.into());
        self
    }

    /// Seed of the channel's random choices: order of endpoints, jitter, picks. Default: another one each time.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Measures calls, attempts, connections and ejections with this meter: see [`metrics`](crate::metrics). Default: nothing is
    /// measured.
    #[cfg(feature = "otel")]
    pub fn metrics(mut self, meter: opentelemetry::metrics::Meter) -> Self {
        self.meter = Some(meter);
        self
    }

    /// The label `grpc.target` of the channel's metrics. Default: its target in the canonical form, which is too much where a
    /// process has many channels, to addresses above all; gRFC A66 suggests "other" for those.
    #[cfg(feature = "otel")]
    pub fn metrics_target(mut self, name: impl Into<String>) -> Self {
        self.metrics_target = Some(name.into());
        self
    }

    /// Makes the channel, and waits until one backend is ready.
    ///
    /// # Errors
    /// If something in the settings does not fit, or no backend can be reached: the message names each endpoint and what
    /// was wrong with it. Takes at most as long as a DNS lookup and an attempt to connect may.
    pub async fn connect(self) -> Result<Channel, ChannelError> {
        let most = CONNECT_LOOKUP + self.connect_timeout.unwrap_or(self.connection.connect_timeout);
        let channel = self.connect_lazy()?;
        let shared = channel.shared();
        let mut rng = shared.begin_call();
        let mut waits_for = WaitsFor::Backend(None);
        let place = wait_for_place(shared, &mut rng, &[], false, &mut waits_for);
        match tokio::time::timeout(most, place).await {
            Ok(Ok(_)) => {}
            Ok(Err(status)) => return Err(ChannelError::Unavailable(status.message().to_owned())),
            Err(_) => {
                return Err(ChannelError::Unavailable(format!(
                    "{}: no backend within {most:?}",
                    shared.target
                )));
            }
        }
        Ok(channel)
    }

    /// Makes the channel; the first call connects. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// If something in the settings does not fit. Whether there are backends is for the first call to find out.
    pub fn connect_lazy(mut self) -> Result<Channel, ChannelError> {
        let runtime = tokio::runtime::Handle::try_current().map_err(|_| ChannelError::NoRuntime)?;
        let target: Target = self.target.parse()?;
        let throttling = self.retry_throttle.unwrap_or_else(|| {
            let configured = self.service_config.as_ref().and_then(ServiceConfig::retry_throttling);
            Some(configured.unwrap_or_default())
        });
        let methods = match &self.service_config {
            Some(config) => config.methods(&self.method),
            None => Methods::new(self.method.clone()),
        };
        #[cfg(feature = "kubernetes")]
        self.agree_on_zone();
        if let Some(config) = &self.service_config {
            self.balancer = config.apply_to(self.balancer);
            self.health_service =
                self.health_service.or_else(|| config.health_check_service().map(str::to_owned));
        }
        let settings = CallSettings {
            scheme: if self.uses_tls() { Scheme::HTTPS } else { Scheme::HTTP },
            authority: self.parsed_authority(&target)?,
            user_agent: self.parsed_user_agent()?,
            methods,
            waiting_max: self.waiting_calls_max,
        };
        #[cfg(feature = "tls")]
        let tls = match (target.tls(), &self.tls) {
            (Some(false), Some(_)) => return Err(ChannelError::TlsForPlainText(self.target)),
            (Some(true), None) => return Err(ChannelError::TlsMissing(self.target)),
            (_, Some(tls)) => Some(tls.build(&target.server_name())?),
            (_, None) => None,
        };
        #[cfg(not(feature = "tls"))]
        if target.tls() == Some(true) {
            return Err(ChannelError::TlsMissing(self.target));
        }
        let seed = self.seed.unwrap_or_else(random_seed);
        let (events, received) = mpsc::unbounded_channel();
        let retries = Retries::new(throttling.map(RetryThrottle::new));
        let metrics = self.channel_metrics(&target);
        let shared = Arc::new(Shared::new(self.target, settings, retries, metrics, seed, events.clone()));
        let resolver = match self.resolver {
            Some(resolver) => resolver,
            None => resolver_of(
                &target,
                #[cfg(feature = "dns")]
                self.dns,
                #[cfg(feature = "kubernetes")]
                self.kubernetes,
            )?,
        };
        let config = DriverConfig {
            balancer: self.balancer,
            connection: self.connection,
            connect_timeout: self.connect_timeout,
            connector: self.connector,
            #[cfg(feature = "tls")]
            tls,
            health_service: self.health_service.map(Into::into),
            idle_timeout: self.idle_timeout,
            rng: Rng::new(seed, u64::MAX),
        };
        runtime.spawn(Driver::new(config, resolver, Arc::clone(&shared), events, received).run());
        Ok(Channel::new(shared))
    }

    /// The process is in one zone, whoever was told of it.
    #[cfg(feature = "kubernetes")]
    fn agree_on_zone(&mut self) {
        match (self.balancer.zone_preference(), self.kubernetes.own_zone()) {
            (Some(preference), None) => {
                self.kubernetes = std::mem::take(&mut self.kubernetes).zone(preference.own());
            }
            (None, Some(zone)) => {
                let preference = ZonePreference::new(zone);
                self.balancer = self.balancer.clone().zone(Some(preference));
            }
            _ => {}
        }
    }

    #[cfg(feature = "otel")]
    fn channel_metrics(&mut self, target: &Target) -> ChannelMetrics {
        let name = self.metrics_target.take().unwrap_or_else(|| target.to_string());
        self.meter.take().map_or_else(ChannelMetrics::default, |meter| ChannelMetrics::new(&meter, name))
    }

    #[cfg(not(feature = "otel"))]
    fn channel_metrics(&mut self, _: &Target) -> ChannelMetrics {
        ChannelMetrics::default()
    }

    fn uses_tls(&self) -> bool {
        #[cfg(feature = "tls")]
        return self.tls.is_some();
        #[cfg(not(feature = "tls"))]
        false
    }

    fn parsed_authority(&self, target: &Target) -> Result<Authority, ChannelError> {
        let authority = self.authority.clone().unwrap_or_else(|| target.authority());
        Authority::try_from(authority.as_str()).map_err(|_| ChannelError::Authority(authority))
    }

    fn parsed_user_agent(&self) -> Result<HeaderValue, ChannelError> {
        let agent = match &self.user_agent {
            None => USER_AGENT.to_owned(),
            Some(name) => format!("{name} {USER_AGENT}"),
        };
        HeaderValue::try_from(&agent).map_err(|_| ChannelError::UserAgent(agent))
    }
}

impl fmt::Debug for ChannelBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChannelBuilder").field("target", &self.target).finish_non_exhaustive()
    }
}

/// Why there is no channel.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChannelError {
    /// The target is not one.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The TLS settings do not fit.
    #[cfg(feature = "tls")]
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// TLS settings for a target that says plain text.
    #[error("{0} asks for plain text, but TLS is set; write https:// or leave out tls(…)")]
    TlsForPlainText(String),
    /// A target that says TLS, without settings for it.
    #[error(
        "{0} asks for TLS, but whom to trust is not set; enable the feature `tls` and call tls(TlsConfig::trusting(…))"
    )]
    TlsMissing(String),
    /// The target needs DNS, and the feature is off.
    #[error("{0} needs DNS; enable the feature `dns` of meshless, or set a resolver")]
    DnsMissing(String),
    /// The target needs Kubernetes, and the feature is off.
    #[error(
        "{0} needs Kubernetes; enable the feature `kubernetes` of meshless, use dns:///, or set a resolver"
    )]
    KubernetesMissing(String),
    /// The authority cannot be sent.
    #[error("authority {0:?} is not a host and port; set authority(…) to what servers expect as :authority")]
    Authority(String),
    /// The user agent cannot be sent.
    #[error("user agent {0:?} is not a header value; use visible ASCII characters")]
    UserAgent(String),
    /// `connect_lazy` was called outside of tokio.
    #[error("a channel needs a tokio runtime; make it within one")]
    NoRuntime,
    /// No backend could be reached.
    #[error("{0}")]
    Unavailable(String),
}

fn resolver_of(
    target: &Target,
    #[cfg(feature = "dns")] dns: DnsConfig,
    #[cfg(feature = "kubernetes")] kubernetes: KubernetesConfig,
) -> Result<Box<dyn Resolver>, ChannelError> {
    Ok(match target.kind() {
        TargetKind::Addresses(addresses) => Box::new(StaticResolver::new(addresses.iter().copied())),
        TargetKind::Unix(path) => Box::new(StaticResolver::new([path.clone()])),
        #[cfg(feature = "dns")]
        TargetKind::Dns { name_server, host, port } => {
            let resolver = DnsResolver::new(host.clone(), *port, dns);
            Box::new(match name_server {
                Some(name_server) => resolver.name_server(*name_server),
                None => resolver,
            })
        }
        #[cfg(not(feature = "dns"))]
        TargetKind::Dns { .. } => return Err(ChannelError::DnsMissing(target.to_string())),
        #[cfg(feature = "kubernetes")]
        TargetKind::Kubernetes { service, namespace, port } => {
            let resolver = KubernetesResolver::new(service.clone(), port.clone(), kubernetes);
            #[cfg(feature = "dns")]
            let resolver = resolver.dns(dns);
            Box::new(match namespace {
                Some(namespace) => resolver.namespace(namespace.clone()),
                None => resolver,
            })
        }
        #[cfg(not(feature = "kubernetes"))]
        TargetKind::Kubernetes { .. } => return Err(ChannelError::KubernetesMissing(target.to_string())),
    })
}

/// The standard library's hash keys are the one source of randomness that needs no crate.
fn random_seed() -> u64 {
    use std::hash::{BuildHasher as _, RandomState};
    RandomState::new().hash_one("meshless channel")
}

fn default_keepalive() -> KeepaliveConfig {
    KeepaliveConfig::every(KEEPALIVE_TIME).sparing()
}

/// "grpc-<language>-<variant>/<version>" (gRPC over HTTP/2, "User Agents").
const USER_AGENT: &str = concat!("grpc-rust-meshless/", env!("CARGO_PKG_VERSION"));

/// On while calls are open, since a node that is lost sends neither FIN nor RST, and TCP alone notices after 15 min.
const KEEPALIVE_TIME: Duration = Duration::from_secs(20);

/// As in grpc-go and grpc-java.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30 * 60);

/// As many as the largest burst of the lab.
const WAITING_CALLS_MAX: usize = 100_000;

/// What `connect()` allows for the lookup, beside the time to connect: twice the resolver's own limit.
const CONNECT_LOOKUP: Duration = Duration::from_secs(10);
