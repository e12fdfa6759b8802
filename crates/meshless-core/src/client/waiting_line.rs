//! Counts the calls that wait for room, and tells if the end of a call must wake one.
//!
//! A call that ends releases its place with relaxed atomics, since most ends wake nobody. So a call
//! that begins to wait and one that ends could miss each other: one does not see the free place,
//! the other does not see the waiting call. A fence on either side makes that impossible
//! (`loom_models.rs` tries every order).

use crate::atomic::{AtomicUsize, Ordering::SeqCst, fence};

/// Counts the calls that wait for a backend.
#[derive(Debug, Default)]
pub struct WaitingLine {
    waiting: AtomicUsize,
}

impl WaitingLine {
    /// A call begins to wait. It looks for a place *after* this. Returns how many waited before.
    pub fn enter(&self) -> usize {
        let before = self.waiting.fetch_add(1, SeqCst);
        fence(SeqCst);
        before
    }

    /// A call no longer waits.
    pub fn leave(&self) {
        self.waiting.fetch_sub(1, SeqCst);
    }

    /// Returns the number of waiting calls.
    pub fn len(&self) -> usize {
        self.waiting.load(SeqCst)
    }

    /// Returns true if no call waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns true if a waiting call must be woken to look again. Called *after* a place was
    /// released.
    #[inline]
    pub fn must_wake(&self) -> bool {
        fence(SeqCst);
        !self.is_empty()
    }
}
