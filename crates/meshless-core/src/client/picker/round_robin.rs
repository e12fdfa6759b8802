//! `round_robin`: endpoints in turn (gRFC A61).
//!
//! The turn is one counter that all pickers of a channel share. An update that keeps the set of
//! endpoints does not change it; one that changes the set continues after the last picked endpoint.
//! If every picker started anew, at zero or at random, frequent rotations would favour some
//! endpoint or make the shares uneven.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::candidates::Candidates;
use crate::endpoint::EndpointId;

#[derive(Debug)]
pub(crate) struct RoundRobin<C> {
    pub(super) candidates: Candidates<C>,
    /// Picks so far, over all pickers. It starts at random, so that clients which start together do
    /// not move in step.
    turn: Arc<AtomicU32>,
    /// Added to the turn, so that this picker continues after the previous one.
    offset: u32,
}

impl<C> RoundRobin<C> {
    /// Continues after `last`, the endpoint picked last, if there is one.
    pub(crate) fn new(candidates: Candidates<C>, turn: Arc<AtomicU32>, last: Option<EndpointId>) -> Self {
        let offset = last.map_or(0, |last| {
            let n = candidates.0.len();
            let successor = candidates.0.partition_point(|candidate| candidate.endpoint <= last) % n;
            let position = turn.load(Ordering::Relaxed) as usize % n;
            ((successor + n - position) % n) as u32
        });
        Self { candidates, turn, offset }
    }

    #[inline]
    pub(super) fn choose(&self) -> usize {
        self.index(self.turn.fetch_add(1, Ordering::Relaxed))
    }

    /// Returns the endpoint that the last pick began with; at the very beginning, a random one.
    pub(crate) fn last(&self) -> EndpointId {
        self.candidates.0[self.index(self.turn.load(Ordering::Relaxed).wrapping_sub(1))].endpoint
    }

    /// When the counter wraps, once in 2³² picks, one turn is cut short.
    #[inline]
    fn index(&self, turn: u32) -> usize {
        (turn.wrapping_add(self.offset) % self.candidates.0.len() as u32) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::picker::Candidate;
    use crate::client::picker::lease::{LoadTracking, PickableConnection};
    use crate::connection_id::ConnectionId;

    fn candidates(ids: &[u64]) -> Candidates<()> {
        let tracking = LoadTracking::default();
        let candidate = |&n: &u64| {
            let id = EndpointId::for_tests(n);
            let slot = PickableConnection::new(ConnectionId(n), id, (), Arc::default(), tracking);
            Candidate::new(id, 1.0, std::iter::once(Arc::new(slot)))
        };
        Candidates::new(ids.iter().filter_map(candidate).collect()).unwrap()
    }

    fn walk(picker: &RoundRobin<()>, n: usize) -> Vec<EndpointId> {
        (0..n).map(|_| picker.candidates.0[picker.choose()].endpoint).collect()
    }

    #[test]
    fn a_changed_set_continues_after_the_last_pick() {
        let turn = Arc::new(AtomicU32::new(1_000_003));
        let ids = |ids: &[u64]| ids.iter().map(|&n| EndpointId::for_tests(n)).collect::<Vec<_>>();
        let first =
            RoundRobin::new(candidates(&[1, 2, 3, 4]), Arc::clone(&turn), Some(EndpointId::for_tests(4)));
        assert_eq!(walk(&first, 6), ids(&[1, 2, 3, 4, 1, 2]));
        let without_three = RoundRobin::new(candidates(&[1, 2, 4]), Arc::clone(&turn), Some(first.last()));
        assert_eq!(walk(&without_three, 2), ids(&[4, 1]));
        let all = RoundRobin::new(candidates(&[1, 2, 3, 4]), Arc::clone(&turn), Some(without_three.last()));
        assert_eq!(walk(&all, 5), ids(&[2, 3, 4, 1, 2]));
    }

    #[test]
    fn an_update_without_a_pick_does_not_move_the_turn() {
        let turn = Arc::new(AtomicU32::new(7));
        let mut picker = RoundRobin::new(candidates(&[1, 2, 3]), Arc::clone(&turn), None);
        let last = picker.last();
        for _ in 0..5 {
            picker = RoundRobin::new(candidates(&[1, 2, 3]), Arc::clone(&turn), Some(picker.last()));
        }
        assert_eq!(picker.last(), last);
    }
}
