//! Calls that stay in their zone, and those that cannot.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::time::Duration;

use meshless_core::{BalancerConfig, Outcome, Policy, SlowStartConfig, ZonePreference};

use crate::support::{World, distinct, endpoint};

const SECOND: Duration = Duration::from_secs(1);

const BALANCED: [Policy; 4] =
    [Policy::RoundRobin, Policy::LeastRequest, Policy::PeakEwma, Policy::WeightedRoundRobin];

/// Servers by the tens of their number: 11 and 12 are in "a", 21 in "b", 31 in "c", 1 in none.
fn zone(server: u8) -> Option<&'static str> {
    [None, Some("a"), Some("b"), Some("c")][usize::from(server / 10)]
}

fn in_zone(config: BalancerConfig, zone: &str) -> BalancerConfig {
    config.zone(Some(ZonePreference::new(zone)))
}

fn resolve(world: &mut World, servers: &[u8]) {
    let of = |&server: &u8| match zone(server) {
        Some(zone) => endpoint(server).with_zone(zone),
        None => endpoint(server),
    };
    world.balancer.handle_resolution(world.now, Ok(servers.iter().map(of).collect()));
    world.act();
}

fn connected(config: BalancerConfig, servers: &[u8]) -> World {
    let mut world = World::new(config, 1);
    world.balancer.handle_call(world.now);
    resolve(&mut world, servers);
    world.connect_all();
    world
}

/// How many of 900 calls each server gets, ten of them at a time.
fn counts(world: &mut World) -> BTreeMap<u8, u32> {
    let mut counts = BTreeMap::new();
    for _ in 0..90 {
        let held: Vec<_> = (0..10).map(|_| world.lease()).collect();
        for lease in held {
            *counts.entry(lease.connection().0).or_default() += 1;
            world.now += Duration::from_micros(50);
            world.end(lease, Outcome::Success);
        }
    }
    counts
}

/// Those of 900 calls.
fn servers(world: &mut World) -> Vec<u8> {
    counts(world).into_keys().collect()
}

#[test]
fn with_a_client_in_each_zone_every_endpoint_gets_its_share() {
    for servers in
        [&[11, 12, 21, 22, 31, 32][..], &[11, 21, 22, 23, 24, 31, 32, 33], &[11, 12, 21], &[1, 11, 21]]
    {
        for policy in BALANCED {
            let mut load = BTreeMap::new();
            let clients = servers.iter().filter_map(|server| zone(*server)).collect::<BTreeSet<_>>();
            let calls = 900.0 * clients.len() as f64;
            for client in clients {
                let mut world = connected(in_zone(BalancerConfig::new(policy), client), servers);
                for (server, calls) in counts(&mut world) {
                    *load.entry(server).or_insert(0.0) += f64::from(calls);
                }
            }
            let fair = calls / servers.len() as f64;
            for server in servers {
                let share = load.get(server).copied().unwrap_or(0.0) / fair;
                // The zone of a call is drawn at random: of 300 calls or more, 4 standard
                // deviations.
                assert!(
                    (0.8..1.2).contains(&share),
                    "{policy}: {server} of {servers:?} has {share}\n{load:?}"
                );
            }
        }
    }
}

#[test]
fn calls_stay_while_the_zone_can_take_them() {
    for policy in BALANCED {
        let mut world = connected(in_zone(BalancerConfig::new(policy), "b"), &[11, 21, 22, 31]);
        let counts = counts(&mut world);
        assert!(counts.keys().eq(&[21, 22]), "{policy}: {counts:?}");
        assert!(counts[&21].abs_diff(450) < 60, "{policy}: {counts:?}");
        let weights = world.balancer.state().endpoints.iter().map(|endpoint| endpoint.weight).sum::<f32>();
        assert!(
            (weights - 4.0).abs() < 1e-3 && world.balancer.state().endpoints[0].weight == 0.0,
            "{policy}"
        );
        assert_eq!(world.balancer.poll_timeout().is_some(), policy == Policy::WeightedRoundRobin, "no timer");
    }
}

#[test]
fn what_a_zone_loses_goes_elsewhere_at_once() {
    for policy in BALANCED {
        let mut world = connected(in_zone(BalancerConfig::new(policy), "a"), &[11, 12, 21, 22, 31, 32]);
        assert_eq!(servers(&mut world), [11, 12], "{policy}");
        let lost = world.connection_to(12);
        world.close(lost, "reset");
        // A fifth of the capacity for a third of the clients: three of five calls stay.
        let counts = counts(&mut world);
        assert!(counts[&11].abs_diff(540) < 60, "{policy}: {counts:?}");
        let lost = world.connection_to(11);
        world.close(lost, "reset");
        assert_eq!(servers(&mut world), [21, 22, 31, 32], "{policy}");
        world.advance(SECOND);
        world.connect_all();
        assert_eq!(servers(&mut world), [11, 12], "{policy}: and they come back");
    }
}

#[test]
fn a_zone_whose_pods_cannot_be_reached_still_has_clients() {
    let mut load = BTreeMap::new();
    for client in ["a", "b", "c"] {
        let mut world = connected(in_zone(BalancerConfig::default(), client), &[11, 12, 21, 31]);
        let lost = world.connection_to(31);
        world.close(lost, "reset");
        for (server, calls) in counts(&mut world) {
            *load.entry(server).or_insert(0) += calls;
        }
    }
    assert!([11, 12, 21].iter().all(|server| load[server].abs_diff(900) < 5), "{load:?}");
}

#[test]
fn an_ejected_endpoint_is_no_capacity() {
    for policy in BALANCED {
        let mut world = connected(in_zone(BalancerConfig::new(policy), "a"), &[11, 21, 31]);
        while !world.balancer.state().endpoints.iter().any(|endpoint| endpoint.ejection.is_some()) {
            world.call(1, &[11]);
            world.advance(SECOND);
        }
        assert_eq!(distinct(&world.call(60, &[11])), distinct(&[21, 31]), "{policy}");
    }
}

#[test]
fn other_zones_take_what_has_no_room_or_failed_before() {
    for policy in BALANCED {
        let mut world = connected(in_zone(BalancerConfig::new(policy), "a"), &[11, 12, 21, 31, 32]);
        let one = world.lease();
        assert!([11, 12].contains(&one.connection().0));
        let both: Vec<_> =
            world.open.iter().filter(|(_, open)| open.server < 20).map(|(id, _)| *id).collect();
        let avoid: Vec<_> =
            world.open.values().filter(|open| open.server < 20).map(|open| open.endpoint).collect();
        let retry = world.picker.pick(world.now, &mut world.rng, &avoid);
        let meshless_core::Pick::Ready(retry) = retry else { panic!("{retry:?}") };
        assert!(retry.connection().0 > 20, "{policy}: a retry");
        both.iter().for_each(|id| world.balancer.handle_stream_limit(*id, 1));
        let held: Vec<_> = (0..10).map(|_| world.lease()).collect();
        let near = held.iter().filter(|lease| lease.connection().0 < 20).count();
        assert_eq!(near, 1, "{policy}: one more has room");
        drop((one, retry));
    }
}

#[test]
fn where_no_zone_is_known_nothing_changes() {
    for policy in BALANCED {
        let mut plain = connected(BalancerConfig::new(policy), &[1, 2, 3]);
        let mut zoned = connected(in_zone(BalancerConfig::new(policy), "a"), &[1, 2, 3]);
        assert_eq!(plain.picks(99), zoned.picks(99), "{policy}");
    }
}

#[test]
fn a_zone_that_becomes_known_counts_at_once() {
    let mut world = connected(in_zone(BalancerConfig::default(), "a"), &[11, 21, 31]);
    let without = [11, 21, 31].map(endpoint);
    world.balancer.handle_resolution(world.now, Ok(without.to_vec()));
    world.act();
    assert_eq!(distinct(&world.picks(9)), distinct(&[11, 21, 31]), "it is not known any more");
    resolve(&mut world, &[11, 21, 31]);
    assert_eq!(distinct(&world.picks(9)), distinct(&[11]));
    assert_eq!(world.balancer.state().endpoints[0].zone.as_deref(), Some("a"));
}

#[test]
fn while_a_zone_warms_up_others_help() {
    let config = BalancerConfig::default().slow_start(Some(SlowStartConfig::new(20 * SECOND)));
    let mut world = connected(in_zone(config, "a"), &[21, 31]);
    world.advance(SECOND);
    resolve(&mut world, &[11, 21, 31]);
    world.connect_all();
    // A tenth of an endpoint, of 2.1, for a third of the clients: a seventh of the calls.
    let at_first = counts(&mut world)[&11];
    assert!(at_first.abs_diff(900 / 7) < 40, "{at_first}");
    world.advance(21 * SECOND);
    assert_eq!(distinct(&world.picks(30)), distinct(&[11]));
}

#[test]
fn weights_decide_within_a_zone_and_between_them() {
    let mut world = World::new(in_zone(BalancerConfig::new(Policy::WeightedRoundRobin), "a"), 1);
    world.balancer.handle_call(world.now);
    let of =
        |server, weight| endpoint(server).with_weight(weight).with_zone(zone(server).expect("of a zone"));
    let endpoints = [of(11, 1), of(12, 2), of(21, 6), of(31, 3)];
    world.balancer.handle_resolution(world.now, Ok(endpoints.to_vec()));
    world.act();
    world.connect_all();
    // Three of twelve for a third of the clients: 3/4 stay, and only "b" has room.
    let counts = counts(&mut world);
    assert_eq!(
        [11, 12, 21].map(|server| counts[&server].next_multiple_of(25)),
        [225, 450, 225],
        "{counts:?}"
    );
    assert!(!counts.contains_key(&31), "{counts:?}");
}

#[test]
fn a_far_endpoint_alone_is_connected_and_used() {
    let n = |n| NonZeroU32::new(n).expect("not zero");
    let config = BalancerConfig::default().connects_per_second(n(100), n(200));
    let mut world = connected(in_zone(config, "a"), &[21]);
    assert_eq!(distinct(&world.picks(3)), distinct(&[21]));
    resolve(&mut world, &[11, 21]);
    assert_eq!(distinct(&world.picks(3)), distinct(&[21]), "the near one is not connected yet");
    world.connect_all();
    assert_eq!(distinct(&world.picks(3)), distinct(&[11]));
}
