//! A control plane: its settings, its parts, and the server that clients reach it by.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use meshless::Server;
use meshless::server::ServingStatus;
use meshless_core::Debounce;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::follow;
use crate::policy::PolicyBook;
use crate::registry::{self, Command, RegistryConfig, RegistryHandle};
use crate::service::{DiscoveryService, LoadReportingStub};
use crate::source::{Declared, Source, SourceError, Sources};
use crate::stats::{Stats, StatsSnapshot};
use crate::status::{self, ClientStatus, Clients, ServiceStatus};

/// The settings of a control plane.
///
/// ```
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// use meshless_xds::{ControlPlaneConfig, Source};
///
/// let control_plane = ControlPlaneConfig::new()
///     .service("echo.shop:50051", Source::Target("ipv4:127.0.0.1:3001,127.0.0.2:3001".parse()?))
///     .start()?;
/// control_plane.server().serve("127.0.0.1:18000".parse()?).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing happens before `start`"]
pub struct ControlPlaneConfig {
    declared: Declared,
    sources: Sources,
    policies: PolicyBook,
    policy_file: Option<PathBuf>,
    endpoints_file: Option<PathBuf>,
    hold: Duration,
    debounce: Debounce,
    names_max: usize,
    identifier: String,
}

/// A control plane could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// A declared service has a target that clients cannot be sent to.
    #[error("{name}: {error}")]
    Source {
        /// The service.
        name: String,
        /// What is wrong with its target.
        error: SourceError,
    },
    /// Clients could not write this name.
    #[error("{0:?} is no name to dial; write service.namespace:port, as clients have it after xds:///")]
    Name(String),
    /// A file cannot be read, or says what it must not.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// No service is declared, and no namespace is served.
    #[error("there is nothing to serve; declare a service or a namespace")]
    Nothing,
}

impl ControlPlaneConfig {
    /// The defaults, without a service.
    pub fn new() -> Self {
        Self {
            declared: Declared::new(),
            sources: Sources::default(),
            policies: PolicyBook::default(),
            policy_file: None,
            endpoints_file: None,
            hold: Duration::from_secs(3600),
            debounce: Debounce::new(Duration::from_millis(50), Duration::from_secs(1)),
            names_max: 500,
            identifier: String::new(),
        }
    }

    /// Declares a service that clients dial as `xds:///name`. The last one of a name counts.
    pub fn service(mut self, name: impl Into<String>, source: Source) -> Self {
        self.declared.insert(name.into().into(), source);
        self
    }

    /// Services from a file, in the form of [`read_endpoints`](crate::read_endpoints), read again
    /// when it changes. One that [`service`](Self::service) declares has that source.
    pub fn endpoints_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.endpoints_file = Some(path.into());
        self
    }

    /// Serves every Service of this namespace, by the name `service.namespace:port` with the number
    /// or name of its pods' port. Each is watched from the first client on that dials it. Can be
    /// said more than once.
    #[cfg(feature = "kubernetes")]
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.sources.namespaces.push(namespace.into());
        self
    }

    /// How EndpointSlices are read. Default: by the pod's service account.
    #[cfg(feature = "kubernetes")]
    pub fn kubernetes(mut self, config: meshless::resolver::KubernetesConfig) -> Self {
        self.sources.kubernetes = config;
        self
    }

    /// How names are looked up.
    pub fn dns(mut self, config: meshless::resolver::DnsConfig) -> Self {
        self.sources.dns = config;
        self
    }

    /// What holds for the services. Default: round_robin, and nothing else.
    pub fn policies(mut self, policies: PolicyBook) -> Self {
        self.policies = policies;
        self
    }

    /// Policies from a file in the form of [`PolicyBook`], read again when it changes. A file that
    /// becomes wrong changes nothing, but for a line in the log.
    pub fn policy_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.policy_file = Some(path.into());
        self
    }

    /// How long the last endpoints of a service are held when its source says that there are none.
    /// Default 1 h. Zero: not at all. A source that cannot be read says nothing, and is waited for
    /// without a bound.
    pub fn hold(mut self, hold: Duration) -> Self {
        self.hold = hold;
        self
    }

    /// How long changes are gathered: the first after a quiet time for `shortest`, under churn up to
    /// `longest`. Defaults 50 ms and 1 s.
    pub fn debounce(mut self, shortest: Duration, longest: Duration) -> Self {
        self.debounce = Debounce::new(shortest, longest);
        self
    }

    /// How many names of one type a stream may ask for. Default 500: grpc-js has one stream for all
    /// targets of a process, the others one for each. A stream that asks for more is ended with
    /// RESOURCE_EXHAUSTED.
    pub fn names_max(mut self, names: usize) -> Self {
        self.names_max = names;
        self
    }

    /// What clients are told answers them, as in `meshless-xds-7c9f`. Default empty.
    pub fn identifier(mut self, identifier: impl Into<String>) -> Self {
        self.identifier = identifier.into();
        self
    }

    /// Starts it, on this tokio runtime. It listens nowhere by itself.
    ///
    /// # Errors
    /// If a target cannot be served, a name not be dialled, a file not be read, or nothing is there
    /// to serve.
    pub fn start(self) -> Result<ControlPlane, StartError> {
        let Self { declared, sources, mut policies, policy_file, endpoints_file, hold, debounce, .. } = self;
        if let Some(path) = &policy_file {
            policies = follow::read(path, PolicyBook::from_json)?;
            policies.warnings().iter().for_each(|warning| tracing::warn!("{}: {warning}", path.display()));
        }
        let mut all = match &endpoints_file {
            Some(path) => follow::read(path, crate::read_endpoints)?,
            None => BTreeMap::new(),
        };
        all.extend(declared.clone());
        if all.is_empty() && sources.namespaces.is_empty() && endpoints_file.is_none() {
            return Err(StartError::Nothing);
        }
        for (name, source) in &all {
            if !is_dialled(name) {
                return Err(StartError::Name(name.to_string()));
            }
            let refused = |error| StartError::Source { name: name.to_string(), error };
            sources.declared(source).map_err(refused)?;
        }
        let stats = Arc::new(Stats::default());
        let config = RegistryConfig { sources, policies, declared: all, hold, debounce };
        let (registry, task) = registry::start(config, Arc::clone(&stats));
        let mut tasks = vec![task.abort_handle()];
        let commands = registry.commands.clone();
        if let Some(path) = policy_file {
            let commands = commands.clone();
            tasks.push(follow::start(path, PolicyBook::from_json, move |policies| {
                drop(commands.send(Command::Policies(policies)));
            }));
        }
        if let Some(path) = endpoints_file {
            tasks.push(follow::start(path, crate::read_endpoints, move |mut file| {
                file.extend(declared.clone());
                drop(commands.send(Command::Declared(file)));
            }));
        }
        let shared = Shared {
            registry,
            clients: Clients::default(),
            stats,
            names_max: self.names_max,
            identifier: self.identifier,
            tasks,
        };
        Ok(ControlPlane { shared: Arc::new(shared) })
    }
}

impl Default for ControlPlaneConfig {
    fn default() -> Self {
        Self::new()
    }
}

/// A control plane that runs. Clones are the same one; it ends with the last of them and the last of
/// its streams.
#[derive(Clone, Debug)]
pub struct ControlPlane {
    shared: Arc<Shared>,
}

/// What streams share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) registry: RegistryHandle,
    pub(crate) clients: Clients,
    pub(crate) stats: Arc<Stats>,
    pub(crate) names_max: usize,
    pub(crate) identifier: String,
    tasks: Vec<AbortHandle>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

impl ControlPlane {
    /// The discovery service alone, for a server of one's own.
    pub fn discovery_service(&self) -> DiscoveryService {
        DiscoveryService::new(Arc::clone(&self.shared))
    }

    /// A server with the services of this control plane and settings that suit them; others can
    /// follow, such as TLS. Its health is NOT_SERVING until every source has been read.
    ///
    /// Connections age after 7.5 min, so that replicas share the clients; a client counts that as no
    /// error. Silent ones are pinged each 30 s. A client may ping each minute.
    ///
    /// Must be called on a tokio runtime.
    pub fn server(&self) -> Server {
        let server = Server::builder()
            .max_connection_age(CONNECTION_AGE)
            .max_connection_age_grace(Duration::from_secs(10))
            .keepalive(Duration::from_secs(30), Duration::from_secs(20))
            .ping_enforcement(Duration::from_secs(60), true)
            .max_concurrent_streams(STREAMS_MAX)
            .drain_timeout(Duration::from_secs(10))
            .add_service(self.discovery_service())
            .add_service(LoadReportingStub);
        if !self.is_ready() {
            let health = server.health();
            health.set_status("", ServingStatus::NotServing);
            let mut ready = self.shared.registry.ready.clone();
            tokio::spawn(async move {
                if ready.wait_for(|ready| *ready).await.is_ok() {
                    health.set_status("", ServingStatus::Serving);
                }
            });
        }
        server
    }

    /// Answers `/services`, `/clients`, `/metrics` and `/ready` on this listener, for as long as the
    /// future is polled. It tells everybody who asks: keep it within the cluster.
    pub async fn serve_status(&self, listener: TcpListener) {
        status::http::serve(self.clone(), listener).await;
    }

    /// True once every namespace has been listed and every declared service has endpoints, or a
    /// reason to have none.
    pub fn is_ready(&self) -> bool {
        *self.shared.registry.ready.borrow()
    }

    /// Waits for that.
    pub async fn ready(&self) {
        // It is gone only with the whole control plane.
        drop(self.shared.registry.ready.clone().wait_for(|ready| *ready).await);
    }

    /// The services that are declared or dialled.
    pub async fn services(&self) -> Vec<ServiceStatus> {
        let (reply, report) = oneshot::channel();
        drop(self.shared.registry.commands.send(Command::Report(reply)));
        report.await.unwrap_or_default()
    }

    /// The clients whose streams are open.
    pub fn clients(&self) -> Vec<ClientStatus> {
        self.shared.clients.report(Instant::now().into_std())
    }

    /// What was counted since the start.
    pub fn stats(&self) -> StatsSnapshot {
        self.shared.stats.read()
    }

    /// Measures with this meter from now on, under names that begin with `meshless.xds.`: streams,
    /// pushes and their bytes, refusals, services, and those whose endpoints are held or cannot be
    /// read. The server has metrics of its own: [`Server::metrics`].
    #[cfg(feature = "otel")]
    pub fn metrics(&self, meter: &opentelemetry::metrics::Meter) {
        crate::metrics::observe(meter, &self.shared);
    }

    pub(crate) fn clients_count(&self) -> usize {
        self.shared.clients.len()
    }
}

/// A name that a client can write behind `xds:///`.
fn is_dialled(name: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_graphic() && !b"/?#%".contains(&byte))
}

const NAME_BYTES_MAX: usize = 260;
/// Between 5 and 10 min with the jitter: long enough to cost nothing, and a replica that is new has
/// its share of the clients soon.
const CONNECTION_AGE: Duration = Duration::from_secs(450);
/// A client has one stream for discovery and one for load reports on a connection.
const STREAMS_MAX: u32 = 100;
