//! Integration tests of the library: hand-written HTTP/2 peers, duplex pipes with a paused clock, loopback sockets.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

#[cfg(feature = "kubernetes")]
mod api_server;
mod channel;
mod connection;
#[cfg(feature = "dns")]
mod dns_server;
mod imports;
#[cfg(feature = "kubernetes")]
mod kubernetes;
mod log;
#[cfg(feature = "otel")]
mod measured;
#[cfg(feature = "dns")]
mod name_servers;
#[cfg(feature = "dns")]
mod raw_name_server;
mod raw_peer;
#[cfg(feature = "dns")]
mod resolver;
mod server;
