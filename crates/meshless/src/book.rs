//! The Rust code of README.md and of the book in docs/, as doctests.
//!
//! A page with Rust code that is missing here fails a test of the command (`tests/it/docs.rs`).

#[doc = include_str!("../../../README.md")]
struct Readme;

#[doc = include_str!("../../../docs/start/client.md")]
struct Client;

#[doc = include_str!("../../../docs/start/server.md")]
struct Server;

#[doc = include_str!("../../../docs/guides/failures.md")]
struct Failures;

#[doc = include_str!("../../../docs/guides/retries.md")]
struct Retries;

#[doc = include_str!("../../../docs/guides/testing.md")]
struct Testing;

#[doc = include_str!("../../../docs/guides/zones.md")]
struct Zones;

#[cfg(feature = "tls")]
#[doc = include_str!("../../../docs/guides/tls.md")]
struct Tls;

#[cfg(feature = "otel")]
#[doc = include_str!("../../../docs/guides/metrics.md")]
struct Metrics;

#[doc = include_str!("../../../docs/reference/policies.md")]
struct Policies;

#[doc = include_str!("../../../docs/reference/service-config.md")]
struct ServiceConfig;

#[doc = include_str!("../../../docs/reference/targets.md")]
struct Targets;
