//! The mark that is left when a call asks a picker without endpoints.
//!
//! The balancer sees no calls, and a call that fails at once sends no event. It shares this mark
//! with its pickers to learn if calls still ask. `pick` sets it; the balancer's outage reconnects
//! take it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// True if a call has asked for an endpoint while there was none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Demand(Arc<AtomicBool>);

impl Demand {
    pub(crate) fn mark(&self) {
        // Many threads ask a failing channel at once: most of them need not write.
        if !self.0.load(Ordering::Relaxed) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    /// Returns true if it was marked since the last call.
    pub(crate) fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}
