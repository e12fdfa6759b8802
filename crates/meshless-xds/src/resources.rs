//! From a service and its policy to what is sent: a listener with its routes, a cluster, endpoints.
//!
//! One cluster stands behind each listener, under the same name, so that the error texts of every
//! language name the service. Nothing here decides when something is sent.

pub(crate) mod cluster;
pub(crate) mod endpoints;
pub(crate) mod listener;
mod route;
mod subset;
mod zone;

use bytes::Bytes;
use meshless_core::{ResourceKind, xxh64};
use prost::Message;

pub(crate) use zone::Demand;

/// A resource as it is sent, shared by everybody who gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Encoded {
    /// The message.
    pub(crate) bytes: Bytes,
    /// Of the message: replicas that know the same send the same.
    pub(crate) hash: u64,
}

impl Encoded {
    pub(crate) fn of(kind: ResourceKind, message: &impl Message) -> Self {
        let bytes = Bytes::from(message.encode_to_vec());
        let hash = xxh64(&bytes, kind as u64);
        Self { bytes, hash }
    }
}
