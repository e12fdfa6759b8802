//! Load balancing for gRPC on Kubernetes without a service mesh.
//!
//! A gRPC client keeps one HTTP/2 connection, and a ClusterIP balances connections, not calls: the client's calls all go to
//! one pod, and new pods get none. [`Server`] ages its connections (gRFC A9), so that clients come back and are spread
//! again, with no call lost:
//!
//! ```no_run
//! use std::time::Duration;
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let (_reporter, health) = tonic_health::server::health_reporter();
//!     meshless::Server::builder()
//!         .max_connection_age(Duration::from_secs(60)) // ± 10 % for each connection
//!         .max_connection_age_grace(Duration::from_secs(10))
//!         .max_connection_idle(Duration::from_secs(300))
//!         .add_service(health)
//!         .serve_with_shutdown("[::]:50051".parse()?, async { tokio::signal::ctrl_c().await.unwrap() })
//!         .await?;
//!     Ok(())
//! }
//! ```
//!
//! [`serve_connection`] does the same for one connection of any HTTP/2 service, under hyper or axum.

mod server;

pub use meshless_core::{CloseReason, GoAwayReason, LifetimeConfig};
pub use server::{
    ClosedReason, ConnectionChange, ConnectionConfig, ConnectionEvent, ConnectionSummary, ServeError, Server,
    bind, serve_connection,
};
