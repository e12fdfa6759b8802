//! A Kubernetes API server on loopback, over HTTP/1.1, for those parts of its API that meshless
//! reads.
//!
//! [`ApiServer`] has EndpointSlices: lists, watches, and what goes wrong with them. [`Cluster`] has
//! the objects that `compare --kubernetes` applies, and controllers of a kind. Both believe
//! everybody.

mod http;
mod objects;
mod pods;
mod slices;

pub use objects::{Cluster, ClusterConfig};
pub use pods::PodCondition;
pub use slices::{ApiServer, Asked, Manner};
