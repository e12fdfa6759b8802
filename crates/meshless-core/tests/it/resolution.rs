//! Resolvers that fail, lie or change their minds.

use std::time::Duration;

use meshless_core::{BalancerConfig, Policy, ResolutionError};

use crate::support::{World, distinct};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

fn round_robin() -> BalancerConfig {
    BalancerConfig::new(Policy::RoundRobin)
}

fn gone(world: &mut World) -> Vec<String> {
    world.balancer.handle_gone(world.now, ResolutionError("NXDOMAIN".to_owned()));
    world.act()
}

#[test]
fn the_old_set_serves_until_one_of_the_new_set_is_ready() {
    let mut world = World::connected(round_robin(), [1, 2]);
    assert_eq!(world.resolve([3, 4]), ["connect to 3", "connect to 4"]);
    assert_eq!(distinct(&world.picks(4)), distinct(&[1, 2]));
    let third = world.attempt_at(3);
    assert_eq!(world.succeed(third), ["pick from 1", "drain 1", "drain 2"]);
    assert_eq!(distinct(&world.picks(4)), distinct(&[3]));
}

#[test]
fn a_change_of_the_set_is_reported_when_it_happens() {
    let mut world = World::connected(round_robin(), [1, 2]);
    assert_eq!(world.set_changes, [(vec![1, 2], vec![])]);
    world.resolve([2, 3]);
    world.resolve([2, 3]);
    assert_eq!(world.set_changes[1..], [(vec![3], vec![1])], "once");
    world.connect_all();
    world.resolve([4]);
    assert_eq!(world.set_changes[2..], [(vec![4], vec![])], "the old ones serve on");
    world.connect_all();
    assert_eq!(world.set_changes[3..], [(vec![], vec![2, 3])]);
}

#[test]
fn an_answer_of_dead_addresses_costs_no_call() {
    let mut world = World::connected(round_robin(), [1, 2]);
    world.resolve([8, 9]);
    for _ in 0..10 {
        world.fail_all("refused");
        world.advance(SECOND);
        assert_eq!(distinct(&world.picks(4)), distinct(&[1, 2]));
    }
    let connects = world.connects.len();
    world.resolve([1, 2]);
    world.advance(60 * SECOND);
    assert_eq!(world.connects.len(), connects, "nothing had to be connected again");
    assert_eq!(distinct(&world.picks(4)), distinct(&[1, 2]));
}

#[test]
fn an_endpoint_that_is_leaving_is_not_dialled_again() {
    let mut world = World::connected(round_robin(), [1, 2]);
    world.resolve([3]);
    world.fail_all("refused");
    world.now += SECOND;
    let (one, two) = (world.connection_to(1), world.connection_to(2));
    let actions = world.go_away(one);
    assert!(!actions.contains(&"connect to 1".to_owned()), "{actions:?}");
    assert_eq!(distinct(&world.picks(4)), distinct(&[2]));
    world.close(two, "connection reset");
    assert!(world.dialing.values().all(|dial| dial.server == 3));
    world.close(one, "");
    assert_eq!(world.balancer.state().endpoints.len(), 1);
}

#[test]
fn flapping_between_two_sets_never_leaves_a_call_without_a_backend() {
    let mut world = World::connected(round_robin(), [1, 2, 3]);
    let connects = world.connects.len();
    for round in 0..100 {
        world.resolve(if round % 2 == 0 { [4, 5, 6] } else { [1, 2, 3] });
        drop(world.lease());
        world.advance(SECOND / 100);
        drop(world.lease());
        world.connect_all();
        drop(world.lease());
        world.advance(2 * SECOND);
    }
    assert_eq!(world.connects.len() - connects, 300, "three for each change, and no more");
}

#[test]
fn a_resolver_that_fails_changes_nothing_however_long() {
    let mut world = World::connected(round_robin(), [1, 2]);
    for failures in 1..=100 {
        world.advance(HOUR);
        world.balancer.handle_resolution(world.now, Err(ResolutionError("SERVFAIL".to_owned())));
        world.act();
        let state = world.balancer.state();
        assert_eq!(state.resolution_failures, failures);
        assert_eq!(state.resolution_age(world.now), Some(HOUR * failures));
        assert_eq!(state.resolution_error.as_deref(), Some("SERVFAIL"));
    }
    let one = world.connection_to(1);
    assert!(world.close(one, "reset").contains(&"connect to 1".to_owned()), "it is still dialled");
    world.resolve([1, 2]);
    assert_eq!(world.balancer.state().resolution_failures, 0);
    assert_eq!(world.balancer.state().resolution_age(world.now), Some(Duration::ZERO));
}

#[test]
fn what_is_said_to_be_gone_is_kept_for_an_hour_and_then_as_long_as_it_is_connected() {
    let mut world = World::connected(round_robin(), [1, 2]);
    world.advance(SECOND);
    gone(&mut world);
    world.advance(HOUR - SECOND);
    gone(&mut world);
    let one = world.connection_to(1);
    assert!(world.close(one, "reset").contains(&"connect to 1".to_owned()), "within the hour it is dialled");
    world.fail_all("refused");
    world.advance(SECOND);
    world.fail_all("refused");
    gone(&mut world);
    let state = world.balancer.state();
    assert_eq!(state.endpoints.len(), 1, "after it, it is forgotten: {state:?}");
    assert_eq!(distinct(&world.picks(4)), distinct(&[2]), "the other one serves on");
    let connects = world.connects.len();
    world.advance(HOUR);
    assert_eq!(world.connects.len(), connects);
    world.resolve([1, 2]);
    world.connect_all();
    assert_eq!(distinct(&world.picks(4)), distinct(&[1, 2]), "until DNS knows it again");
}

#[test]
fn an_endpoint_that_was_leaving_is_dialled_again_when_it_is_all_that_is_left() {
    let mut world = World::connected(round_robin().stale_max(SECOND), [1]);
    world.resolve([2]);
    world.fail_all("refused");
    gone(&mut world);
    world.advance(SECOND);
    world.fail_all("refused");
    gone(&mut world);
    assert_eq!(world.picks(1), [1]);
    let one = world.connection_to(1);
    let actions = world.close(one, "reset");
    assert!(actions.contains(&"connect to 1".to_owned()), "calls would wait for nothing: {actions:?}");
}

#[test]
fn with_everything_gone_for_good_calls_learn_what_the_resolver_says() {
    let mut world = World::connected(round_robin().stale_max(SECOND), [1]);
    let one = world.connection_to(1);
    gone(&mut world);
    world.close(one, "reset");
    world.fail_all("refused");
    world.advance(SECOND);
    world.fail_all("refused");
    gone(&mut world);
    assert_eq!(world.failure().to_string(), "no endpoint is known: NXDOMAIN");
}
