//! The channel, through what its users see of it: in-memory pipes under a paused clock where time
//! matters, loopback sockets where the whole stack does.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod bounce;
mod deadline;
#[cfg(feature = "dns")]
mod dns_trouble;
mod echo;
mod ejection;
mod endings;
mod events;
mod failing;
mod floods;
mod foreign;
mod goaway;
mod health;
mod hedging;
mod hidden_endpoints;
#[cfg(feature = "kubernetes")]
mod kubernetes;
mod late_messages;
mod lifecycle;
mod limits;
mod load_watch;
#[cfg(feature = "otel")]
mod metrics;
mod network;
mod never_sent;
mod orca;
mod out_of_band;
mod outage;
mod readiness;
mod retry;
mod rotation;
mod service_config;
mod settings;
mod silence;
mod tonic_stack;
mod zone;
