//! The mark that a picker with nothing to pick from leaves when a call asks it.
//!
//! A call that fails at once tells nobody, and the balancer sees no call. So that it knows whether
//! anyone still asks, its pickers share this with it. Set by `pick`, taken by the balancer's
//! probing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether a call has asked for an endpoint while there was none.
#[derive(Clone, Debug, Default)]
pub(crate) struct Demand(Arc<AtomicBool>);

impl Demand {
    pub(crate) fn mark(&self) {
        // A failing channel is asked by many threads at once: most of them need not write.
        if !self.0.load(Ordering::Relaxed) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    /// Whether it was marked since the last call.
    pub(crate) fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}
