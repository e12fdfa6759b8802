//! The picker: an immutable snapshot of where calls may go. Every attempt of every call asks it
//! once.
//!
//! The balancer publishes a new picker when something has changed; calls share it behind an `Arc`.
//! [`Picker::pick`] takes `&self`, never waits, never locks and never allocates. It does not know
//! the waiting calls. A queued call picks again when a new picker is published. If the endpoint was
//! full, it also picks again when a call has ended.

mod candidates;
pub(crate) mod demand;
pub(crate) mod lease;
mod least_request;
pub(crate) mod outcomes;
mod peak_ewma;
#[cfg(test)]
mod peak_ewma_simulation;
mod pick;
mod pick_first;
mod policy;
mod probing;
pub(crate) mod reported;
pub(crate) mod round_robin;
mod weighted;
mod zoned;

use std::time::Instant;

use crate::client::connectivity::ConnectivityState;
use crate::endpoint::EndpointId;
use crate::rng::Rng;
pub(crate) use candidates::{Candidate, Candidates};
use demand::Demand;
pub(crate) use least_request::LeastRequest;
pub(crate) use peak_ewma::PeakEwmaPolicy;
pub use pick::{Pick, UnavailableError, Wait};
pub(crate) use pick_first::PickFirst;
pub use policy::{Policy, UnknownPolicyError};
pub(crate) use probing::Probing;
pub(crate) use round_robin::RoundRobin;
pub(crate) use weighted::WeightedRoundRobin;

/// A snapshot of where calls may go. `C` is the driver's handle on a connection.
#[derive(Debug)]
pub struct Picker<C> {
    decision: Decision<C>,
}

impl<C> Picker<C> {
    /// Returns the picker of an idle channel: calls queue.
    pub fn idle() -> Self {
        Self { decision: Decision::Idle }
    }

    /// Chooses a connection for a call. Endpoints in `avoid` (where the call has failed before) are
    /// taken only if no other has room.
    #[inline]
    pub fn pick(&self, now: Instant, rng: &mut Rng, avoid: &[EndpointId]) -> Pick<C> {
        self.decision.pick(now, rng, avoid)
    }

    /// Returns the channel's connectivity state as its calls see it.
    pub fn connectivity(&self) -> ConnectivityState {
        match &self.decision {
            Decision::Idle => ConnectivityState::Idle,
            Decision::Connecting(_) => ConnectivityState::Connecting,
            Decision::Fail(..) => ConnectivityState::TransientFailure,
            _ => ConnectivityState::Ready,
        }
    }

    /// Returns why calls fail, if they do.
    pub fn failure(&self) -> Option<&UnavailableError> {
        match &self.decision {
            Decision::Fail(error, _) => Some(error),
            _ => None,
        }
    }

    /// Returns how many endpoints it chooses from.
    pub fn endpoints(&self) -> usize {
        self.decision.endpoints()
    }

    pub(crate) fn connecting(demand: Demand) -> Self {
        Self { decision: Decision::Connecting(demand) }
    }

    pub(crate) fn fail(error: UnavailableError, demand: Demand) -> Self {
        Self { decision: Decision::Fail(error, demand) }
    }

    pub(crate) fn new(decision: Decision<C>) -> Self {
        Self { decision }
    }

    pub(crate) fn round_robin(&self) -> Option<&RoundRobin<C>> {
        match &self.decision {
            Decision::RoundRobin(policy) => Some(policy),
            Decision::Probing(probing) => probing.round_robin(),
            _ => None,
        }
    }
}

#[derive(Debug)]
pub(crate) enum Decision<C> {
    Idle,
    Connecting(Demand),
    Fail(UnavailableError, Demand),
    PickFirst(PickFirst<C>),
    RoundRobin(RoundRobin<C>),
    LeastRequest(LeastRequest<C>),
    PeakEwma(PeakEwmaPolicy<C>),
    Weighted(WeightedRoundRobin<C>),
    /// Boxed: rare, and larger than the others.
    Probing(Box<Probing<C>>),
}

impl<C> Decision<C> {
    #[inline]
    fn pick(&self, now: Instant, rng: &mut Rng, avoid: &[EndpointId]) -> Pick<C> {
        let (candidates, chosen) = match self {
            Self::RoundRobin(policy) => (&policy.candidates, policy.choose()),
            Self::PeakEwma(policy) => (&policy.candidates, policy.choose(now, rng)),
            Self::LeastRequest(policy) => (&policy.candidates, policy.choose(rng)),
            Self::PickFirst(policy) => (&policy.candidates, policy.choose()),
            Self::Weighted(policy) => (&policy.candidates, policy.choose()),
            Self::Probing(probing) => return probing.pick(now, rng, avoid),
            Self::Idle => return Pick::Queue(Wait::Idle),
            Self::Connecting(demand) => {
                demand.mark();
                return Pick::Queue(Wait::Connecting);
            }
            Self::Fail(error, demand) => {
                demand.mark();
                return Pick::Fail(error.clone());
            }
        };
        match candidates.lease(chosen, now, avoid) {
            Some(lease) => Pick::Ready(lease),
            None => self.choose_again(candidates, chosen, now, rng, avoid),
        }
    }

    /// Chooses again if the chosen endpoint is full, or the call avoids it. The policy does it, so
    /// the others' shares are as if that endpoint were not there. Otherwise its neighbour in the
    /// order of ids would get its share, too.
    #[cold]
    #[inline(never)]
    fn choose_again(
        &self,
        candidates: &Candidates<C>,
        mut chosen: usize,
        now: Instant,
        rng: &mut Rng,
        avoid: &[EndpointId],
    ) -> Pick<C> {
        for _ in 0..candidates.0.len() {
            chosen = match self {
                Self::RoundRobin(policy) => policy.choose(),
                Self::PeakEwma(policy) => policy.choose(now, rng),
                Self::LeastRequest(policy) => policy.choose(rng),
                Self::Weighted(policy) => policy.choose(),
                // With one candidate or none, there is no other choice.
                _ => break,
            };
            if let Some(lease) = candidates.lease(chosen, now, avoid) {
                return Pick::Ready(lease);
            }
        }
        candidates.lease_any(chosen, now, avoid)
    }

    fn endpoints(&self) -> usize {
        match self {
            Self::RoundRobin(policy) => policy.candidates.0.len(),
            Self::PeakEwma(policy) => policy.candidates.0.len(),
            Self::LeastRequest(policy) => policy.candidates.0.len(),
            Self::PickFirst(policy) => policy.candidates.0.len(),
            Self::Weighted(policy) => policy.candidates.0.len(),
            Self::Probing(probing) => probing.endpoints(),
            Self::Idle | Self::Connecting(_) | Self::Fail(..) => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::connection_id::ConnectionId;
    use crate::virtual_time::epoch;
    use lease::{Lease, LoadTracking, PickableConnection};

    fn slots(n: u64) -> Vec<Arc<PickableConnection<u64>>> {
        let tracking = LoadTracking::default();
        let slot = |n| PickableConnection::new(ConnectionId(n), id(n), n, Arc::default(), tracking);
        (0..n).map(|n| Arc::new(slot(n))).collect()
    }

    fn id(n: u64) -> EndpointId {
        EndpointId::for_tests(n)
    }

    fn round_robin(slots: &[Arc<PickableConnection<u64>>]) -> Picker<u64> {
        let candidates = slots
            .iter()
            .filter_map(|slot| Candidate::new(slot.endpoint, 1.0, std::iter::once(Arc::clone(slot))));
        let candidates = Candidates::new(candidates.collect()).unwrap();
        Picker::new(Decision::RoundRobin(RoundRobin::new(candidates, Arc::default(), None)))
    }

    fn picked(picker: &Picker<u64>, avoid: &[EndpointId]) -> Result<Lease<u64>, Wait> {
        match picker.pick(epoch(), &mut Rng::new(1, 1), avoid) {
            Pick::Ready(lease) => Ok(lease),
            Pick::Queue(wait) => Err(wait),
            Pick::Fail(error) => panic!("{error}"),
        }
    }

    #[test]
    fn a_retry_avoids_where_it_failed_while_another_has_room() {
        let slots = slots(3);
        let picker = round_robin(&slots);
        for _ in 0..6 {
            assert_eq!(*picked(&picker, &[id(0), id(2)]).unwrap().connection(), 1);
        }
        slots[1].set_limit(0);
        let fallback = *picked(&picker, &[id(0), id(2)]).unwrap().connection();
        assert_ne!(fallback, 1, "one that failed is better than none");
    }

    #[test]
    fn a_full_endpoint_is_passed_over_and_all_full_queues() {
        let slots = slots(2);
        let picker = round_robin(&slots);
        slots[0].set_limit(1);
        slots[1].set_limit(2);
        let held: Vec<_> = (0..3).map(|_| picked(&picker, &[]).unwrap()).collect();
        assert!(matches!(picked(&picker, &[]).unwrap_err(), Wait::Full(_)));
        drop(held);
        assert!(picked(&picker, &[]).is_ok());
    }

    #[test]
    fn an_outdated_snapshot_does_not_return_a_closed_connection() {
        let slots = slots(2);
        let picker = round_robin(&slots);
        slots[0].set_limit(0);
        for _ in 0..4 {
            assert_eq!(*picked(&picker, &[]).unwrap().connection(), 1);
        }
    }

    fn assert_even(good: &[usize], n: u64) {
        let (least, most) = (good.iter().min().unwrap(), good.iter().max().unwrap());
        assert!(*most as f64 <= *least as f64 * 1.05, "of {n}: {least} to {most}");
    }

    #[test]
    fn a_full_endpoint_leaves_the_shares_of_the_others_equal() {
        for n in [3, 12, 100, 1000] {
            let slots = slots(n);
            let picker = round_robin(&slots);
            slots[0].set_limit(0);
            let mut counts = vec![0; n as usize];
            for _ in 0..100 * n {
                counts[*picked(&picker, &[]).unwrap().connection() as usize] += 1;
            }
            assert_eq!(counts[0], 0);
            assert_even(&counts[1..], n);
        }
    }

    #[test]
    fn several_full_neighbours_leave_the_shares_of_the_others_equal() {
        for n in [12, 100, 1000] {
            let slots = slots(n);
            let picker = round_robin(&slots);
            slots[..n as usize / 2].iter().for_each(|slot| slot.set_limit(0));
            let mut counts = vec![0; n as usize];
            for _ in 0..100 * n {
                counts[*picked(&picker, &[]).unwrap().connection() as usize] += 1;
            }
            assert_even(&counts[n as usize / 2..], n);
        }
    }

    #[test]
    fn calls_that_avoid_an_endpoint_leave_the_shares_of_the_others_equal() {
        for n in [3, 12, 100, 1000] {
            let slots = slots(n);
            let picker = round_robin(&slots);
            let mut counts = vec![0; n as usize];
            // The first endpoint refuses every call, and each of these picks again at once.
            for _ in 0..100 * n {
                let first = *picked(&picker, &[]).unwrap().connection();
                let last = if first == 0 { *picked(&picker, &[id(0)]).unwrap().connection() } else { first };
                counts[last as usize] += 1;
            }
            assert_eq!(counts[0], 0);
            assert_even(&counts[1..], n);
            // And hedges: each avoids the endpoint of the first attempt.
            let mut hedges = vec![0; n as usize];
            for _ in 0..100 * n {
                hedges[*picked(&picker, &[id(0)]).unwrap().connection() as usize] += 1;
            }
            assert_even(&hedges[1..], n);
        }
    }
}
