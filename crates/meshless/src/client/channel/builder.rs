//! The settings of a channel. [`build`] checks them: the target of a built channel parses, and its
//! settings fit together.

mod build;
mod error;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use meshless_core::{
    BalancerConfig, EjectionConfig, HedgingPolicy, LivenessConfig, Policy, RetryPolicy, RetryThrottling,
    ZonePreference,
};

pub use self::error::ChannelError;
use super::method::{MethodSettings, Repeat};
use crate::client::connection::{ConnectionConfig, HeaderLimit};
use crate::client::connector::{Connect, Connector};
use crate::client::service_config::ServiceConfig;
#[cfg(feature = "dns")]
use crate::resolver::DnsConfig;
#[cfg(feature = "kubernetes")]
use crate::resolver::KubernetesConfig;
use crate::resolver::Resolver;
#[cfg(feature = "tls")]
use crate::shared::tls::TlsConfig;

/// Sets up a [`Channel`](super::Channel).
#[must_use = "a builder makes a channel with connect() or connect_lazy()"]
pub struct ChannelBuilder {
    target: String,
    balancer: BalancerConfig,
    policy: Option<Policy>,
    /// `None`: not set. `Some(None)`: off. The same holds for `zone` and `retry_throttle`.
    ejection: Option<Option<EjectionConfig>>,
    zone: Option<Option<ZonePreference>>,
    connection: ConnectionConfig,
    keepalive_without_calls: bool,
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
    retry_throttle: Option<Option<RetryThrottling>>,
    waiting_calls_max: usize,
    endpoints_in_statuses: bool,
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
            policy: None,
            ejection: None,
            zone: None,
            connection: ConnectionConfig {
                keepalive: Some(default_keepalive()),
                ..ConnectionConfig::default()
            },
            keepalive_without_calls: false,
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
            endpoints_in_statuses: true,
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
        self.policy = Some(policy);
        self
    }

    /// All balancing settings: the policy with its parameters, backoff, limits on connecting.
    /// [`policy`](Self::policy), [`ejection`](Self::ejection) and [`zone`](Self::zone) override
    /// what this sets.
    pub fn balancer(mut self, config: BalancerConfig) -> Self {
        self.balancer = config;
        self
    }

    /// When failing backends get no calls for a while. Default: ejected after five consecutive
    /// failures for 5 s, then one call tests the backend; at most half of the backends. `None`
    /// turns it off.
    pub fn ejection(mut self, ejection: impl Into<Option<EjectionConfig>>) -> Self {
        self.ejection = Some(ejection.into());
        self
    }

    /// The zone that this process runs in, spelled as the resolver spells the backends' zones.
    /// Calls stay in it as far as its backends can take their share; the rest goes to zones with
    /// room ([`BalancerConfig::zone`]). An empty name means no zone, so an environment variable may
    /// be missing.
    ///
    /// EndpointSlices name zones. DNS does not, so this has no effect with `dns:///`. A
    /// `kubernetes:///` target first looks for hints for this zone, as with
    /// `KubernetesConfig::zone`; if the Service has them, only they decide.
    pub fn zone(mut self, zone: impl Into<String>) -> Self {
        let zone = Some(zone.into()).filter(|zone| !zone.is_empty());
        self.zone = Some(zone.map(ZonePreference::new));
        self
    }

    /// The longest time that a call may take, from the moment it is made. Default `None`: the
    /// call's own deadline, or no limit if it has none. If both are set, the shorter counts. Zero
    /// fails every call.
    pub fn timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.method.timeout = timeout.into();
        self
    }

    /// If true, calls wait for a backend until their deadline when none can be reached (gRPC's
    /// "wait for ready"). If false, they fail with UNAVAILABLE at once. Default `false`. To set it
    /// for one call: [`WaitForReady`](crate::WaitForReady).
    pub fn wait_for_ready(mut self, wait: bool) -> Self {
        self.method.wait_for_ready = wait;
        self
    }

    /// Sends failed calls again (gRFC A6). Default: only calls that no server has processed, which
    /// needs no policy. To set it for one call: [`Retry`](crate::Retry); for methods:
    /// [`service_config`](Self::service_config).
    ///
    /// The next attempt goes to another backend, if there is one. A call is not sent again once its
    /// response has begun, or if its request is longer than the buffer: 4 MiB if unary, 256 KiB if
    /// a stream.
    pub fn retry(mut self, policy: RetryPolicy) -> Self {
        self.method.repeat = Some(Repeat::Retry(policy));
        self
    }

    /// Sends unary calls again before the first attempt has failed (gRFC A6). Replaces
    /// [`retry`](Self::retry).
    pub fn hedging(mut self, policy: HedgingPolicy) -> Self {
        self.method.repeat = Some(Repeat::Hedge(policy));
        self
    }

    /// Limits how much load retries and hedges add to failing backends; one token bucket per
    /// channel. Default, if there is a policy: 1000 tokens, 0.1 for a success. `None` removes the
    /// limit; do that only where something else protects the backends from a storm of retries.
    pub fn retry_throttle(mut self, throttling: impl Into<Option<RetryThrottling>>) -> Self {
        self.retry_throttle = Some(throttling.into());
        self
    }

    /// Takes gRPC's service config, as Go and Java channels read it. It overrides what is set here,
    /// field by field and method by method; of two timeouts the shorter counts. Only
    /// [`retry_throttle`](Self::retry_throttle) overrides the config.
    pub fn service_config(mut self, config: ServiceConfig) -> Self {
        self.service_config = Some(config);
        self
    }

    /// How many calls may wait for a backend at a time; further calls fail with RESOURCE_EXHAUSTED.
    /// Default 100 000. A waiting call costs about 2 kB and its request.
    pub fn waiting_calls_max(mut self, max: usize) -> Self {
        self.waiting_calls_max = max;
        self
    }

    /// If true, statuses made by the channel name the endpoint, as in `10.0.3.7:50051: the
    /// connection was lost`. Default `true`: the log then says which pod to look at.
    ///
    /// A handler that passes such a status on with `?` shows the addresses of pods to its own
    /// clients. `false` replaces each IP address by `<endpoint>`. Statuses sent by a server are not
    /// changed.
    pub fn endpoints_in_statuses(mut self, shown: bool) -> Self {
        self.endpoints_in_statuses = shown;
        self
    }

    /// How long one attempt to connect may take: TCP, TLS and the HTTP/2 handshake together.
    /// Default `None`, as in gRPC: 20 s, or the pause before the next attempt if that has grown
    /// longer. The attempt goes on in the background if the call that asked for it gives up. At
    /// least 1 ms.
    pub fn connect_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.connect_timeout = timeout.into().map(|timeout| timeout.clamp(CONNECT_TIMEOUT_MIN, LONGEST));
        self
    }

    /// The connections are closed after this time without a call; the next call connects again.
    /// Default 30 min, as in grpc-go. At least 10 ms; `None` never closes them.
    pub fn idle_timeout(mut self, timeout: impl Into<Option<Duration>>) -> Self {
        self.idle_timeout = timeout.into().map(|timeout| timeout.clamp(IDLE_TIMEOUT_MIN, LONGEST));
        self
    }

    /// When a connection with calls in flight is given up because its peer is silent (gRFC A8): a
    /// PING after `time` without a byte from it, and the end `timeout` later. Default 20 s and 20
    /// s; `time` below 10 s counts as 10 s, since servers close connections that ping more often. A
    /// server may allow less: grpc-go's default is one PING in 5 min, enforced while no data flows;
    /// the channel then doubles its interval, as A8 asks. Where this is not set, it does not come
    /// to that: after two PINGs without an answer to a call, the next ones are 5 min 30 s apart.
    ///
    /// A server may allow less: grpc-go's default is one PING in 5 min, enforced while no data
    /// flows. The channel then doubles its interval, as A8 asks. The default setting avoids this:
    /// after two PINGs without an answer to a call, the next ones are 5 min apart.
    ///
    /// `None` as `time` turns keepalive off, with or without calls. It does not change
    /// [`stall_timeout`](Self::stall_timeout).
    pub fn keepalive(mut self, time: impl Into<Option<Duration>>, timeout: Duration) -> Self {
        self.connection.keepalive = time.into().map(|time| LivenessConfig::keepalive(time).timeout(timeout));
        self
    }

    /// If true, PINGs are also sent on connections without calls. Default `false`; many servers
    /// answer `true` with GOAWAY.
    pub fn keepalive_without_calls(mut self, without_calls: bool) -> Self {
        self.keepalive_without_calls = without_calls;
        self
    }

    /// The maximum length of a response's headers, and of its trailers, in bytes. HTTP/2 counts
    /// name, value and 32 bytes for each field. Default 64 KiB; C-core's default is 16 KiB,
    /// grpc-java's 8 KiB, grpc-go's 16 MiB.
    ///
    /// A call with a longer header list fails with RESOURCE_EXHAUSTED. The status says how long the
    /// list was; the backend is not blamed. If the frames of a response carry more than about three
    /// times the limit, the whole connection ends.
    ///
    /// A backend can pin memory until the response is read: up to 2.7 times the limit for the
    /// headers, and again for the trailers, of each call in flight. If it sends only tiny fields,
    /// it can pin up to five times that: 1.8 MB a call by default.
    pub fn max_header_list_size(mut self, bytes: u32) -> Self {
        self.connection.header_limit = HeaderLimit::new(bytes);
        self
    }

    /// How soon calls leave a connection on which calls were sent and no byte has come back. Such a
    /// connection leads to a black hole, a lost node or a stopped process. After this time a PING
    /// is sent. If its answer is late by a quarter of this time, new calls go to other connections
    /// and another one is made. After five times this time the connection is closed, and its calls
    /// fail with UNAVAILABLE. Default 1 s. `None` leaves it to [`keepalive`](Self::keepalive).
    ///
    /// A slow handler costs one PING, which servers answer even while their handlers are busy. An
    /// idle stream costs none. A server that stops for longer than five times this time, as in
    /// garbage collection, loses its calls.
    pub fn stall_timeout(mut self, silence: impl Into<Option<Duration>>) -> Self {
        self.connection.stall = silence.into().map(LivenessConfig::stall);
        self
    }

    /// Watches the gRPC health service of each backend for `service` (gRFC A17,
    /// `healthCheckConfig.serviceName`). The empty name asks about the server as a whole. A backend
    /// gets calls only while it reports SERVING; its connection stays open otherwise. Default: no
    /// watch. A backend without the health service counts as healthy. Off for
    /// [`Policy::PickFirst`], as in gRPC.
    ///
    /// The watch is a stream on each connection, as in gRPC, and counts towards the backend's
    /// `MAX_CONCURRENT_STREAMS`. A backend that allows only one stream cannot be watched: its calls
    /// wait for the watch to end, until their deadline.
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

    /// How often DNS is asked, and for which records.
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

    /// Finds the backends with a custom resolver. The target may then be any URI, such as
    /// `consul:///orders`, or a name without a port. Only its last segment is used, as the
    /// authority.
    pub fn resolver(mut self, resolver: impl Resolver) -> Self {
        self.resolver = Some(Box::new(resolver));
        self
    }

    /// Opens byte streams with a custom connector.
    pub fn connector(mut self, connector: impl Connect) -> Self {
        self.connector = Connector::Custom(Arc::new(connector));
        self
    }

    /// The text in front of the channel's own name in `user-agent`, as in `shop/1.2
    /// grpc-rust-meshless/0.1.0`.
    pub fn user_agent(mut self, name: impl Into<String>) -> Self {
        self.user_agent = Some(name.into());
        self
    }

    /// Replaces the target's host and port as the calls' `:authority`.
    pub fn authority(mut self, authority: impl Into<String>) -> Self {
        self.authority = Some(authority.into());
        self
    }

    /// Seed of the channel's random choices: order of endpoints, jitter, picks. Default: a new seed
    /// for each channel.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Measures calls, attempts, connections and ejections with this meter: see
    /// [`metrics`](crate::metrics). Default: nothing is measured.
    #[cfg(feature = "otel")]
    pub fn metrics(mut self, meter: opentelemetry::metrics::Meter) -> Self {
        self.meter = Some(meter);
        self
    }

    /// The label `grpc.target` of the channel's metrics. Default: its target in canonical form. A
    /// process with many channels, above all to addresses, should set one name for them; gRFC A66
    /// suggests "other".
    #[cfg(feature = "otel")]
    pub fn metrics_target(mut self, name: impl Into<String>) -> Self {
        self.metrics_target = Some(name.into());
        self
    }
}

impl fmt::Debug for ChannelBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChannelBuilder").field("target", &self.target).finish_non_exhaustive()
    }
}

fn default_keepalive() -> LivenessConfig {
    LivenessConfig::keepalive(KEEPALIVE_TIME).sparing()
}

/// On while calls are open. A lost node sends neither FIN nor RST, and TCP alone notices after 15
/// min.
const KEEPALIVE_TIME: Duration = Duration::from_secs(20);

/// As in grpc-go and grpc-java.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30 * 60);

/// A timer that runs more often wakes the channel for nothing.
const IDLE_TIMEOUT_MIN: Duration = Duration::from_millis(10);

/// Less is too short for any connect.
const CONNECT_TIMEOUT_MIN: Duration = Duration::from_millis(1);

/// An instant plus this does not overflow.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// The size of the largest burst in the lab.
const WAITING_CALLS_MAX: usize = 100_000;
