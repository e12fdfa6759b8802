//! What a control plane counts.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters since the start, and a few numbers of the present.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    /// Responses sent.
    pub(crate) pushes: AtomicU64,
    /// Bytes of the resources in them.
    pub(crate) bytes: AtomicU64,
    /// Responses refused.
    pub(crate) nacks: AtomicU64,
    /// Times that endpoints were encoded.
    pub(crate) encodings: AtomicU64,
    /// Streams begun.
    pub(crate) streams: AtomicU64,
    /// Services at present.
    pub(crate) services: AtomicU64,
    pub(crate) services_holding: AtomicU64,
    pub(crate) services_unreadable: AtomicU64,
}

impl Stats {
    pub(crate) fn read(&self) -> StatsSnapshot {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        StatsSnapshot {
            pushes: read(&self.pushes),
            bytes: read(&self.bytes),
            nacks: read(&self.nacks),
            encodings: read(&self.encodings),
            streams: read(&self.streams),
            services: read(&self.services),
            services_holding: read(&self.services_holding),
            services_unreadable: read(&self.services_unreadable),
        }
    }
}

/// What a control plane has counted since its start, and a few numbers of the present.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct StatsSnapshot {
    /// Responses sent to clients.
    pub pushes: u64,
    /// Bytes of the resources in them.
    pub bytes: u64,
    /// Responses that clients refused.
    pub nacks: u64,
    /// Times that a set of endpoints was encoded. Clients that are told the same share one.
    pub encodings: u64,
    /// Streams that clients began.
    pub streams: u64,
    /// Services that are declared or dialled now.
    pub services: u64,
    /// Of these, those whose last endpoints are held although their source names none.
    pub services_holding: u64,
    /// Of these, those whose source gave no endpoints when it last spoke.
    pub services_unreadable: u64,
}
