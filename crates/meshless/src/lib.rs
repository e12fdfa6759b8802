//! Load balancing for gRPC on Kubernetes without a service mesh.
//!
//! A gRPC client keeps one HTTP/2 connection, and a ClusterIP balances connections, not calls. So
//! the client's calls all go to one pod, and new pods get none. Two halves solve this, together or
//! separately.
//!
//! # The channel
//!
//! [`Channel`] finds every backend, picks one for each call, and loses no call while connections
//! age, drain and come back. Any tonic-generated client works on it:
//!
//! ```no_run
//! use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
//!
//! # #[cfg(not(feature = "client"))] fn main() {}
//! # #[cfg(feature = "client")]
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
//! [`Server`] ages its connections (gRFC A9), so that any client connects again after a while, and
//! reaches another pod:
//!
//! ```no_run
//! use std::time::Duration;
//!
//! # #[cfg(not(feature = "server"))] fn main() {}
//! # #[cfg(feature = "server")]
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
//! [`serve_connection`] does the same for one connection of any HTTP/2 service, under hyper or
//! axum.
//!
//! # Where things are
//!
//! The names that most programs need are at the root. The others are in modules by concern:
//! `client` (what a channel shows, byte streams of one's own), `balancing`, `retry`, `resolver`
//! (targets, DNS, Kubernetes), `server`, [`orca`] (reports of load), `tls`, [`metrics`].
//!
//! | feature | brings |
//! |---|---|
//! | `client` (default) | the channel |
//! | `server` (default) | the server |
//! | `dns` (default) | `dns:///` targets |
//! | `kubernetes` | `kubernetes:///` targets |
//! | `tls` | TLS at both ends |
//! | `otel` | OpenTelemetry metrics |

// docs.rs sets it, and each item then says which feature brings it.
#![cfg_attr(docsrs, feature(doc_cfg))]

#[cfg(all(doctest, feature = "client", feature = "server"))]
mod book;

#[cfg(not(any(feature = "client", feature = "server")))]
compile_error!("meshless without its features `client` and `server` is empty: enable one of them, or both");

#[cfg(feature = "client")]
pub mod client;
#[cfg(all(feature = "client", any(test, feature = "fuzzing")))]
#[doc(hidden)]
pub mod fuzzing;
#[cfg(feature = "client")]
pub mod resolver;
#[cfg(feature = "server")]
pub mod server;
mod shared;

pub use shared::metrics;

#[cfg(feature = "client")]
pub use balancing::Policy;
#[cfg(feature = "client")]
pub use client::{Channel, ChannelBuilder, ChannelError, ChannelState, ServiceConfig, WaitForReady};
#[cfg(feature = "client")]
pub use resolver::{Endpoint, Resolver, Target};
#[cfg(feature = "client")]
pub use retry::{HedgingPolicy, Retry, RetryPolicy, RetryThrottling};
#[cfg(feature = "server")]
pub use server::{
    CallContext, CallLimit, HealthReporter, ServeError, Server, Shutdown, ShutdownHandle, orca,
    serve_connection,
};
#[cfg(all(feature = "server", feature = "tls"))]
pub use tls::ServerTlsConfig;
#[cfg(feature = "tls")]
pub use tls::{Pem, TlsConfig};

/// How a channel chooses a backend: policies, ejection, weights, zones, limits.
#[cfg(feature = "client")]
pub mod balancing {
    pub use meshless_core::{
        BackoffConfig, BalancerConfig, ChoiceCount, Ejection, EjectionCause, EjectionConfig,
        InvalidBackoffError, InvalidChoiceCountError, OutlierConfig, Policy, SlowStartConfig,
        UnknownPolicyError, WeightedConfig, ZonePreference,
    };
}

/// Which calls are sent again, when, and how often (gRFC A6).
#[cfg(feature = "client")]
pub mod retry {
    pub use meshless_core::{
        Code, CodeSet, HedgingPolicy, InvalidRetryError, RetryPolicy, RetryThrottling, UnknownCodeError,
    };

    pub use crate::client::channel::{Retry, RetryStats};
}

/// Certificates of both ends, loaded again when their files change.
#[cfg(feature = "tls")]
pub mod tls {
    #[cfg(feature = "server")]
    pub use crate::server::ServerTlsConfig;
    pub use crate::shared::tls::{Pem, TlsConfig, TlsError};
}
