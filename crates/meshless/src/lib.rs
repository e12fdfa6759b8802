//! Load balancing for gRPC on Kubernetes without a service mesh.
//!
//! A gRPC client keeps one HTTP/2 connection, and a ClusterIP balances connections, not calls: the client's calls all go to
//! one pod, and new pods get none. Two halves mend this, together or each on its own.
//!
//! # The channel
//!
//! [`Channel`] finds every backend, picks one for each call, and loses no call while connections age, drain and come
//! back. Any tonic-generated client works on it:
//!
//! ```no_run
//! use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let channel = meshless::Channel::builder("dns:///echo.shop.svc.cluster.local:50051")
//!         .policy(meshless::Policy::RoundRobin)
//!         .connect_lazy()?; // the first call connects
//!     let mut client = HealthClient::new(channel);
//!     client.check(HealthCheckRequest::default()).await?;
//!     Ok(())
//! }
//! ```
//!
//! # The server
//!
//! [`Server`] ages its connections (gRFC A9), so that clients of any kind come back and are spread again:
//!
//! ```no_run
//! use std::time::Duration;
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     # let (_, echo) = tonic_health::server::health_reporter();
//!     meshless::Server::builder()
//!         .max_connection_age(Duration::from_secs(60)) // ± 10 % for each connection
//!         .max_connection_age_grace(Duration::from_secs(10))
//!         .max_connection_idle(Duration::from_secs(300))
//!         .add_service(echo)
//!         .serve_with_shutdown("[::]:50051".parse()?, meshless::Shutdown::on_signals()?)
//!         .await?;
//!     Ok(())
//! }
//! ```
//!
//! [`serve_connection`] does the same for one connection of any HTTP/2 service, under hyper or axum.

#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;

#[cfg(doctest)]
#[doc = include_str!("../../../docs/failures.md")]
struct FailuresPage;

mod client;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod resolver;
mod server;
mod shared;

pub use client::channel::{
    Channel, ChannelBuilder, ChannelError, ResponseBody, ResponseFuture, Retry, RetryStats, WaitForReady,
};
pub use client::connector::{Connect, Connecting};
pub use client::service_config::{ServiceConfig, ServiceConfigError};
pub use meshless_core::{
    Address, BackoffConfig, BalancerConfig, ChannelState, ChoiceCount, ConnectivityState, Ejection,
    EjectionCause, EjectionConfig, Endpoint, EndpointState, OutlierConfig, Policy, SlowStartConfig,
    SubchannelState, WeightedConfig, ZonePreference,
};
pub use meshless_core::{CloseReason, GoAwayReason, LifetimeConfig};
pub use meshless_core::{Code, CodeSet, HedgingPolicy, InvalidRetryError, RetryPolicy, RetryThrottling};
pub use resolver::target::{KubernetesPort, Target, TargetError, TargetKind};
#[cfg(feature = "dns")]
pub use resolver::{AddressFamilies, DnsConfig, DnsResolver};
#[cfg(feature = "kubernetes")]
pub use resolver::{
    AddressPreference, KubernetesClient, KubernetesConfig, KubernetesError, KubernetesResolver,
};
pub use resolver::{Resolution, ResolveError, ResolveHint, Resolver, StaticResolver};
#[cfg(feature = "tls")]
pub use server::ServerTlsConfig;
pub use server::{
    Accepted, CallContext, CallLimit, ClosedReason, ConnectionChange, ConnectionConfig, ConnectionEvent,
    ConnectionSummary, HealthReporter, Listener, Peer, ServeError, Server, ServingStatus, Shutdown,
    ShutdownHandle, bind, orca, serve_connection,
};
#[cfg(unix)]
pub use server::{UnixListener, bind_unix};
pub use shared::io::{BoxIo, Io};
pub use shared::metrics;
#[cfg(feature = "tls")]
pub use shared::tls::{Pem, TlsConfig, TlsError};
