//! Integration tests of the library: hand-written HTTP/2 peers, duplex pipes with a paused clock,
//! loopback sockets.
// A build of one half leaves unused what helps to test the other.
#![cfg_attr(not(all(feature = "client", feature = "server")), allow(dead_code, unused_imports))]
#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

#[cfg(all(feature = "client", feature = "server"))]
mod channel;
#[cfg(feature = "server")]
mod connection;
mod imports;
#[cfg(feature = "kubernetes")]
mod kubernetes;
mod log;
#[cfg(feature = "otel")]
mod measured;
#[cfg(feature = "dns")]
mod name_servers;
#[cfg(all(feature = "client", feature = "otel", feature = "server"))]
mod observability;
#[cfg(feature = "dns")]
mod resolver;
#[cfg(feature = "server")]
mod server;

#[cfg(feature = "server")]
use meshless_testkit::raw_peer;
