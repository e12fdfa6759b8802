//! `pick_first`: every call to the one endpoint that the balancer's walk has reached.
//!
//! All the thinking is in `balancer/walk.rs`; here is only one endpoint, or for a moment two: while
//! a successor takes over from a connection that the server ages.

use super::Candidates;

#[derive(Debug)]
pub(crate) struct PickFirst<C> {
    pub(super) candidates: Candidates<C>,
}

impl<C> PickFirst<C> {
    pub(crate) fn new(candidates: Candidates<C>) -> Self {
        Self { candidates }
    }

    #[inline]
    pub(super) fn choose(&self) -> usize {
        0
    }
}
