//! `peak_ewma`: the endpoint where a call is likely to end soonest, of two chosen at random.
//!
//! Cost = response time² × (calls in flight + 1) / weight; the two choices are distinct. Finagle and Linkerd do not square, which is
//! right for a server that works on one call after the other: there calls in flight are calls ahead. One that works on many at
//! once answers in its own time however many there are, and equal products would keep a server that is three times
//! as slow as its peers in use as soon as they have three calls each. With the square they have nine, which in a server
//! with work to queue already shows in its response time.
//!
//! An endpoint that has not been measured is taken to be as fast as the one it is compared with, so that calls in flight decide: it starts
//! like its peers, neither flooded (as with a cost of 0) nor shunned (as with a default of seconds).

use super::zoned::Zones;
use super::{Candidate, Candidates, scaled};
use crate::ewma::EwmaDecay;
use crate::rng::Rng;
use std::time::Instant;

#[derive(Debug)]
pub(crate) struct PeakEwmaPolicy<C> {
    pub(super) candidates: Candidates<C>,
    zones: Option<Zones>,
    decay: EwmaDecay,
}

impl<C> PeakEwmaPolicy<C> {
    pub(crate) fn new(mut candidates: Candidates<C>, decay: EwmaDecay) -> Self {
        let zones = Zones::of(&mut candidates);
        Self { candidates, zones, decay }
    }

    /// Not inlined into `pick`, where its registers would have to be saved for every policy.
    #[inline(never)]
    pub(super) fn choose(&self, now: Instant, rng: &mut Rng) -> usize {
        let (offset, entries) = Zones::draw(self.zones.as_ref(), &self.candidates, rng);
        if entries.len() == 1 {
            return offset;
        }
        let random = rng.next_u64();
        let first = scaled((random >> 32) as u32, entries.len());
        let mut second = scaled(random as u32, entries.len() - 1);
        if second >= first {
            second += 1;
        }
        let ticks = self.decay.ticks(now);
        let nanos = |entry: &Candidate<C>| {
            entry.load.latency().nanos(&self.decay, ticks).map(|nanos| nanos.max(FLOOR_NANOS))
        };
        let pending = |entry: &Candidate<C>| (entry.load.in_flight() + 1) as f32 * entry.relief;
        let (left, right) = (&entries[first], &entries[second]);
        let (of_left, of_right) = (nanos(left), nanos(right));
        let left_nanos = of_left.or(of_right).unwrap_or(FLOOR_NANOS);
        let right_nanos = of_right.or(of_left).unwrap_or(FLOOR_NANOS);
        let cost_left = left_nanos * left_nanos * pending(left);
        let cost_right = right_nanos * right_nanos * pending(right);
        offset + if cost_right < cost_left { second } else { first }
    }
}

/// An average that has faded below 1 µs says nothing any more; without a floor, calls in flight would be multiplied by
/// nothing, and an idle endpoint would receive a burst.
const FLOOR_NANOS: f32 = 1000.0;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connection_id::ConnectionId;
    use crate::endpoint::EndpointId;
    use crate::picker::lease::{Lease, LoadTracking, Measure, Outcome, Slot};
    use crate::picker::{Decision, Pick, Picker};
    use crate::virtual_time::epoch;
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use std::time::Duration;

    fn picker(n: u64) -> Picker<u64> {
        let decay = EwmaDecay::new(epoch(), Duration::from_secs(10));
        let measure = Measure { decay, failure_penalty: Duration::from_secs(5) };
        let tracking = LoadTracking { counts_load: true, measure: Some(measure), ..LoadTracking::default() };
        let candidate = |n| {
            let id = EndpointId::for_tests(n);
            let slot = Slot::new(ConnectionId(n), id, n, Arc::default(), tracking);
            Candidate::new(id, 1.0, std::iter::once(Arc::new(slot)))
        };
        let candidates = Candidates::new((0..n).filter_map(candidate).collect()).unwrap();
        Picker::new(Decision::PeakEwma(PeakEwmaPolicy::new(candidates, decay)))
    }

    fn pick(picker: &Picker<u64>, now: Instant, rng: &mut Rng) -> Lease<u64> {
        match picker.pick(now, rng, &[]) {
            Pick::Ready(lease) => lease,
            other => panic!("{other:?}"),
        }
    }

    /// One call at a time; `serve` says how long each endpoint takes and how its calls end.
    fn shares(n: u64, calls: u32, serve: impl Fn(u64) -> (u64, Outcome)) -> Vec<u32> {
        let (picker, mut rng, mut now) = (picker(n), Rng::new(5, 5), epoch());
        let mut counts = vec![0; n as usize];
        for _ in 0..calls {
            let lease = pick(&picker, now, &mut rng);
            let endpoint = *lease.connection();
            let (micros, outcome) = serve(endpoint);
            counts[endpoint as usize] += 1;
            now += Duration::from_micros(micros);
            lease.finish(now, outcome);
        }
        counts
    }

    #[test]
    fn the_slow_one_is_left_alone() {
        let counts = shares(3, 3000, |n| (if n == 0 { 30_000 } else { 1_000 }, Outcome::Success));
        assert!(counts[0] < 100, "{counts:?}");
    }

    #[test]
    fn one_three_times_slower_is_left_alone_though_the_others_are_busy() {
        // 333 calls a second of 20 ms, three times that on one: seven in flight in all.
        let (picker, mut rng, mut now) = (picker(3), Rng::new(5, 5), epoch());
        let mut running: BTreeMap<(Instant, u32), Lease<u64>> = BTreeMap::new();
        let mut slow = 0;
        for call in 0..5000u32 {
            now += Duration::from_millis(3);
            while let Some(entry) = running.first_entry().filter(|entry| entry.key().0 <= now) {
                entry.remove().finish(now, Outcome::Success);
            }
            let lease = pick(&picker, now, &mut rng);
            let is_slow = *lease.connection() == 0;
            slow += u32::from(is_slow && call >= 250);
            let time = Duration::from_millis(if is_slow { 60 } else { 20 });
            running.insert((now + time, call), lease);
        }
        assert!(slow < 48, "{slow} of 4750: one in a hundred would be the 99th percentile");
    }

    #[test]
    fn the_fast_failing_one_does_not_attract_the_traffic() {
        let outcome = |n| if n == 0 { (100, Outcome::Failure) } else { (1_000, Outcome::Success) };
        let counts = shares(10, 3000, outcome);
        assert!(counts[0] < 10, "{counts:?}");
    }

    #[test]
    fn unmeasured_endpoints_are_chosen_by_calls_in_flight() {
        let (picker, mut rng) = (picker(2), Rng::new(1, 1));
        let held: Vec<_> = (0..100).map(|_| pick(&picker, epoch(), &mut rng)).collect();
        let on_first = held.iter().filter(|lease| *lease.connection() == 0).count();
        assert_eq!(on_first, 50, "two distinct choices of two endpoints always compare both");
    }

    #[test]
    fn a_new_endpoint_is_not_flooded() {
        let (picker, mut rng) = (picker(2), Rng::new(1, 1));
        // Only one of both has been measured.
        let first = pick(&picker, epoch(), &mut rng);
        first.finish(epoch() + Duration::from_millis(10), Outcome::Success);
        let held: Vec<_> = (0..100).map(|_| pick(&picker, epoch(), &mut rng)).collect();
        let on_first = held.iter().filter(|lease| *lease.connection() == 0).count();
        assert!((49..=51).contains(&on_first), "{on_first}");
    }
}
