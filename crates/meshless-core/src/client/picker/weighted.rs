//! Endpoints in turn, in proportion to their weights: gRPC's static stride scheduler (gRFC A58,
//! C-core).
//!
//! Each endpoint is looked at once per generation. It is picked in weight / max_weight of the
//! generations, evenly spread. One look costs one atomic addition; there is no state to lock. With
//! equal weights every look is a pick, as in `round_robin`. New weights come with a new picker,
//! which continues the count of the last one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::candidates::Candidates;

#[derive(Debug)]
pub(crate) struct WeightedRoundRobin<C> {
    pub(super) candidates: Candidates<C>,
    /// Scaled to [`WEIGHT_MAX`], which the largest has.
    weights: Box<[u16]>,
    turn: Arc<AtomicU32>,
}

impl<C> WeightedRoundRobin<C> {
    pub(crate) fn new(candidates: Candidates<C>, turn: Arc<AtomicU32>) -> Self {
        let weights: Vec<_> = candidates.0.iter().map(|candidate| candidate.weight).collect();
        Self { candidates, weights: scale(&weights), turn }
    }

    /// Chooses the next endpoint. Ends after at most one look at each, since the largest weight is
    /// never skipped.
    #[inline(never)]
    pub(super) fn choose(&self) -> usize {
        let n = self.weights.len() as u32;
        loop {
            let turn = self.turn.fetch_add(1, Ordering::Relaxed);
            let (generation, position) = (turn / n, turn % n);
            let weight = u64::from(self.weights[position as usize]);
            // The offset: endpoints of equal weight are not skipped in the same generations.
            let phase = weight * u64::from(generation) + u64::from(position) * (WEIGHT_MAX / 2);
            if phase % WEIGHT_MAX >= WEIGHT_MAX - weight {
                return position as usize;
            }
        }
    }
}

/// Scales weights so that the largest is [`WEIGHT_MAX`]. Before that, they are bounded to a
/// hundredth and to ten times the mean (C-core's bounds). The upper bound limits the looks per
/// pick. The lower bound keeps an endpoint from getting no calls and so no new measurements.
/// Endpoints of weight 0 are never picked, unless all have weight 0.
fn scale(weights: &[f32]) -> Box<[u16]> {
    let weighty = || weights.iter().filter(|weight| **weight > 0.0);
    let mean = weighty().sum::<f32>() / weighty().count() as f32;
    let bounded = |weight: &f32| weight.clamp(mean * RATIO_MIN, mean * RATIO_MAX);
    let max = weighty().map(bounded).fold(f32::MIN_POSITIVE, f32::max);
    let scaled = |weight: &f32| match *weight > 0.0 {
        // A cast of a float saturates.
        true => ((bounded(weight) / max * WEIGHT_MAX as f32).round() as u16).max(1),
        false => 0,
    };
    match weighty().next() {
        Some(_) => weights.iter().map(scaled).collect(),
        None => vec![u16::MAX; weights.len()].into(),
    }
}

const WEIGHT_MAX: u64 = u16::MAX as u64;
const RATIO_MIN: f32 = 0.01;
const RATIO_MAX: f32 = 10.0;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::picker::Candidate;
    use crate::client::picker::lease::{LoadTracking, PickableConnection};
    use crate::connection_id::ConnectionId;
    use crate::endpoint::EndpointId;

    fn shares(weights: &[f32], picks: usize) -> Vec<usize> {
        let tracking = LoadTracking::default();
        let candidate = |(n, &weight): (usize, &f32)| {
            let id = EndpointId::for_tests(n as u64);
            let slot = PickableConnection::new(ConnectionId(n as u64), id, (), Arc::default(), tracking);
            Candidate::new(id, weight, std::iter::once(Arc::new(slot)))
        };
        let candidates = Candidates::new(weights.iter().enumerate().filter_map(candidate).collect()).unwrap();
        let picker = WeightedRoundRobin::new(candidates, Arc::new(AtomicU32::new(12_345)));
        let mut counts = vec![0; weights.len()];
        (0..picks).for_each(|_| counts[picker.choose()] += 1);
        counts
    }

    #[test]
    fn shares_are_in_proportion_at_any_time() {
        for picks in [60, 600, 6000] {
            let counts = shares(&[1.0, 2.0, 3.0], picks);
            for (count, weight) in counts.iter().zip([1, 2, 3]) {
                assert!(count.abs_diff(picks * weight / 6) <= 2, "{counts:?}");
            }
        }
    }

    #[test]
    fn equal_weights_take_turns() {
        assert_eq!(shares(&[0.3; 7], 70), [10; 7]);
    }

    #[test]
    fn what_weighs_nothing_is_not_taken() {
        assert_eq!(shares(&[0.0, 2.0, 0.0, 1.0], 30), [0, 20, 0, 10]);
        assert_eq!(shares(&[0.0; 3], 30), [10; 3]);
    }

    #[test]
    fn the_extremes_are_bounded() {
        let counts = shares(&[1e-9, 1.0, 1.0, 1.0], 30_000);
        assert!((50..150).contains(&counts[0]), "a hundredth of the mean: {counts:?}");
        let mut weights = [1.0; 100];
        weights[0] = 1e30;
        let counts = shares(&weights, 11_000);
        assert!(counts[1..].iter().all(|count| *count > 0), "{counts:?}");
    }
}
