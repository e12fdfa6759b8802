//! A fleet in virtual time: checks the spread of sticky clients under self-levelling age against
//! the closed form.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::*;
use crate::virtual_time::epoch;

const SERVERS: usize = 4;
const CLIENTS: usize = 400;
const AGE: Duration = Duration::from_secs(60);

/// Returns the variance of the servers' numbers of connections, and the mean rotations per client
/// and age. It covers `ages` ages after the first ten.
fn simulate(exponent: Option<u32>, ages: u32, seed: u64) -> (f64, f64) {
    let mut rng = Rng::new(seed, 0);
    let levelling: Vec<_> = (0..SERVERS).map(|_| Arc::new(Levelling::new(exponent.unwrap_or(0)))).collect();
    let (mut counts, mut connections) = ([0usize; SERVERS], 0);
    let mut connect = |now: Instant, counts: &mut [usize; SERVERS]| {
        let server = rng.below(SERVERS);
        counts[server] += 1;
        connections += 1;
        let config = LifetimeConfig::default().max_age(AGE);
        let mut lifetime = Lifetime::new(config, now, &mut Rng::new(seed, connections));
        if exponent.is_some() {
            lifetime = lifetime.levelled(levelling[server].clone());
        }
        lifetime.handle_ready(now);
        (server, lifetime)
    };
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| connect(epoch(), &mut counts)).collect();
    let due = |client: usize, lifetime: &Lifetime| {
        Reverse((lifetime.poll_timeout().expect("every connection ages"), client))
    };
    let mut timers: BinaryHeap<_> = clients.iter().enumerate().map(|(id, (_, life))| due(id, life)).collect();
    let (warm, end) = (epoch() + AGE * 10, epoch() + AGE * (10 + ages));
    let (mut last, mut area, mut rotations) = (warm, 0.0, 0u64);
    while let Some(Reverse((now, client))) = timers.pop().filter(|Reverse((now, _))| *now < end) {
        if now > last {
            let mean = CLIENTS as f64 / SERVERS as f64;
            let squares: f64 = counts.iter().map(|count| (*count as f64 - mean).powi(2)).sum();
            area += squares / SERVERS as f64 * (now - last).as_secs_f64();
            last = now;
        }
        let (server, lifetime) = &mut clients[client];
        lifetime.handle_timeout(now);
        if lifetime.poll_action().is_some() {
            counts[*server] -= 1;
            rotations += u64::from(now >= warm);
            clients[client] = connect(now, &mut counts);
        }
        timers.push(due(client, &clients[client].1));
    }
    let rotations_per_age = rotations as f64 / (CLIENTS as f64 * f64::from(ages));
    (area / (end - warm).as_secs_f64(), rotations_per_age)
}

/// Without levelling the variance is binomial, n̄(1−1/M). With exponent a it is divided by 1 + a −
/// a/(W+1).
#[test]
fn levelling_divides_the_variance_of_connections_as_the_closed_form_says() {
    let (ages, seed) = (80, 11);
    let binomial = 100.0 * (1.0 - 1.0 / SERVERS as f64);
    // The time average of x², x of relaxation time τ, over D ages and M−1 free servers has a
    // relative standard deviation of √(2τ/(D(M−1))): 9 % for a = 0 (τ = 1), as much for a = 3,
    // whose mean varies slowly. The tolerance is five of them.
    let tolerance = 0.45;
    for exponent in [None, Some(0), Some(3)] {
        let (variance, rotations) = simulate(exponent, ages, seed);
        let a = f64::from(exponent.unwrap_or(0));
        let expected = binomial / (1.0 + a - a / f64::from(levelling::MEAN_AGES + 1));
        assert!(
            (variance / expected - 1.0).abs() < tolerance,
            "a = {exponent:?}: variance {variance:.1}, not {expected:.1} (seed {seed})"
        );
        // At a mean of 100 connections levelling costs a few per cent of churn.
        assert!((0.9..1.1).contains(&rotations), "a = {exponent:?}: {rotations:.3} rotations per age");
    }
}

#[test]
fn a_server_that_fills_up_keeps_what_comes() {
    let levelling = Arc::new(Levelling::new(3));
    let mut left = 0;
    let mut open: Vec<Lifetime> = Vec::new();
    for second in 0..60u32 {
        let now = epoch() + Duration::from_secs(1) * second;
        open.iter_mut().for_each(|lifetime| lifetime.handle_timeout(now));
        let before = open.len();
        open.retain_mut(|lifetime| lifetime.poll_action().is_none());
        left += before - open.len();
        for id in 0..10 {
            let config = LifetimeConfig::default().max_age(AGE);
            let rng = &mut Rng::new(3, u64::from(second * 10 + id));
            let mut lifetime = Lifetime::new(config, now, rng).levelled(levelling.clone());
            lifetime.handle_ready(now);
            open.push(lifetime);
        }
        assert_eq!(levelling.connections(), open.len());
    }
    // Of connections that came evenly over one mean age, ∫(1 − e^−(t−¼)/¾)dt over ¼..1 = 27 % are
    // gone. At the highest pace most would be gone.
    assert!((100..240).contains(&left), "{left} of 600 left");
}

/// Clients treat a connection that ends as soon as it has come as a failing server, and back off.
#[test]
fn a_crowd_does_not_shorten_an_age_below_a_quarter() {
    let levelling = Arc::new(Levelling::new(3));
    let open = |now: Instant, id: u64| {
        let config = LifetimeConfig::default().max_age(AGE);
        let mut lifetime = Lifetime::new(config, now, &mut Rng::new(5, id)).levelled(levelling.clone());
        lifetime.handle_ready(now);
        lifetime
    };
    // One at a time, until the server is warm and its average has followed.
    let crowd_at = epoch() + AGE * 4;
    let mut alone = open(epoch(), 0);
    let mut now = epoch();
    while now < crowd_at {
        alone.handle_timeout(now);
        if alone.poll_action().is_some() {
            alone = open(now, 1);
        }
        now += AGE / 60;
    }
    let mut crowd: Vec<_> = (2..102).map(|id| open(now, id)).collect();
    let opened = now;
    let mut first = None;
    while now < opened + AGE {
        for lifetime in &mut crowd {
            lifetime.handle_timeout(now);
            if lifetime.poll_action().is_some() {
                first.get_or_insert(now - opened);
            }
        }
        now += AGE / 600;
    }
    let first = first.expect("a crowd loses connections");
    assert!(first >= AGE / 4, "sent away after {first:?}");
    assert!(first < AGE / 3, "the clock of a crowd runs fast: {first:?}");
}
