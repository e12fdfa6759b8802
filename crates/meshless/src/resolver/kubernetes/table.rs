//! The EndpointSlices of one Service, as a list and the events after it leave them.
//!
//! A Service of 250 pods has three slices, and a dual-stack one twice as many; only all of them together are the Service. The
//! watch feeds this table, and hands its [`snapshot`](SliceTable::snapshot) to the channels. It does no I/O, and its
//! order is that of the names, so the same slices are the same snapshot however they came.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::slice::Slice;

/// All slices of a Service at one moment.
pub(super) type Snapshot = Arc<[Arc<Slice>]>;

/// The slices by name.
#[derive(Debug, Default)]
pub(super) struct SliceTable {
    slices: BTreeMap<String, Arc<Slice>>,
}

impl SliceTable {
    /// A list is complete: what it does not name is gone.
    pub(super) fn replace(&mut self, list: impl IntoIterator<Item = (String, Slice)>) {
        self.slices = list.into_iter().map(|(name, slice)| (name, Arc::new(slice))).collect();
    }

    /// A slice was added or modified. Which of the two does not matter, and after a reconnect may be told wrong.
    pub(super) fn put(&mut self, name: String, slice: Slice) {
        self.slices.insert(name, Arc::new(slice));
    }

    /// A slice was deleted.
    pub(super) fn delete(&mut self, name: &str) {
        self.slices.remove(name);
    }

    /// All slices as they are now.
    pub(super) fn snapshot(&self) -> Snapshot {
        self.slices.values().cloned().collect()
    }
}
