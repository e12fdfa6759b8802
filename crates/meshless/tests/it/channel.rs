//! The channel, through what its users see of it: in-memory pipes under a paused clock where time matters, loopback sockets
//! where the whole stack does.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod deadline;
mod echo;
mod events;
mod failing;
mod goaway;
#[cfg(feature = "kubernetes")]
mod kubernetes;
mod lifecycle;
mod limits;
mod network;
mod readiness;
mod rotation;
mod tonic_stack;
