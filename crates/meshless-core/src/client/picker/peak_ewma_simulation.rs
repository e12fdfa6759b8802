//! A channel with `peak_ewma` in virtual time, under outside load, with a backend that is slow or
//! only unlucky.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::lease::Lease;
use super::peak_ewma::tests::{pick, picker};
use crate::client::outcome::Outcome;
use crate::rng::Rng;
use crate::virtual_time::epoch;

/// Equal backends, except that the first may be slow for a while.
#[derive(Clone, Copy)]
struct Load {
    calls_per_second: f64,
    /// Uniform: up to this share shorter or longer.
    jitter: f64,
    /// Calls that each backend works on at a time; the others wait their turn.
    workers: usize,
    slowness: f64,
    /// Seconds during which the first is slow.
    slow: (f64, f64),
    /// When the machine stops, and for how many seconds: every call in flight ends that much later.
    hiccup: (f64, f64),
    seconds: f64,
}

const STEADY: Load = Load {
    calls_per_second: 1000.0,
    jitter: 0.1,
    workers: usize::MAX,
    slowness: 3.0,
    slow: (5.0, f64::INFINITY),
    hiccup: (f64::INFINITY, 0.0),
    seconds: 30.0,
};

const BACKENDS: usize = 3;
const WORK: Duration = Duration::from_millis(20);

/// A call that has ended. Times in seconds.
#[derive(Clone, Copy, Debug)]
struct EndedCall {
    begun: f64,
    backend: usize,
    latency: f64,
}

impl Load {
    fn run(self, seed: u64) -> Vec<EndedCall> {
        let (picker, mut rng) = (picker(BACKENDS as u64), Rng::new(seed, 0));
        // For each backend, when its workers will be free; and the leases by their end.
        let mut busy: [BTreeSet<(Instant, u64)>; BACKENDS] = Default::default();
        let mut running: BTreeMap<(Instant, u64), Lease<u64>> = BTreeMap::new();
        let (mut now, mut calls) = (epoch(), Vec::new());
        for id in 0.. {
            now += Duration::from_secs_f64(-(1.0 - rng.unit()).ln() / self.calls_per_second);
            let begun = (now - epoch()).as_secs_f64();
            if begun > self.seconds {
                break;
            }
            while let Some(entry) = running.first_entry().filter(|entry| entry.key().0 <= now) {
                let (end, _) = *entry.key();
                entry.remove().finish(end, Outcome::Success);
            }
            let lease = pick(&picker, now, &mut rng);
            let backend = *lease.connection() as usize;
            let busy = &mut busy[backend];
            busy.retain(|(end, _)| *end > now);
            // The call begins when all but `workers - 1` of those before it have ended.
            let ahead = (busy.len() + 1).saturating_sub(self.workers);
            let start =
                ahead.checked_sub(1).and_then(|nth| busy.iter().nth(nth)).map_or(now, |(end, _)| *end);
            let is_slow = backend == 0 && (self.slow.0..self.slow.1).contains(&begun);
            let mut end =
                start + rng.jittered(WORK, self.jitter).mul_f64(if is_slow { self.slowness } else { 1.0 });
            let (stops, late) = self.hiccup;
            if (begun..(end - epoch()).as_secs_f64()).contains(&stops) {
                end += Duration::from_secs_f64(late);
            }
            busy.insert((end, id));
            running.insert((end, id), lease);
            calls.push(EndedCall { begun, backend, latency: (end - now).as_secs_f64() });
        }
        calls
    }
}

fn between(calls: &[EndedCall], from: f64, to: f64) -> impl Iterator<Item = &EndedCall> {
    calls.iter().filter(move |call| (from..to).contains(&call.begun))
}

/// One backend's share in a span of time.
fn share(calls: &[EndedCall], backend: usize, from: f64, to: f64) -> f64 {
    let of_it = between(calls, from, to).filter(|call| call.backend == backend).count();
    of_it as f64 / between(calls, from, to).count() as f64
}

fn p99_ms(calls: &[EndedCall], from: f64, to: f64) -> f64 {
    let mut latencies: Vec<_> = between(calls, from, to).map(|call| call.latency).collect();
    latencies.sort_unstable_by_key(|latency| Reverse(latency.to_bits()));
    latencies[latencies.len() / 100] * 1e3
}

#[test]
fn a_backend_three_times_slower_gets_too_few_calls_to_make_the_99th_percentile() {
    let any = usize::MAX;
    // The last case is ρ 0.7 of the other two backends.
    for (calls_per_second, workers) in [(100.0, any), (333.0, any), (2000.0, any), (1000.0, 14)] {
        let calls = Load { calls_per_second, workers, ..STEADY }.run(7);
        let (share, p99) = (share(&calls, 0, 10.0, 30.0), p99_ms(&calls, 10.0, 30.0));
        let all_well = p99_ms(&calls, 0.0, 5.0);
        assert!(share < 0.007, "{calls_per_second}/s, {workers} workers: {share}");
        assert!(p99 < 1.3 * all_well, "{calls_per_second}/s, {workers} workers: {p99}, not {all_well} ms");
    }
}

#[test]
fn a_hiccup_of_the_machine_does_not_make_the_slow_one_look_like_its_peers() {
    for (milliseconds, after) in [(40, 1.8), (60, 1.8), (60, 4.0)] {
        for seed in 1..=10 {
            let hiccup = (5.0 + after, f64::from(milliseconds) / 1e3);
            let calls = Load { calls_per_second: 200.0, hiccup, seconds: 25.0, ..STEADY }.run(seed);
            let (share, p99) = (share(&calls, 0, 5.0, 25.0), p99_ms(&calls, 5.0, 25.0));
            let all_well = p99_ms(&calls, 0.0, 5.0);
            let what = format!("seed {seed}, {milliseconds} ms {after} s after it became slow");
            assert!(share < 0.007, "{what}: {share}");
            assert!(p99 < 1.3 * all_well, "{what}: {p99}, not {all_well} ms");
        }
    }
}

#[test]
fn it_is_tried_every_few_seconds_and_comes_back_when_it_is_well() {
    for seed in 1..=5 {
        let load = Load { calls_per_second: 100.0, slow: (5.0, 30.0), seconds: 60.0, ..STEADY };
        let calls = load.run(seed);
        let tries: Vec<_> = between(&calls, 10.0, 36.0).filter(|call| call.backend == 0).collect();
        let longest = tries.windows(2).map(|pair| pair[1].begun - pair[0].begun).fold(0.0, f64::max);
        assert!(longest < 8.0, "seed {seed}: not tried for {longest} s");
        let share = share(&calls, 0, 50.0, 60.0);
        assert!(share > 0.2, "seed {seed}: {share} of the calls, 20 s after its recovery");
    }
}

#[test]
fn backends_that_differ_by_noise_share_the_calls() {
    let calls = Load { jitter: 0.3, slowness: 1.0, ..STEADY }.run(7);
    for second in 1..30 {
        for backend in 0..BACKENDS {
            let share = share(&calls, backend, f64::from(second), f64::from(second + 1));
            assert!((0.29..0.38).contains(&share), "{share} to {backend} in second {second}");
        }
    }
}

#[test]
fn a_slow_one_takes_what_is_too_much_for_the_others() {
    // 5 % above the capacity of the others, nine tenths of the total.
    let calls = Load { calls_per_second: 735.0, workers: 7, ..STEADY }.run(7);
    let (share, p99) = (share(&calls, 0, 10.0, 30.0), p99_ms(&calls, 10.0, 30.0));
    assert!(share > 0.05, "{share}");
    assert!(p99 < 100.0, "{p99} ms");
}

#[test]
fn one_that_is_a_third_slower_is_not_left_alone() {
    let calls = Load { slowness: 1.3, ..STEADY }.run(7);
    let share = share(&calls, 0, 10.0, 30.0);
    assert!((0.15..0.25).contains(&share), "{share}");
}
