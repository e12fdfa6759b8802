//! The order in which `pick_first` tries endpoints, and its position in it.
//!
//! gRFC A62 shuffles the addresses. Here the shuffle is kept: when a server ends the connection,
//! the client goes to the next endpoint of its shuffle. Over time, each client then spends equal
//! shares on all endpoints. The long-run balance of many clients is about twelve times tighter.
//!
//! A *pass* tries every endpoint once. The next attempt begins 250 ms after the last if that has
//! not answered ("Happy Eyeballs", gRFC A61). The pass ends when one is connected. Once every
//! endpoint has been tried, each is tried again as its backoff allows.

use std::time::{Duration, Instant};

use crate::endpoint::{EndpointDiff, EndpointId};
use crate::rng::Rng;

#[derive(Debug, Default)]
pub(super) struct AddressList {
    /// This client's permutation of the endpoints.
    order: Vec<EndpointId>,
    /// Where the next pass begins; may be one past the end.
    cursor: usize,
    pass: Option<Pass>,
}

#[derive(Clone, Copy, Debug)]
struct Pass {
    position: usize,
    remaining: usize,
    last_started: Option<Instant>,
}

/// The next step of the pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Try this endpoint.
    Try(EndpointId),
    /// Wait for the attempt under way until then.
    Wait(Instant),
    /// Every endpoint has been tried.
    Exhausted,
}

impl AddressList {
    /// Adopts a change of the set. Remaining endpoints keep their order. New ones enter at random
    /// places, so a first set is shuffled.
    pub(super) fn update(&mut self, diff: &EndpointDiff, rng: &mut Rng) {
        let passed = self.order.iter().take(self.cursor).filter(|id| diff.removed.contains(id)).count();
        self.cursor -= passed;
        self.order.retain(|id| !diff.removed.contains(id));
        for id in &diff.added {
            let position = rng.below(self.order.len() + 1);
            self.order.insert(position, *id);
            if position < self.cursor {
                self.cursor += 1;
            }
        }
        // "When a new address list arrives, the first pass starts over" (gRFC A61).
        self.pass = None;
    }

    /// A connection to `id` is made. The pass is over, and the next one begins after `id`.
    pub(super) fn connected(&mut self, id: EndpointId) {
        if let Some(position) = self.order.iter().position(|endpoint| *endpoint == id) {
            self.cursor = position + 1;
        }
        self.pass = None;
    }

    /// No connection is wanted any more.
    pub(super) fn end_pass(&mut self) {
        self.pass = None;
    }

    /// Returns the next step. `attempting` is true if an attempt is under way.
    pub(super) fn step(&mut self, now: Instant, attempting: bool) -> Step {
        let n = self.order.len();
        let pass = self.pass.get_or_insert(Pass { position: self.cursor, remaining: n, last_started: None });
        if pass.remaining == 0 {
            return Step::Exhausted;
        }
        match pass.last_started.map(|at| at + STAGGER) {
            Some(at) if attempting && at > now => Step::Wait(at),
            _ => Step::Try(self.order[pass.position % n]),
        }
    }

    /// The endpoint of the last [`Step::Try`] is being tried.
    pub(super) fn attempt_started(&mut self, now: Instant) {
        if let Some(pass) = &mut self.pass {
            pass.last_started = Some(now);
        }
        self.skip();
    }

    /// The endpoint of the last [`Step::Try`] is not to be tried now.
    pub(super) fn skip(&mut self) {
        if let Some(pass) = &mut self.pass {
            pass.position += 1;
            pass.remaining = pass.remaining.saturating_sub(1);
        }
    }

    pub(super) fn order(&self) -> &[EndpointId] {
        &self.order
    }
}

/// "The recommended value is 250 ms" (gRFC A61, after RFC 8305 §5).
const STAGGER: Duration = Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::virtual_time::epoch;

    fn ids(ids: &[u64]) -> Vec<EndpointId> {
        ids.iter().map(|&n| EndpointId::for_tests(n)).collect()
    }

    fn list(n: u64) -> AddressList {
        let mut list = AddressList::default();
        let diff = EndpointDiff { added: ids(&(0..n).collect::<Vec<_>>()), ..EndpointDiff::default() };
        list.update(&diff, &mut Rng::new(3, 3));
        list
    }

    #[test]
    fn each_rotation_walks_on_through_the_permutation() {
        let mut list = list(5);
        let order = list.order().to_vec();
        for turn in 0..12 {
            assert_eq!(list.step(epoch(), false), Step::Try(order[turn % 5]));
            list.attempt_started(epoch());
            list.connected(order[turn % 5]);
        }
    }

    #[test]
    fn attempts_are_staggered_and_end_after_one_pass() {
        let mut list = list(2);
        let order = list.order().to_vec();
        assert_eq!(list.step(epoch(), false), Step::Try(order[0]));
        list.attempt_started(epoch());
        assert_eq!(list.step(epoch(), true), Step::Wait(epoch() + STAGGER));
        assert_eq!(list.step(epoch(), false), Step::Try(order[1]), "a failure need not be waited for");
        assert_eq!(list.step(epoch() + STAGGER, true), Step::Try(order[1]));
        list.attempt_started(epoch() + STAGGER);
        assert_eq!(list.step(epoch() + STAGGER, true), Step::Exhausted);
    }

    #[test]
    fn a_change_of_the_set_keeps_the_place() {
        let mut list = list(6);
        let order = list.order().to_vec();
        list.connected(order[2]);
        let removed = vec![order[0], order[2]];
        list.update(&EndpointDiff { removed, ..EndpointDiff::default() }, &mut Rng::new(1, 1));
        assert_eq!(list.step(epoch(), false), Step::Try(order[3]));
        let added = ids(&[10, 11, 12]);
        list.update(&EndpointDiff { added, ..EndpointDiff::default() }, &mut Rng::new(1, 1));
        let kept: Vec<_> = list.order().iter().filter(|id| order.contains(id)).copied().collect();
        assert_eq!(kept, [order[1], order[3], order[4], order[5]]);
    }
}
