//! How many calls wait for room, and whether the end of a call must wake one of them.
//!
//! A call that ends gives its place back with relaxed atomics, since most ends wake nobody. So a
//! call that begins to wait and one that ends could miss each other: the one does not see the free
//! place, the other does not see that somebody waits. A fence on either side makes that impossible
//! (`loom_models.rs` tries every order).

use crate::atomic::{AtomicUsize, Ordering::SeqCst, fence};

/// Counts the calls that wait for a backend.
#[derive(Debug, Default)]
pub struct WaitingLine {
    waiting: AtomicUsize,
}

impl WaitingLine {
    /// A call begins to wait; it looks for a place *after* this. Returns how many waited before.
    pub fn enter(&self) -> usize {
        let before = self.waiting.fetch_add(1, SeqCst);
        fence(SeqCst);
        before
    }

    /// It waits no longer.
    pub fn leave(&self) {
        self.waiting.fetch_sub(1, SeqCst);
    }

    /// Calls that wait now.
    pub fn len(&self) -> usize {
        self.waiting.load(SeqCst)
    }

    /// True if no call waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Asked *after* a place was given back: true if a waiting call must be woken to look again.
    #[inline]
    pub fn must_wake(&self) -> bool {
        fence(SeqCst);
        !self.is_empty()
    }
}
