//! The endpoints that a policy chooses from.

use std::sync::Arc;
use std::time::Instant;

use super::lease::{Lease, Load, PickableConnection};
use super::pick::{Pick, Wait};
use crate::endpoint::EndpointId;

/// The endpoints to choose from, in the order of their ids; at least one.
#[derive(Debug)]
pub(crate) struct Candidates<C>(pub(super) Box<[Candidate<C>]>);

/// An endpoint with its connections, oldest first ("oldest connection with room first", gRFC A105).
#[derive(Debug)]
pub(crate) struct Candidate<C> {
    pub(crate) endpoint: EndpointId,
    pub(super) load: Arc<Load>,
    pub(super) first: Arc<PickableConnection<C>>,
    pub(super) more: Box<[Arc<PickableConnection<C>>]>,
    pub(super) weight: f32,
    /// 1 / weight: the factor on its load.
    pub(super) relief: f32,
    /// Equal for endpoints of one zone, if zones matter.
    pub(super) zone: u32,
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
    pub(super) fn lease(&self, now: Instant) -> Option<Lease<C>> {
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
    pub(super) fn lease(&self, chosen: usize, now: Instant, avoid: &[EndpointId]) -> Option<Lease<C>> {
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
    pub(super) fn lease_any(&self, chosen: usize, now: Instant, avoid: &[EndpointId]) -> Pick<C> {
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
pub(super) fn scaled(random: u32, n: usize) -> usize {
    ((u64::from(random) * n as u64) >> 32) as usize
}
