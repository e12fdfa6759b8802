//! `least_request`: the endpoint with the fewest calls in flight, of a few chosen at random (gRFC A48).
//!
//! "The picker should pick the address with the least number of outstanding requests" of `choiceCount` samples, drawn
//! with replacement; of equals, the first drawn. The count goes up at the pick and down when the call ends, whatever its
//! status, and belongs to the endpoint, so that calls on a draining connection still weigh.

use super::zoned::Zones;
use super::{Candidate, Candidates, scaled};
use crate::rng::Rng;

#[derive(Debug)]
pub(crate) struct LeastRequest<C> {
    pub(super) candidates: Candidates<C>,
    zones: Option<Zones>,
    choice_count: u8,
}

impl<C> LeastRequest<C> {
    pub(crate) fn new(mut candidates: Candidates<C>, choice_count: u8) -> Self {
        let zones = Zones::of(&mut candidates);
        Self { candidates, zones, choice_count }
    }

    /// Not inlined into `pick`, where its registers would have to be saved for every policy.
    #[inline(never)]
    pub(super) fn choose(&self, rng: &mut Rng) -> usize {
        let (offset, entries) = Zones::draw(self.zones.as_ref(), &self.candidates, rng);
        let random = rng.next_u64();
        let mut best = scaled((random >> 32) as u32, entries.len());
        // With weights other than 1 (slow start), Envoy's rule: calls that there would be, per weight.
        let calls = |entry: &Candidate<C>| (entry.load.in_flight() + 1) as f32 * entry.relief;
        let mut fewest = calls(&entries[best]);
        let mut sample = scaled(random as u32, entries.len());
        for drawn in 2..=self.choice_count {
            let sampled = calls(&entries[sample]);
            if sampled < fewest {
                (best, fewest) = (sample, sampled);
            }
            if drawn < self.choice_count {
                sample = rng.below(entries.len());
            }
        }
        offset + best
    }
}
