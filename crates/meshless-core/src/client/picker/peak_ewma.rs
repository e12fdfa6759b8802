//! `peak_ewma`: of two endpoints chosen at random, the one where a call will probably end first.
//!
//! Cost = response time² × (calls in flight + 1) / weight; the two choices are distinct. Finagle
//! and Linkerd do not square. That is right for a server that works on one call after the other:
//! there, calls in flight are calls ahead. A server that works on many calls at once takes the same
//! time for any number. With equal products, a 3× slower server would get calls as soon as its
//! peers have three each. With the square they have nine, and a server that queues work then
//! already shows it in its response time.
//!
//! The square fails under more load, if a slow endpoint works on any number of calls at once. It
//! has a ninth of the calls in flight of a fast one, each takes three times as long, so it gets one
//! call in fifty. That determines the 99th percentile. So if an endpoint is usually more than 2×
//! slower than the other, its cost counts eight times.
//!
//! "Usually" is an average without peaks ([`ewma`](crate::ewma)). After a pause that hits one call
//! in a thousand, an endpoint must keep its share; otherwise its peers carry its load. A third
//! power in place of the factor would fail here. The factor does not last for ever: averages fade
//! without measurements, so an endpoint that is 3× slower is tried again every 4 s. Calls in flight
//! still count, and show when a fast endpoint hangs. If the fast ones queue, they are no longer
//! fast. Chosen by simulation. The table shows the 99th percentile in ms for exponents 1, 2, 3, and
//! 2 with the factor (three backends, 20 ms, in the last three rows 10 ms):
//!
//! | | 1 | 2 | 3 | this |
//! |---|---|---|---|---|
//! | one 3 × slower, 1 000 or 5 000 calls/s, any number at once | 64 | 59 | 22 | 22 |
//! | its share | 6 % | 1.7 % | 0.1 to 0.6 % | 0.1 % |
//! | one 3 × slower, 14 at once, ρ 0.7 of the others | 64 | 62 | 55 | 25 |
//! | one 3 × slower, 7 at once, ρ 1.05 of the others | 66 | 65 | 66 | 68 |
//! | seconds until one that recovered has 70 % of its share again | 11 | 17 | 20 | 15 |
//! | all well, pauses of 300 ms, 10 at once, ρ 0.5 | 24 | 50 | 228 | 53 |
//! | all well, log-normal times (σ 1), 10 at once, ρ 0.7 | 63 | 65 | 73 | 64 |
//! | ten, all well, exponential times, 4 at once, ρ 0.9, 100 clients | 83 | 93 | 121 | 93 |
//!
//! An endpoint without measurements counts as fast as the one it is compared with, so calls in
//! flight decide. It starts like its peers, neither flooded (as with a cost of 0) nor avoided (as
//! with a default of seconds).

use super::candidates::{Candidate, Candidates, scaled};
use super::zoned::Zones;
use crate::ewma::{EwmaDecay, Latency};
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

    /// Not inlined into `pick`: its registers would then be saved for every policy.
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
        let latency = |entry: &Candidate<C>| {
            let read = entry.load.latency().read(&self.decay, ticks)?;
            Some(Latency { peak: read.peak.max(FLOOR_NANOS), ..read })
        };
        let pending = |entry: &Candidate<C>| (entry.load.in_flight() + 1) as f32 * entry.relief;
        let (left, right) = (&entries[first], &entries[second]);
        let (of_left, of_right) = (latency(left), latency(right));
        let unmeasured = Latency { peak: FLOOR_NANOS, usual: None };
        let at_left = of_left.or(of_right).unwrap_or(unmeasured);
        let at_right = of_right.or(of_left).unwrap_or(unmeasured);
        let cost_left = at_left.peak * at_left.peak * pending(left) * surcharge(at_left, at_right);
        let cost_right = at_right.peak * at_right.peak * pending(right) * surcharge(at_right, at_left);
        offset + if cost_right < cost_left { second } else { first }
    }
}

/// Returns the factor on the cost of an endpoint that is slow compared to the other.
#[inline]
fn surcharge(own: Latency, other: Latency) -> f32 {
    match (own.usual, other.usual) {
        (Some(own), Some(other)) if own > SLOW * other.max(FLOOR_NANOS) => SURCHARGE,
        _ => 1.0,
    }
}

/// An endpoint is slow if it is this many times slower than the other. With 1.5, a healthy server
/// with unlucky calls counts as slow.
const SLOW: f32 = 2.0;

/// With the square of [`SLOW`], a fast endpoint has at least 32 calls in flight per call at a slow
/// one.
const SURCHARGE: f32 = 8.0;

/// An average that has faded below 1 µs says nothing. Without a floor, calls in flight would be
/// multiplied by almost zero, and an idle endpoint would receive a burst.
const FLOOR_NANOS: f32 = 1000.0;

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::client::outcome::Outcome;
    use crate::client::picker::lease::{Lease, LoadTracking, Measure, PickableConnection};
    use crate::client::picker::{Decision, Pick, Picker};
    use crate::connection_id::ConnectionId;
    use crate::endpoint::EndpointId;
    use crate::virtual_time::epoch;
    use std::sync::Arc;
    use std::time::Duration;

    pub(in crate::client::picker) fn picker(n: u64) -> Picker<u64> {
        let decay = EwmaDecay::new(epoch(), Duration::from_secs(10));
        let measure = Measure { decay, failure_penalty: Duration::from_secs(5) };
        let tracking = LoadTracking { counts_load: true, measure: Some(measure), ..LoadTracking::default() };
        let candidate = |n| {
            let id = EndpointId::for_tests(n);
            let slot = PickableConnection::new(ConnectionId(n), id, n, Arc::default(), tracking);
            Candidate::new(id, 1.0, std::iter::once(Arc::new(slot)))
        };
        let candidates = Candidates::new((0..n).filter_map(candidate).collect()).unwrap();
        Picker::new(Decision::PeakEwma(PeakEwmaPolicy::new(candidates, decay)))
    }

    pub(in crate::client::picker) fn pick(picker: &Picker<u64>, now: Instant, rng: &mut Rng) -> Lease<u64> {
        match picker.pick(now, rng, &[]) {
            Pick::Ready(lease) => lease,
            other => panic!("{other:?}"),
        }
    }

    /// Shares with one call at a time; `serve` says how long each endpoint takes and how its calls
    /// end.
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
        // Only one of the two has been measured.
        let first = pick(&picker, epoch(), &mut rng);
        first.finish(epoch() + Duration::from_millis(10), Outcome::Success);
        let held: Vec<_> = (0..100).map(|_| pick(&picker, epoch(), &mut rng)).collect();
        let on_first = held.iter().filter(|lease| *lease.connection() == 0).count();
        assert!((49..=51).contains(&on_first), "{on_first}");
    }

    #[test]
    fn a_deadline_of_a_millisecond_is_no_penalty_of_seconds_and_a_long_silence_counts() {
        for (waited, expected) in [(1, 45..=55), (1000, 0..=5)] {
            let (picker, mut rng) = (picker(2), Rng::new(1, 1));
            let [one, other] = [0, 1].map(|_| pick(&picker, epoch(), &mut rng));
            let at = epoch() + Duration::from_millis(10);
            for lease in [one, other] {
                let _ = lease.finish(at, Outcome::Success);
            }
            let late = pick(&picker, at, &mut rng);
            let endpoint = *late.connection();
            let now = at + Duration::from_millis(waited);
            let _ = late.finish(now, Outcome::Late);
            let held: Vec<_> = (0..100).map(|_| pick(&picker, now, &mut rng)).collect();
            let there = held.iter().filter(|lease| *lease.connection() == endpoint).count();
            assert!(expected.contains(&there), "after {waited} ms: {there}");
        }
    }
}
