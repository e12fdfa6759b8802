//! Backends that fail: who is ejected, when it is tried again, and what is left when many fail.

use std::num::NonZeroU32;
use std::time::Duration;

use meshless_core::{BalancerConfig, EjectionCause, EjectionConfig, Outcome, OutlierConfig, Policy};

use crate::support::{World, distinct};

const SECOND: Duration = Duration::from_secs(1);
/// The longest that a first ejection lasts.
const FIRST_EJECTION_MAX: Duration = Duration::from_secs(6);

const BALANCED: [Policy; 3] = [Policy::RoundRobin, Policy::LeastRequest, Policy::PeakEwma];

fn of(world: &World, servers: &[u8]) -> Vec<bool> {
    let state = world.balancer.state();
    let is_ejected = |server: &u8| {
        let address = crate::support::endpoint(*server).address;
        state.endpoints.iter().any(|endpoint| endpoint.address == address && endpoint.ejection.is_some())
    };
    servers.iter().map(is_ejected).collect()
}

#[test]
fn five_failures_in_a_row_take_an_endpoint_out_at_once() {
    let mut world = World::connected(BalancerConfig::default(), 1..=3);
    world.call(12, &[2]);
    assert_eq!(of(&world, &[2]), [false], "four");
    world.call(3, &[2]);
    let ejection = world.balancer.state().endpoints[1].ejection.expect("five");
    assert_eq!(ejection.cause, EjectionCause::ConsecutiveFailures(5));
    assert_eq!(distinct(&world.call(30, &[2])), distinct(&[1, 3]));
    assert!(
        world.log.iter().all(|action| !action.contains("abort") && !action.contains("drain")),
        "it stays connected"
    );
}

#[test]
fn a_success_in_between_forgives() {
    let mut world = World::connected(BalancerConfig::default(), 1..=3);
    for _ in 0..10 {
        world.call(12, &[2]);
        world.call(3, &[]);
    }
    assert_eq!(of(&world, &[2]), [false]);
}

#[test]
fn one_call_tries_again_and_its_end_decides() {
    for policy in BALANCED {
        let mut world = World::connected(BalancerConfig::new(policy), 1..=3);
        while of(&world, &[2]) == [false] {
            world.call(1, &[2]);
            world.advance(SECOND);
        }
        world.advance(FIRST_EJECTION_MAX);
        let probe = world.lease();
        assert_eq!(probe.connection().0, 2, "{policy}: it goes ahead");
        let held: Vec<_> = (0..20).map(|_| world.lease()).collect();
        assert!(held.iter().all(|lease| lease.connection().0 != 2), "{policy}: alone");
        let ejected_at = world.now;
        world.end(probe, Outcome::Failure);
        let ejection = world.balancer.state().endpoints[1].ejection.unwrap();
        assert_eq!(ejection.cause, EjectionCause::ProbeFailed);
        assert!(ejection.until - ejected_at >= 8 * SECOND, "{policy}: longer than before");
        world.advance(13 * SECOND);
        let probe = world.lease();
        assert_eq!(probe.connection().0, 2);
        world.end(probe, Outcome::Success);
        assert_eq!(of(&world, &[2]), [false], "{policy}");
        assert_eq!(world.picker.endpoints(), 3);
        drop(held);
    }
}

#[test]
fn a_probe_that_is_cancelled_or_silent_is_followed_by_another() {
    let mut world = World::connected(BalancerConfig::default(), 1..=3);
    world.call(15, &[2]);
    world.advance(FIRST_EJECTION_MAX);
    drop(world.lease());
    assert!(!world.picks(30).contains(&2));
    world.advance(5 * SECOND);
    let silent = world.lease();
    assert_eq!(silent.connection().0, 2);
    world.advance(5 * SECOND);
    assert_eq!(world.call(1, &[]), [2]);
    assert_eq!(of(&world, &[2]), [false]);
    drop(silent);
}

#[test]
fn the_end_of_an_old_call_does_not_decide() {
    for outcome in [Outcome::Success, Outcome::Failure] {
        let mut world = World::connected(BalancerConfig::default(), 1..=3);
        let old: Vec<_> = (0..3).map(|_| world.lease()).collect();
        world.call(15, &[2]);
        world.advance(FIRST_EJECTION_MAX);
        let until = world.balancer.state().endpoints[1].ejection.unwrap().until;
        for lease in old {
            world.end(lease, outcome);
        }
        assert_eq!(world.balancer.state().endpoints[1].ejection.unwrap().until, until);
        let probe = world.lease();
        assert_eq!(probe.connection().0, 2);
        world.end(probe, Outcome::Success);
        assert_eq!(of(&world, &[2]), [false]);
    }
}

#[test]
fn clients_do_not_come_back_together() {
    let until = |seed| {
        let mut world = World::new(BalancerConfig::default(), seed);
        world.balancer.handle_call(world.now);
        world.resolve(1..=3);
        world.connect_all();
        world.call(15, &[2]);
        world.balancer.state().endpoints[1].ejection.unwrap().until - world.now
    };
    let mut times: Vec<_> = (0..20).map(until).collect();
    times.sort_unstable();
    times.dedup();
    assert_eq!(times.len(), 20);
    assert!(times[0] >= 4 * SECOND && times[19] <= FIRST_EJECTION_MAX);
    assert!(times[19] - times[0] > SECOND, "{times:?}");
}

#[test]
fn at_most_half_are_ejected_and_when_more_fail_all_are_used() {
    for (servers, failing, ejected) in
        [(1, &[1][..], &[][..]), (2, &[1], &[1]), (2, &[1, 2], &[]), (3, &[1], &[1]), (4, &[1, 2], &[1, 2])]
    {
        let mut world = World::connected(BalancerConfig::default(), 1..=servers);
        world.call(100, failing);
        let picked = distinct(&world.call(40, failing));
        let expected: Vec<_> = (1..=servers).filter(|server| !ejected.contains(server)).collect();
        assert_eq!(picked, distinct(&expected), "{failing:?} of {servers}");
    }
}

#[test]
fn a_panic_ends_when_enough_are_well_again() {
    let mut world = World::connected(BalancerConfig::default(), 1..=3);
    world.call(100, &[1, 2]);
    assert_eq!(distinct(&world.call(9, &[1, 2])).len(), 3, "two of three: all are used");
    world.advance(FIRST_EJECTION_MAX);
    world.call(9, &[1]);
    // By itself: no event tells of it.
    world.advance(2 * SECOND);
    let servers = world.call(30, &[1]);
    assert_eq!(distinct(&servers), distinct(&[2, 3]));
}

#[test]
fn an_ejected_endpoint_is_used_when_no_other_can_be_reached() {
    let mut world = World::connected(BalancerConfig::default(), [1, 2]);
    world.call(20, &[1]);
    assert_eq!(distinct(&world.call(4, &[])), distinct(&[2]));
    world.close(world.connection_to(2), "reset");
    assert_eq!(world.call(3, &[]), [1, 1, 1]);
}

#[test]
fn unavailable_names_what_was_ejected() {
    let mut world = World::connected(BalancerConfig::default(), [1, 2]);
    world.call(20, &[1]);
    for server in [1, 2] {
        world.close(world.connection_to(server), "reset");
    }
    world.advance(2 * SECOND);
    world.fail_all("refused");
    let text = world.failure().to_string();
    assert!(text.contains("10.0.0.1:50051: refused (ejected before: 5 calls in a row failed)"), "{text}");
    assert!(text.ends_with("10.0.0.2:50051: refused"), "{text}");
}

#[test]
fn an_endpoint_that_fails_now_and_then_is_ejected_by_comparison() {
    let outliers = OutlierConfig::default();
    let ejection = EjectionConfig::default().consecutive_failures(None).outlier_detection(Some(outliers));
    let mut world = World::connected(BalancerConfig::default().ejection(ejection), 1..=3);
    for call in 0..600 {
        let lease = world.lease();
        let fails = lease.connection().0 == 2 && call % 4 == 0;
        world.end(lease, if fails { Outcome::Failure } else { Outcome::Success });
        world.advance(Duration::from_millis(10));
        if of(&world, &[2]) == [true] {
            let ejection = world.balancer.state().endpoints[1].ejection.unwrap();
            assert!(matches!(ejection.cause, EjectionCause::SuccessRate(70..=80)), "{ejection:?}");
            assert_eq!(of(&world, &[1, 3]), [false; 2]);
            let counts = world.balancer.ejection_counts();
            assert_eq!((counts.enforced.success_rate, counts.unenforced.success_rate), (1, 0));
            return assert!(call < 300, "within two intervals");
        }
    }
    panic!("it was not ejected");
}

#[test]
fn an_outlier_that_must_stay_is_counted_at_every_comparison() {
    let ejection = EjectionConfig::default()
        .consecutive_failures(None)
        .outlier_detection(Some(OutlierConfig::default()))
        .panic_percent(0);
    let mut world = World::connected(BalancerConfig::default().ejection(ejection), 1..=3);
    // The first comparison has nothing to compare with.
    world.advance(SECOND);
    for second in 1..=3 {
        world.call(300, &[2]);
        world.advance(SECOND);
        assert_eq!(of(&world, &[2]), [false]);
        let counts = world.balancer.ejection_counts();
        assert_eq!((counts.enforced.success_rate, counts.unenforced.success_rate), (0, second));
    }
}

#[test]
fn off_is_off() {
    let config = BalancerConfig::default().ejection(EjectionConfig::default().consecutive_failures(None));
    let mut world = World::connected(config, 1..=3);
    assert_eq!(distinct(&world.call(300, &[2])).len(), 3);
    assert_eq!(world.balancer.poll_timeout(), None, "and keeps no timer");
}

#[test]
fn the_breaker_keeps_no_timer_while_all_is_well() {
    let mut world = World::connected(BalancerConfig::default(), 1..=3);
    world.call(300, &[]);
    assert_eq!(world.balancer.poll_timeout(), None);
}

#[test]
fn pick_first_ejects_nothing() {
    let mut world = World::connected(BalancerConfig::new(Policy::PickFirst), 1..=3);
    let current = world.lease().connection().0;
    assert_eq!(distinct(&world.call(30, &[current])), distinct(&[current]));
}

/// One backend of ten fails at once; 1 000 calls a second of 10 ms for 30 s. Failed per 100 000, in
/// the first second and after.
fn failed_share(policy: Policy, ejection: EjectionConfig) -> (u32, f64) {
    let mut world = World::connected(BalancerConfig::new(policy).ejection(ejection), 1..=10);
    let mut running = std::collections::VecDeque::new();
    let (mut early, mut late) = (0, 0);
    for milli in 0..30_000u32 {
        world.advance(Duration::from_millis(1));
        let lease = world.lease();
        if lease.connection().0 == 4 {
            *(if milli < 1000 { &mut early } else { &mut late }) += 1;
            world.end(lease, Outcome::Failure);
        } else {
            running.push_back((milli + 10, lease));
        }
        while running.front().is_some_and(|(at, _)| *at <= milli) {
            let (_, lease) = running.pop_front().expect("seen above");
            world.end(lease, Outcome::Success);
        }
    }
    (early, f64::from(late) / 29_000.0)
}

#[test]
fn one_backend_of_ten_that_fails_fast_costs_one_call_in_a_thousand_at_most() {
    for policy in BALANCED {
        let (early, late) = failed_share(policy, EjectionConfig::default());
        assert!(early <= 5, "{policy}: {early} in the first second");
        assert!(late <= 0.001, "{policy}: {late}");
    }
    let (_, without) = failed_share(Policy::RoundRobin, EjectionConfig::default().consecutive_failures(None));
    assert!(without > 0.099, "{without}");
}

#[test]
fn a_recovered_endpoint_has_its_share_again_within_seconds() {
    for policy in BALANCED {
        let mut world = World::connected(BalancerConfig::new(policy), 1..=3);
        let mut share = 0;
        // Fails for 10 s, is well for 20 s; its share is taken in the last second.
        for milli in 0..30_000u32 {
            world.advance(Duration::from_millis(1));
            let lease = world.lease();
            let server = lease.connection().0;
            let outcome = if server == 2 && milli < 10_000 { Outcome::Failure } else { Outcome::Success };
            share += u32::from(server == 2 && milli >= 29_000);
            world.now += Duration::from_micros(500);
            world.end(lease, outcome);
        }
        assert!(share > 150, "{policy}: {share} of 1000");
    }
}

#[test]
fn the_panic_threshold_can_be_set() {
    let n = NonZeroU32::new(3);
    let all = EjectionConfig::default().panic_percent(100).consecutive_failures(n);
    let mut world = World::connected(BalancerConfig::default().ejection(all), 1..=3);
    world.call(60, &[1, 2]);
    assert_eq!(distinct(&world.call(9, &[1, 2])), distinct(&[3]), "but never the last");
    world.call(60, &[1, 2, 3]);
    assert_eq!(distinct(&world.call(9, &[1, 2, 3])).len(), 3);
}
