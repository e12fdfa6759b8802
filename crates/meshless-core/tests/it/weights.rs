//! Shares that are not equal: slow start, what servers report, and subsets.

use std::num::NonZeroUsize;
use std::time::Duration;

use meshless_core::{BalancerConfig, LoadReport, Outcome, Policy, SlowStartConfig, WeightedConfig};

use crate::support::{World, endpoint};

const SECOND: Duration = Duration::from_secs(1);

fn slow_start(policy: Policy) -> BalancerConfig {
    BalancerConfig::new(policy).slow_start(Some(SlowStartConfig::new(20 * SECOND)))
}

/// How many of `n` calls go to `server`, a hundred of them at a time.
fn share(world: &mut World, server: u8, n: usize) -> usize {
    let mut count = 0;
    for _ in 0..n / 100 {
        let held: Vec<_> = (0..100).map(|_| world.lease()).collect();
        count += held.iter().filter(|lease| lease.connection().0 == server).count();
        for lease in held {
            world.now += Duration::from_micros(10);
            world.end(lease, Outcome::Success);
        }
    }
    count
}

#[test]
fn a_new_endpoint_gets_its_share_little_by_little() {
    for policy in [Policy::RoundRobin, Policy::LeastRequest, Policy::PeakEwma, Policy::WeightedRoundRobin] {
        let mut world = World::connected(slow_start(policy), 1..=3);
        world.advance(5 * SECOND);
        world.resolve(1..=4);
        world.connect_all();
        let weight_of = |world: &World| world.balancer.state().endpoints[3].weight;
        assert_eq!(weight_of(&world), 0.1);
        let first = share(&mut world, 4, 1000);
        assert!((10..=90).contains(&first), "{policy}: {first} of 1000");
        world.advance(10 * SECOND);
        let half = share(&mut world, 4, 1000);
        // Half a share: 1 of 7.
        assert!(half > first && (110..=190).contains(&half), "{policy}: {half} of 1000");
        world.advance(11 * SECOND);
        assert_eq!(weight_of(&world), 1.0);
        let whole = share(&mut world, 4, 1000);
        assert!((200..=300).contains(&whole), "{policy}: {whole} of 1000");
    }
}

#[test]
fn what_a_channel_finds_at_its_beginning_has_its_share_at_once() {
    let mut world = World::with_servers(slow_start(Policy::RoundRobin), 1..=3);
    world.connect_all();
    world.advance(SECOND);
    assert_eq!(share(&mut world, 1, 300), 100);
    assert_eq!(world.balancer.poll_timeout(), None, "and there is nothing to wait for");
}

#[test]
fn a_recovered_endpoint_starts_slowly_too() {
    let mut world = World::connected(slow_start(Policy::RoundRobin), 1..=3);
    world.call(15, &[2]);
    world.advance(6 * SECOND);
    assert_eq!(world.call(1, &[]), [2]);
    let share = share(&mut world, 2, 1000);
    assert!((20..100).contains(&share), "{share} of 1000");
}

#[test]
fn a_connection_that_ages_out_is_no_reason_to_start_slowly() {
    let mut world = World::connected(slow_start(Policy::RoundRobin), 1..=3);
    world.advance(SECOND);
    let one = world.connection_to(1);
    world.go_away(one);
    world.connect_all();
    assert_eq!(share(&mut world, 1, 300), 100);
}

fn weighted() -> BalancerConfig {
    BalancerConfig::new(Policy::WeightedRoundRobin)
}

/// 100 calls a second for so long; servers with a utilization report it with every call.
fn run(world: &mut World, seconds: u32, utilization: impl Fn(u8) -> Option<f64>) -> [usize; 4] {
    let mut counts = [0; 4];
    for _ in 0..seconds * 100 {
        let lease = world.lease();
        let server = lease.connection().0;
        counts[usize::from(server)] += 1;
        assert!(lease.wants_load());
        if let Some(utilization) = utilization(server) {
            let load =
                LoadReport { cpu_utilization: utilization, calls_per_second: 100.0, ..LoadReport::default() };
            lease.report(world.now, &load);
        }
        world.end(lease, Outcome::Success);
        world.advance(Duration::from_millis(10));
    }
    counts
}

fn one_twice_as_busy(server: u8) -> Option<f64> {
    Some(if server == 1 { 0.8 } else { 0.4 })
}

#[test]
fn shares_follow_the_reports_after_the_blackout() {
    let mut world = World::connected(weighted(), 1..=3);
    let even = run(&mut world, 9, one_twice_as_busy);
    assert_eq!(even[1..], [300; 3], "blackout");
    run(&mut world, 3, one_twice_as_busy);
    let [_, one, two, three] = run(&mut world, 10, one_twice_as_busy);
    assert!((195..=205).contains(&one), "one of five: {one}");
    assert!(two.abs_diff(400) <= 5 && three.abs_diff(400) <= 5, "{two}, {three}");
}

#[test]
fn who_does_not_report_gets_the_mean_and_one_report_is_none() {
    let mut world = World::connected(weighted(), 1..=3);
    let two_report = |server| one_twice_as_busy(server).filter(|_| server != 3);
    run(&mut world, 12, two_report);
    // Weights 125, 250 and their mean of 187.5.
    let [_, one, two, three] = run(&mut world, 9, two_report);
    assert!(
        one.abs_diff(200) <= 5 && two.abs_diff(400) <= 5 && three.abs_diff(300) <= 5,
        "{one} {two} {three}"
    );

    let mut world = World::connected(weighted(), 1..=3);
    run(&mut world, 12, |server| (server == 1).then_some(0.1));
    let even = run(&mut world, 9, |server| (server == 1).then_some(0.1));
    assert_eq!(even[1..], [300; 3]);
}

#[test]
fn reports_expire() {
    let config = weighted().weighted(WeightedConfig::default().expiration_period(20 * SECOND));
    let mut world = World::connected(config, 1..=3);
    run(&mut world, 15, one_twice_as_busy);
    run(&mut world, 21, |_| None);
    let even = run(&mut world, 9, |_| None);
    assert_eq!(even[1..], [300; 3]);
}

#[test]
fn an_update_of_shares_tells_what_it_went_by() {
    let config = weighted().weighted(WeightedConfig::default().expiration_period(20 * SECOND));
    let mut world = World::connected(config, 1..=3);
    let two_report = |server| one_twice_as_busy(server).filter(|_| server != 3);
    run(&mut world, 5, two_report);
    let update = world.balancer.take_weight_update().unwrap();
    assert_eq!(
        (update.not_yet_usable, update.stale, update.fell_back()),
        (3, 0, true),
        "blackout: {update:?}"
    );
    run(&mut world, 10, two_report);
    let update = world.balancer.take_weight_update().unwrap();
    assert_eq!((update.not_yet_usable, update.stale, update.fell_back()), (1, 0, false), "{update:?}");
    assert!(update.weights[1] > update.weights[0] && update.weights[2] == 0.0, "{update:?}");
    run(&mut world, 22, |_| None);
    let update = world.balancer.take_weight_update().unwrap();
    assert_eq!(
        (update.not_yet_usable, update.stale, update.fell_back()),
        (1, 2, true),
        "expired: {update:?}"
    );
    assert_eq!(world.balancer.take_weight_update(), None);
}

#[test]
fn a_new_connection_does_not_begin_a_blackout() {
    let mut world = World::connected(weighted(), 1..=3);
    run(&mut world, 12, one_twice_as_busy);
    let one = world.connection_to(1);
    world.go_away(one);
    world.connect_all();
    let [_, one, ..] = run(&mut world, 10, one_twice_as_busy);
    assert!((195..=205).contains(&one), "{one}");
}

fn out_of_band() -> BalancerConfig {
    let weighted = WeightedConfig::default().oob_load_report(true).oob_reporting_period(5 * SECOND);
    BalancerConfig::new(Policy::WeightedRoundRobin).weighted(weighted.expiration_period(20 * SECOND))
}

fn load(utilization: f64) -> LoadReport {
    LoadReport { cpu_utilization: utilization, calls_per_second: 100.0, ..LoadReport::default() }
}

/// Every server of three reports, each five seconds for so long.
fn report_apart(world: &mut World, seconds: u32, utilization: impl Fn(u8) -> f64) {
    for _ in 0..seconds / 5 {
        for server in 1..=3 {
            let sink = world.balancer.report_sink(world.connection_to(server)).expect("it is in service");
            assert_eq!(sink.period(), 5 * SECOND);
            sink.report(world.now, &load(utilization(server)));
        }
        world.advance(5 * SECOND);
    }
}

fn twice_as_busy(server: u8) -> f64 {
    if server == 1 { 0.8 } else { 0.4 }
}

#[test]
fn shares_follow_reports_that_come_apart_from_calls_after_the_blackout_until_they_expire() {
    let mut world = World::connected(out_of_band(), 1..=3);
    report_apart(&mut world, 5, twice_as_busy);
    assert_eq!(share(&mut world, 1, 300), 100, "blackout");
    report_apart(&mut world, 10, twice_as_busy);
    assert_eq!(share(&mut world, 1, 500), 100, "one of five");
    world.advance(21 * SECOND);
    assert_eq!(share(&mut world, 1, 300), 100, "expired");
    report_apart(&mut world, 5, twice_as_busy);
    assert_eq!(share(&mut world, 1, 300), 100, "blackout again");
}

#[test]
fn reports_of_calls_are_not_looked_at_beside_those_that_come_apart() {
    let mut world = World::connected(out_of_band(), 1..=3);
    report_apart(&mut world, 15, |_| 0.5);
    for lease in [world.lease(), world.lease(), world.lease()] {
        assert!(!lease.wants_load());
        lease.report(world.now, &load(twice_as_busy(lease.connection().0)));
    }
    world.advance(2 * SECOND);
    assert_eq!(share(&mut world, 1, 300), 100);
}

#[test]
fn a_report_without_sense_changes_no_share() {
    let mut world = World::connected(out_of_band(), 1..=3);
    report_apart(&mut world, 15, twice_as_busy);
    let sink = world.balancer.report_sink(world.connection_to(1)).unwrap();
    for nonsense in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, 0.0, f64::MIN_POSITIVE] {
        let all = LoadReport {
            application_utilization: nonsense,
            cpu_utilization: nonsense,
            calls_per_second: nonsense,
            errors_per_second: nonsense,
        };
        sink.report(world.now, &all);
        sink.report(world.now, &LoadReport { calls_per_second: nonsense, ..load(0.8) });
        sink.report(world.now, &LoadReport { cpu_utilization: nonsense, ..load(0.0) });
    }
    world.advance(2 * SECOND);
    assert_eq!(share(&mut world, 1, 500), 100, "one of five");
}

#[test]
fn reports_apart_are_wanted_of_connections_in_service_and_if_they_are_asked_for() {
    for config in [weighted(), out_of_band().policy(Policy::RoundRobin)] {
        let world = World::connected(config, 1..=1);
        assert!(!world.balancer.wants_reports());
        assert!(world.balancer.report_sink(world.connection_to(1)).is_none());
    }
    let mut world = World::connected(out_of_band(), 1..=1);
    assert!(world.balancer.wants_reports());
    let one = world.connection_to(1);
    world.go_away(one);
    assert!(world.balancer.report_sink(one).is_none());
    assert!(world.balancer.report_sink(world.attempt_at(1)).is_none());
    world.close(one, "gone");
    assert!(world.balancer.report_sink(one).is_none());
    world.connect_all();
    assert!(world.balancer.report_sink(world.connection_to(1)).is_some());
}

#[test]
fn the_resolver_s_weights_count_in_weighted_round_robin_only() {
    for (policy, expected) in [(Policy::WeightedRoundRobin, 150), (Policy::RoundRobin, 100)] {
        let mut world = World::with_servers(BalancerConfig::new(policy), 1..=3);
        let weights = [endpoint(1).with_weight(2), endpoint(2), endpoint(3)];
        world.balancer.handle_resolution(world.now, Ok(weights.to_vec()));
        world.act();
        world.connect_all();
        assert!(share(&mut world, 1, 300).abs_diff(expected) <= 2, "{policy}");
    }
}

#[test]
fn a_subset_is_connected_to_and_stays() {
    let config = BalancerConfig::default().subset_size(NonZeroUsize::new(5));
    let mut world = World::connected(config, 1..=30);
    let state = world.balancer.state();
    assert_eq!((state.endpoints.len(), state.endpoints_left_out), (5, 25));
    let before = crate::support::distinct(&world.picks(10));
    assert_eq!(before.len(), 5);
    let connects = world.connects.len();
    let gone = *before.first().expect("five");
    world.resolve((1..=30).filter(|server| *server != gone));
    world.connect_all();
    assert_eq!(world.connects.len(), connects + 1, "one in its place");
    world.resolve(1..=30);
    world.connect_all();
    assert_eq!(crate::support::distinct(&world.picks(10)), before);
}
