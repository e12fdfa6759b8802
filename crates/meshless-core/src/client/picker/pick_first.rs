//! `pick_first`: every call goes to the one endpoint that the balancer has connected to.
//!
//! The decisions are in `balancer/connect_planner/pick_first.rs`. Here is only one endpoint, or two
//! for a moment: while the next one takes over from a connection that the server ages.

use super::candidates::Candidates;

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
