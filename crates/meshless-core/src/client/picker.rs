//! The picker: an immutable snapshot of where calls may go. Every attempt of every call asks it
//! once.
//!
//! The balancer publishes a new picker when something has changed; calls share it behind an `Arc`.
//! [`Picker::pick`] takes `&self`, never waits, never locks and never allocates. It does not know
//! the waiting calls. A queued call picks again when a new picker is published. If the endpoint was
//! full, it also picks again when a call has ended.

pub(crate) mod demand;
pub(crate) mod lease;
mod least_request;
pub(crate) mod outcomes;
mod peak_ewma;
#[cfg(test)]
mod peak_ewma_simulation;
mod pick_first;
mod probing;
pub(crate) mod reported;
pub(crate) mod round_robin;
mod weighted;
mod zoned;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Instant;

use crate::client::connectivity::ConnectivityState;
use crate::endpoint::EndpointId;
use crate::rng::Rng;
use demand::Demand;
use lease::{Lease, Load, PickableConnection};
pub(crate) use least_request::LeastRequest;
pub(crate) use peak_ewma::PeakEwmaPolicy;
pub(crate) use pick_first::PickFirst;
pub(crate) use probing::Probing;
pub(crate) use round_robin::RoundRobin;
pub(crate) use weighted::WeightedRoundRobin;

/// How a backend is chosen, named as in a gRPC service config.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Policy {
    /// One connection for all calls, to the first endpoint of a random order that can be reached
    /// (gRFC A62).
    PickFirst,
    /// A connection to every endpoint; calls go to all of them in turn (gRFC A61). The default.
    #[default]
    RoundRobin,
    /// The endpoint with the fewest calls in flight, of two chosen at random (gRFC A48).
    LeastRequest,
    /// Of two random endpoints, the one with the lower calls in flight × response time² (after
    /// Finagle). An endpoint that is usually more than 2× slower than the other gets almost no
    /// calls.
    PeakEwma,
    /// Endpoints in turn, in proportion to the capacity that their servers report (gRFC A58). If
    /// servers report nothing, in proportion to the weights of the resolver, which are usually
    /// equal.
    WeightedRoundRobin,
}

impl Policy {
    /// All policies.
    pub const ALL: [Self; 5] =
        [Self::PickFirst, Self::RoundRobin, Self::LeastRequest, Self::PeakEwma, Self::WeightedRoundRobin];

    /// Returns its name in a service config.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PickFirst => "pick_first",
            Self::RoundRobin => "round_robin",
            Self::LeastRequest => "least_request",
            Self::PeakEwma => "peak_ewma",
            Self::WeightedRoundRobin => "weighted_round_robin",
        }
    }
}

/// A snapshot of where calls may go. `C` is the driver's handle on a connection.
#[derive(Debug)]
pub struct Picker<C> {
    decision: Decision<C>,
}

/// A picker's answer to a call.
#[derive(Debug)]
#[must_use]
pub enum Pick<C> {
    /// Send the call on this connection.
    Ready(Lease<C>),
    /// Keep the call until something changes.
    Queue(Wait),
    /// Fail the call with UNAVAILABLE. If it waits for ready, keep it until the next picker.
    Fail(UnavailableError),
}

/// What a queued call waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// The channel is idle. Tell the balancer about the call
    /// ([`Balancer::handle_call`](crate::Balancer::handle_call)), then wait for the next picker.
    Idle,
    /// A connection is being made: wait for the next picker.
    Connecting,
    /// Every connection carries as many streams as it may. Tell the balancer
    /// ([`Balancer::handle_full`](crate::Balancer::handle_full)), then wait for the end of any
    /// call, or for the next picker.
    Full(EndpointId),
}

/// Why no backend can take a call, with the last error of each. Cloning it is cheap.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct UnavailableError(pub(crate) Arc<str>);

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

/// The endpoints to choose from, in the order of their ids; at least one.
#[derive(Debug)]
pub(crate) struct Candidates<C>(Box<[Candidate<C>]>);

/// An endpoint with its connections, oldest first ("oldest connection with room first", gRFC A105).
#[derive(Debug)]
pub(crate) struct Candidate<C> {
    pub(crate) endpoint: EndpointId,
    load: Arc<Load>,
    first: Arc<PickableConnection<C>>,
    more: Box<[Arc<PickableConnection<C>>]>,
    weight: f32,
    /// 1 / weight: the factor on its load.
    relief: f32,
    /// Equal for endpoints of one zone, if zones matter.
    zone: u32,
}

impl<C> Candidate<C> {
    /// Returns `None` without a connection. An endpoint of weight 0 is used only if no other can
    /// be.
    pub(crate) fn new(
        endpoint: EndpointId,
        weight: f32,
        mut slots: impl Iterator<Item = Arc<PickableConnection<C>>>,
    ) -> Option<Self> {
        let first = slots.next()?;
        let load = Arc::clone(&first.load);
        let relief = 1.0 / weight.max(f32::MIN_POSITIVE);
        Some(Self { endpoint, load, first, more: slots.collect(), weight, relief, zone: 0 })
    }

    pub(crate) fn in_zone(self, zone: u32) -> Self {
        Self { zone, ..self }
    }

    #[inline]
    fn lease(&self, now: Instant) -> Option<Lease<C>> {
        self.first.lease(now).or_else(|| self.more.iter().find_map(|slot| slot.lease(now)))
    }
}

impl<C> Candidates<C> {
    /// Returns `None` without an endpoint.
    pub(crate) fn new(candidates: Vec<Candidate<C>>) -> Option<Self> {
        (!candidates.is_empty()).then(|| Self(candidates.into()))
    }

    pub(crate) fn have_equal_weights(&self) -> bool {
        self.0.iter().all(|candidate| candidate.weight == self.0[0].weight)
    }

    /// Places the call on `chosen` if the call does not avoid it and it has room.
    #[inline]
    fn lease(&self, chosen: usize, now: Instant, avoid: &[EndpointId]) -> Option<Lease<C>> {
        let candidate = &self.0[chosen];
        if !avoid.is_empty() && avoid.contains(&candidate.endpoint) {
            return None;
        }
        candidate.lease(now)
    }

    /// Places the call on any endpoint with room, in turn from `chosen` on. Endpoints that the call
    /// does not avoid come first (those without weight after the others), then all.
    #[cold]
    #[inline(never)]
    fn lease_any(&self, chosen: usize, now: Instant, avoid: &[EndpointId]) -> Pick<C> {
        let (before, from) = self.0.split_at(chosen);
        let in_turn = || from.iter().chain(before);
        let not_avoided = || in_turn().filter(|candidate| !avoid.contains(&candidate.endpoint));
        let lease = not_avoided()
            .filter(|candidate| candidate.weight > 0.0)
            .find_map(|candidate| candidate.lease(now))
            .or_else(|| not_avoided().find_map(|candidate| candidate.lease(now)))
            .or_else(|| in_turn().find_map(|candidate| candidate.lease(now)));
        lease.map_or(Pick::Queue(Wait::Full(self.0[chosen].endpoint)), Pick::Ready)
    }
}

/// Scales `random`'s 32 bits to `0..n`, by a multiplication in place of a division.
#[inline]
fn scaled(random: u32, n: usize) -> usize {
    ((u64::from(random) * n as u64) >> 32) as usize
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// There is no policy of this name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "unknown policy {0:?}: use pick_first, round_robin, least_request, peak_ewma or weighted_round_robin"
)]
pub struct UnknownPolicyError(String);

impl FromStr for Policy {
    type Err = UnknownPolicyError;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|policy| policy.as_str() == name)
            .ok_or_else(|| UnknownPolicyError(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection_id::ConnectionId;
    use crate::virtual_time::epoch;
    use lease::LoadTracking;

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
    fn names_are_grpc_s() {
        for policy in Policy::ALL {
            assert_eq!(policy.to_string().parse(), Ok(policy));
        }
        let error = "Round-Robin".parse::<Policy>().unwrap_err().to_string();
        assert!(error.contains("\"Round-Robin\"") && error.contains("round_robin"), "{error}");
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
