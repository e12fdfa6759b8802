//! `least_request`: the endpoint with the fewest calls in flight, of a few chosen at random (gRFC
//! A48).
//!
//! "The picker should pick the address with the least number of outstanding requests" of
//! `choiceCount` samples, drawn with replacement; of equals, the first drawn. The count rises at
//! the pick and falls when the call ends with any status. It belongs to the endpoint, so calls on a
//! draining connection count, too.
//!
//! One addition: an endpoint that fails a share *f* of its calls at once has a response time that
//! is shorter by that share. So it has fewer calls in flight, and would get 1/(1 - f) times its
//! share. Its calls in flight therefore count 1/(1 - f) times. The addition is rounded to whole
//! calls at random; otherwise an endpoint with two failures would lose every draw against one
//! without. One draw in ten ignores failures, since a recovered endpoint needs calls to show it.

use super::candidates::{Candidate, Candidates, scaled};
use super::zoned::Zones;
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

    /// Not inlined into `pick`: its registers would then be saved for every policy.
    #[inline(never)]
    pub(super) fn choose(&self, rng: &mut Rng) -> usize {
        let (offset, entries) = Zones::draw(self.zones.as_ref(), &self.candidates, rng);
        let random = rng.next_u64();
        let mut best = scaled((random >> 32) as u32, entries.len());
        // With weights other than 1 (slow start), Envoy's rule: calls including this one, divided
        // by the weight.
        let calls = |entry: &Candidate<C>, rng: &mut Rng| {
            let calls = (entry.load.in_flight() + 1) as f32;
            let failed = entry.load.outcomes.recent_failure_share() as f32;
            let surcharge = if failed > 0.0 { surcharge(calls, failed, rng) } else { 0.0 };
            (calls + surcharge) * entry.relief
        };
        let mut fewest = calls(&entries[best], rng);
        let mut sample = scaled(random as u32, entries.len());
        for drawn in 2..=self.choice_count {
            let sampled = calls(&entries[sample], rng);
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

/// Returns the calls that are added for the share of failures.
#[cold]
fn surcharge(calls: f32, failed: f32, rng: &mut Rng) -> f32 {
    if rng.unit() < UNHEEDED {
        return 0.0;
    }
    let failed = failed.min(FAILED_MAX);
    (calls * failed / (1.0 - failed) + rng.unit() as f32).floor()
}

/// The share of draws that ignore failures.
const UNHEEDED: f64 = 0.1;

/// No endpoint counts more than a hundredfold.
const FAILED_MAX: f32 = 0.99;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::client::outcome::Outcome;
    use crate::client::picker::lease::{LoadTracking, PickableConnection};
    use crate::client::picker::{Decision, Pick, Picker};
    use crate::connection_id::ConnectionId;
    use crate::endpoint::EndpointId;
    use crate::virtual_time::epoch;

    /// Shares of `n` endpoints. The first fails the share `failing` of its calls at once; all other
    /// calls take 20 ms. `per_20_ms` calls arrive in that time.
    fn shares(n: u64, failing: f64, per_20_ms: u32, calls: u32) -> Vec<u32> {
        let tracking = LoadTracking { counts_load: true, ..LoadTracking::default() };
        let candidate = |n| {
            let id = EndpointId::for_tests(n);
            let slot = PickableConnection::new(ConnectionId(n), id, n, Arc::default(), tracking);
            Candidate::new(id, 1.0, std::iter::once(Arc::new(slot)))
        };
        let candidates = Candidates::new((0..n).filter_map(candidate).collect()).unwrap();
        let picker = Picker::new(Decision::LeastRequest(LeastRequest::new(candidates, 2)));
        let (mut rng, mut now) = (Rng::new(n, 3), epoch());
        let mut working = BTreeMap::new();
        let mut counts = vec![0; n as usize];
        for call in 0..calls {
            now += Duration::from_millis(20) / per_20_ms;
            while working.first_key_value().is_some_and(|((at, _), _)| *at <= now) {
                let (_, lease): (_, crate::Lease<u64>) = working.pop_first().unwrap();
                let _ = lease.finish(now, Outcome::Success);
            }
            let Pick::Ready(lease) = picker.pick(now, &mut rng, &[]) else { panic!("nothing is full") };
            let endpoint = *lease.connection();
            counts[endpoint as usize] += 1;
            if endpoint == 0 && rng.unit() < failing {
                let _ = lease.finish(now, Outcome::Failure);
            } else {
                working.insert((now + Duration::from_millis(20), call), lease);
            }
        }
        counts
    }

    #[test]
    fn one_that_fails_fast_draws_no_more_than_its_share() {
        let cases = [(0.1, 10), (0.3, 10), (0.5, 1), (0.9, 10), (1.0, 10), (1.0, 1)];
        for (n, cases, rounds) in
            [(3, &cases[..], 2000), (12, &cases, 1000), (100, &cases, 300), (1000, &cases[1..2], 200)]
        {
            for &(failing, per_endpoint) in cases {
                let counts = shares(n, failing, per_endpoint * n as u32, rounds * n as u32);
                let share = f64::from(counts[0]) / f64::from(rounds);
                // Four standard deviations of a Poisson count.
                let bound = 1.03 + 4.0 / f64::from(rounds).sqrt();
                assert!(share < bound, "of {n}, failing {failing}, {per_endpoint} in flight: {share}");
            }
        }
    }

    #[test]
    fn few_failures_cost_an_idle_endpoint_little_of_its_share() {
        let counts = shares(3, 0.03, 1, 30_000);
        let share = f64::from(counts[0]) / 10_000.0;
        assert!(share > 0.85, "{share}");
    }
}
