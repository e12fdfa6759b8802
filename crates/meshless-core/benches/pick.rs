//! What it costs to place a call and to end it: `pick`, and the drop of its lease, at 3, 100 and 1
//! 000 endpoints.
//!
//! `cargo bench -p meshless-core --bench pick` measures time, on a quiet machine. Instructions can
//! be counted on a busy one: with `PICK_LOOP=round_robin,100,5000` in its environment the program
//! only places and ends that many calls, so that the difference of two counts (of `valgrind
//! --tool=none -v`, say, or `--tool=callgrind`) is that of the calls. `PICK_LOOP_FORGET=1` leaves
//! out the ends.

use std::hint::black_box;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, criterion_group};
use meshless_core::{Action, Balancer, BalancerConfig, Endpoint, Outcome, Pick, Picker, Policy, Rng};

/// The picker of a channel that is connected to `n` endpoints, with the channel.
fn connected(policy: Policy, n: u32, now: Instant) -> (Balancer<u64>, Arc<Picker<u64>>) {
    let unbounded = NonZeroU32::new(1_000_000).expect("not zero");
    let config =
        BalancerConfig::new(policy).connects_per_second(unbounded, unbounded).concurrent_connects(unbounded);
    let mut balancer = Balancer::new(config, Rng::new(1, 1), now);
    let endpoint = |n: u32| {
        let [_, a, b, c] = n.to_be_bytes();
        Endpoint::new(SocketAddr::from(([10, a, b, c], 50051)))
    };
    balancer.handle_call(now);
    balancer.handle_resolution(now, Ok((1..=n).map(endpoint).collect()));
    let mut published = Arc::new(Picker::idle());
    while let Some(action) = balancer.poll_action() {
        match action {
            Action::UpdatePicker(picker) => published = picker,
            Action::Connect { connection, .. } => balancer.handle_connected(now, connection, 7),
            _ => {}
        }
    }
    (balancer, published)
}

/// Gives every endpoint a latency, so that `peak_ewma` compares measured ones.
fn warm(picker: &Picker<u64>, n: u32, now: Instant, rng: &mut Rng) {
    for _ in 0..n * 20 {
        if let Pick::Ready(lease) = picker.pick(now, rng, &[]) {
            let latency = rng.jittered(Duration::from_millis(2), 0.5);
            lease.finish(now + latency, Outcome::Success);
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a bench is a driver")]
fn pick(criterion: &mut Criterion) {
    let now = Instant::now();
    for policy in Policy::ALL {
        let mut group = criterion.benchmark_group(policy.as_str());
        for n in [3, 100, 1000] {
            let (_balancer, picker) = connected(policy, n, now);
            let mut rng = Rng::new(1, 2);
            warm(&picker, n, now, &mut rng);
            let at = now + Duration::from_millis(5);
            group.bench_function(BenchmarkId::new("pick+drop", n), |bencher| {
                bencher.iter(|| drop(black_box(picker.pick(at, &mut rng, &[]))));
            });
        }
        group.finish();
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1));
    targets = pick
}

fn main() {
    if let Ok(plan) = std::env::var("PICK_LOOP") {
        return pick_loop(&plan);
    }
    benches();
    Criterion::default().configure_from_args().final_summary();
}

#[expect(clippy::disallowed_methods, reason = "a bench is a driver")]
fn pick_loop(plan: &str) {
    let mut words = plan.split(',');
    let mut word = || words.next().expect("PICK_LOOP is POLICY,ENDPOINTS,CALLS");
    let policy: Policy = word().parse().expect("a policy");
    let n: u32 = word().parse().expect("a number of endpoints");
    let calls: u32 = word().parse().expect("a number of calls");
    let forget = std::env::var_os("PICK_LOOP_FORGET").is_some();
    let now = Instant::now();
    let (_balancer, picker) = connected(policy, n, now);
    let mut rng = Rng::new(1, 2);
    warm(&picker, n, now, &mut rng);
    for _ in 0..calls {
        let pick = black_box(picker.pick(now, &mut rng, &[]));
        if forget { std::mem::forget(pick) } else { drop(pick) }
    }
}
