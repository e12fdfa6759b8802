//! Backends that fall silent, and the time when none can be reached.

use std::collections::BTreeSet;
use std::time::Duration;

use meshless_core::{BalancerConfig, ConnectivityState, Pick, Policy, Wait};

use crate::support::{World, distinct};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

fn round_robin() -> BalancerConfig {
    BalancerConfig::new(Policy::RoundRobin)
}

/// Lets a time of no reachable backend pass, with a call every 50 ms; says how many connects began.
fn outage(world: &mut World, lasts: Duration) -> usize {
    let (until, before) = (world.now + lasts, world.connects.len());
    while world.now < until {
        world.advance(50 * MS);
        world.fail_all("refused");
        call(world);
    }
    world.connects.len() - before
}

/// A call that finds nobody.
fn call(world: &mut World) {
    if let Pick::Queue(Wait::Idle) = world.pick() {
        world.balancer.handle_call(world.now);
        world.act();
    }
}

fn lose_everything(world: &mut World) {
    world.now += SECOND;
    for id in world.open.keys().copied().collect::<Vec<_>>() {
        world.close(id, "connection reset");
    }
    world.fail_all("refused");
}

#[test]
fn new_calls_leave_a_silent_connection_and_it_is_replaced() {
    let mut world = World::connected(round_robin(), [1, 2]);
    let one = world.connection_to(1);
    let held: Vec<_> = (0..2).map(|_| world.lease()).collect();
    assert_eq!(world.silent(one, true), ["pick from 1", "resolve", "connect to 1"]);
    assert_eq!(distinct(&world.picks(4)), distinct(&[2]));
    assert_eq!(world.balancer.state().endpoints[0].connections_silent, 1);
    world.connect_all();
    assert_eq!(distinct(&world.picks(4)), distinct(&[1, 2]), "its successor serves");
    assert_eq!(world.silent(one, false), ["pick from 2", "drain 1"], "and remains");
    drop(held);
}

#[test]
fn a_silent_connection_that_answers_serves_again() {
    let mut world = World::connected(round_robin(), [1, 2]);
    let one = world.connection_to(1);
    world.silent(one, true);
    assert_eq!(world.silent(one, false), ["pick from 2", "abort attempt at 1"]);
    assert_eq!(distinct(&world.picks(4)), distinct(&[1, 2]));
}

#[test]
fn while_nothing_serves_a_silent_connection_is_better_than_none() {
    let mut world = World::connected(round_robin(), [1]);
    let one = world.connection_to(1);
    world.silent(one, true);
    assert_eq!(world.lease().connection_id(), one);
    world.fail_all("refused");
    assert_eq!(world.lease().connection_id(), one);
    assert_eq!(world.close(one, "silent"), ["pick from 0"], "the failure of its successor counts");
    assert!(world.failure().to_string().contains("10.0.0.1:50051: silent"));
}

#[test]
fn pick_first_walks_on_from_a_silent_connection() {
    let mut world = World::connected(BalancerConfig::new(Policy::PickFirst), [1, 2]);
    let (&first, silent) = world.open.iter().map(|(id, open)| (id, open.server)).next().unwrap();
    world.silent(first, true);
    world.connect_all();
    assert_ne!(world.lease().connection().0, silent);
    assert_eq!(world.silent(first, false).last().unwrap(), &format!("drain {silent}"));
    assert_ne!(world.lease().connection().0, silent);
}

#[test]
fn after_an_outage_of_any_length_the_first_backend_is_found_within_a_second() {
    for policy in Policy::ALL {
        for seconds in [1, 10, 60] {
            let mut world = World::connected(BalancerConfig::new(policy), [1, 2, 3]);
            lose_everything(&mut world);
            outage(&mut world, SECOND * seconds);
            let back = world.now;
            while world.open.is_empty() {
                world.advance(10 * MS);
                call(&mut world);
                if let Some((&id, _)) = world.dialing.iter().find(|(_, dial)| dial.server == 2) {
                    world.succeed(id);
                }
                world.fail_all("refused");
            }
            assert!(world.now - back <= 260 * MS, "{policy}, {seconds} s: {:?}", world.now - back);
            assert_eq!(world.lease().connection().0, 2);
        }
    }
}

#[test]
fn connects_in_an_outage_are_bounded_however_many_calls_and_endpoints() {
    for (servers, most_per_second) in [(3, 14), (200, 22)] {
        let mut world = World::connected(round_robin(), 1..=servers);
        lose_everything(&mut world);
        outage(&mut world, SECOND * 600);
        let begun = outage(&mut world, SECOND * 60);
        assert!(begun <= most_per_second * 60, "{servers} endpoints: {begun} connects in 60 s");
        assert!(begun >= 3 * 60, "{servers} endpoints: {begun} connects in 60 s: none waits for its pause");
    }
}

#[test]
fn every_endpoint_is_probed_in_its_turn() {
    let mut world = World::connected(round_robin(), 1..=50);
    lose_everything(&mut world);
    outage(&mut world, SECOND * 600);
    let seen = world.log.len();
    outage(&mut world, SECOND * 3);
    let tried: BTreeSet<_> =
        world.log[seen..].iter().filter(|words| words.starts_with("connect to")).collect();
    assert_eq!(tried.len(), 50);
}

#[test]
fn without_calls_an_outage_leaves_each_endpoint_to_its_backoff() {
    let mut world = World::connected(round_robin(), [1, 2, 3]);
    lose_everything(&mut world);
    let before = world.connects.len();
    for _ in 0..600 {
        world.advance(SECOND);
        world.fail_all("refused");
    }
    // 1 s × 1.6 up to 120 s: 12 attempts in 10 min.
    let each = (world.connects.len() - before) / 3;
    assert!((8..=16).contains(&each), "{each} attempts");
}

#[test]
fn when_the_first_is_back_the_others_are_tried_soon() {
    let mut world = World::connected(round_robin(), [1, 2, 3]);
    lose_everything(&mut world);
    outage(&mut world, SECOND * 600);
    while world.dialing.is_empty() {
        world.advance(10 * MS);
        call(&mut world);
    }
    world.connect_all();
    // 20 ms until the first has proven itself, then at most 1 s + 20 %.
    world.advance(1220 * MS);
    world.connect_all();
    assert_eq!(world.balancer.connectivity(), ConnectivityState::Ready);
    assert_eq!(distinct(&world.picks(6)), distinct(&[1, 2, 3]));
}
