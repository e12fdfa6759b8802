//! Makes a channel from its settings: checks if they fit together, and starts its tasks.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderValue;
use http::uri::{Authority, Scheme};
#[cfg(feature = "kubernetes")]
use meshless_core::ZonePreference;
use meshless_core::{RetryThrottle, Rng};
use tokio::sync::mpsc;
use tonic::Status;

use super::ChannelBuilder;
use super::error::ChannelError;
use crate::client::channel::Channel;
use crate::client::channel::method::Methods;
use crate::client::channel::pick::{WaitsFor, wait_for_pick};
use crate::client::channel::retries::Retries;
use crate::client::channel::shared::{CallSettings, ChannelShared};
use crate::client::driver::{Driver, DriverConfig};
use crate::client::metrics::ChannelMetrics;
use crate::client::service_config::ServiceConfig;
use crate::resolver::target::{Target, TargetError, TargetKind};
#[cfg(feature = "dns")]
use crate::resolver::{DnsConfig, DnsResolver};
#[cfg(feature = "kubernetes")]
use crate::resolver::{KubernetesConfig, KubernetesResolver};
use crate::resolver::{Resolver, StaticResolver};

impl ChannelBuilder {
    /// Makes the channel, and waits until one backend is ready.
    ///
    /// Use it in tests, tools and jobs that need a backend. A service should use
    /// [`connect_lazy`](Self::connect_lazy): if it passes this error on at its start, it crashes in
    /// a loop until its dependencies have started.
    ///
    /// # Errors
    /// If a setting is invalid, or no backend can be reached: the message names each endpoint and
    /// its error. Takes at most as long as a DNS lookup and an attempt to connect may.
    pub async fn connect(self) -> Result<Channel, ChannelError> {
        let most = CONNECT_LOOKUP + self.connect_timeout.unwrap_or(self.connection.connect_timeout);
        let channel = self.connect_lazy()?;
        let shared = channel.shared();
        let mut rng = shared.begin_call();
        let mut waits_for = WaitsFor::Backend(None);
        let place = wait_for_pick(shared, &mut rng, &[], false, &mut waits_for);
        match tokio::time::timeout(most, place).await {
            Ok(Ok(_)) => {}
            Ok(Err(status)) => return Err(ChannelError::Unavailable(Box::new(status))),
            Err(_) => {
                let status = Status::unavailable(format!("{}: no backend within {most:?}", shared.target));
                return Err(ChannelError::Unavailable(Box::new(status)));
            }
        }
        Ok(channel)
    }

    /// Makes the channel; the first call connects. Must be called within a tokio runtime.
    ///
    /// Use it in services: they then start without waiting for their dependencies. Until a backend
    /// is ready, calls wait for the attempts to connect. If these fail, calls end with UNAVAILABLE
    /// and the reason, or wait until their deadline if they are
    /// [`wait_for_ready`](Self::wait_for_ready).
    ///
    /// # Errors
    /// If a setting is invalid. It does not check if there are backends.
    pub fn connect_lazy(mut self) -> Result<Channel, ChannelError> {
        let runtime = tokio::runtime::Handle::try_current().map_err(|_| ChannelError::NoRuntime)?;
        let target = match &self.resolver {
            Some(_) => Target::for_resolver(&self.target)?,
            None => self.target.parse()?,
        };
        let throttling = self.retry_throttle.unwrap_or_else(|| {
            let configured = self.service_config.as_ref().and_then(ServiceConfig::retry_throttling);
            Some(configured.unwrap_or_default())
        });
        let methods = match &self.service_config {
            Some(config) => config.methods(&self.method),
            None => Methods::new(self.method.clone()),
        };
        self.settle();
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
            shows_endpoints: self.endpoints_in_statuses,
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
        let shared =
            Arc::new(ChannelShared::new(self.target, settings, retries, metrics, seed, events.clone()));
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

    /// Merges settings that were set in two places, so that the order of the setters does not
    /// matter.
    fn settle(&mut self) {
        let mut balancer = std::mem::take(&mut self.balancer);
        if let Some(policy) = self.policy.take() {
            balancer = balancer.policy(policy);
        }
        if let Some(ejection) = self.ejection.take() {
            balancer = balancer.ejection(ejection);
        }
        if let Some(zone) = self.zone.take() {
            balancer = balancer.zone(zone);
        }
        self.balancer = balancer;
        let keepalive = self.connection.keepalive;
        self.connection.keepalive =
            keepalive.map(|keepalive| keepalive.without_calls(self.keepalive_without_calls));
    }

    /// The process is in one zone, which may be set here or in the Kubernetes settings.
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
        TargetKind::Custom { scheme, .. } => {
            let scheme = scheme.clone().unwrap_or_default();
            return Err(TargetError::UnknownScheme { scheme, target: target.to_string() }.into());
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

/// The standard library's hash keys are the only source of randomness without another crate.
fn random_seed() -> u64 {
    use std::hash::{BuildHasher as _, RandomState};
    RandomState::new().hash_one("meshless channel")
}

/// "grpc-<language>-<variant>/<version>" (gRPC over HTTP/2, "User Agents").
const USER_AGENT: &str = concat!("grpc-rust-meshless/", env!("CARGO_PKG_VERSION"));

/// The time for the lookup in `connect()`, in addition to the time to connect: twice the resolver's
/// own limit.
const CONNECT_LOOKUP: Duration = Duration::from_secs(10);
