//! The last backend is lost: calls wait for the answer of the resolver, and not longer.

use std::time::Duration;

use meshless_core::{BalancerConfig, Policy, ResolutionError, Wait};

use crate::support::{World, distinct};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// A world that has lost servers 1 to 3, each of which now refuses connections. The resolver
/// answers requests.
fn bereft(policy: Policy) -> World {
    let mut world = World::new(BalancerConfig::new(policy), 1);
    world.balancer.set_resolver_answers(true);
    world.balancer.handle_call(world.now);
    world.resolve([1, 2, 3]);
    world.connect_all();
    world.advance(60 * SECOND);
    lose_all(&mut world);
    world
}

fn lose_all(world: &mut World) {
    for id in world.open.keys().copied().collect::<Vec<_>>() {
        world.close(id, "connection reset");
    }
    // A call asks `pick_first` to connect again.
    world.balancer.handle_call(world.now);
    world.act();
    world.fail_all("refused");
    world.advance(MS);
    world.fail_all("refused");
    world.fail_all("refused");
}

fn fail_resolution(world: &mut World) {
    world.balancer.handle_resolution(world.now, Err(ResolutionError("SERVFAIL".to_owned())));
    world.act();
}

#[test]
fn no_call_fails_before_the_resolver_has_answered() {
    for policy in Policy::ALL {
        let mut world = bereft(policy);
        assert_eq!(world.log.last().unwrap(), "resolve at once", "{policy}");
        assert_eq!(world.wait(), Wait::Connecting, "{policy}");
        world.advance(SECOND);
        assert_eq!(world.wait(), Wait::Connecting, "{policy}");
        world.resolve([4, 5]);
        assert_eq!(world.wait(), Wait::Connecting, "{policy}");
        world.connect_all();
        assert!(distinct(&world.picks(4)).is_subset(&distinct(&[4, 5])), "{policy}");
    }
}

#[test]
fn the_same_answer_and_an_error_end_the_wait() {
    let mut world = bereft(Policy::RoundRobin);
    world.resolve([3, 2, 1]);
    assert!(world.failure().to_string().contains("refused"));
    let mut world = bereft(Policy::RoundRobin);
    fail_resolution(&mut world);
    assert!(world.failure().to_string().contains("refused"));
    let mut world = bereft(Policy::RoundRobin);
    world.balancer.handle_gone(world.now, ResolutionError("NXDOMAIN".to_owned()));
    world.act();
    assert!(world.failure().to_string().contains("refused"));
}

#[test]
fn a_resolver_that_owes_its_answer_is_waited_for_five_seconds_once() {
    let mut world = bereft(Policy::RoundRobin);
    world.advance(5 * SECOND - 2 * MS);
    assert_eq!(world.wait(), Wait::Connecting);
    world.advance(2 * MS);
    world.failure();
    // It fails, and is asked again and again while everything stays down: calls do not wait again.
    for _ in 0..20 {
        fail_resolution(&mut world);
        world.advance(2 * SECOND);
        world.fail_all("refused");
        world.failure();
    }
}

#[test]
fn a_backend_that_was_ready_in_between_makes_the_next_loss_a_new_one() {
    let mut world = bereft(Policy::RoundRobin);
    world.resolve([4]);
    world.connect_all();
    world.advance(60 * SECOND);
    lose_all(&mut world);
    assert_eq!(world.wait(), Wait::Connecting);
    assert_eq!(world.log.last().unwrap(), "resolve at once");
}

#[test]
fn one_that_failed_long_ago_does_not_hide_that_the_last_one_is_lost() {
    let mut world = World::new(BalancerConfig::new(Policy::RoundRobin), 1);
    world.balancer.set_resolver_answers(true);
    world.balancer.handle_call(world.now);
    world.resolve([1, 2]);
    let (one, two) = (world.attempt_at(1), world.attempt_at(2));
    world.succeed(one);
    world.fail(two, "refused");
    // Polling finds the same: 2 has not failed since then.
    world.resolve([1, 2]);
    let id = world.connection_to(1);
    world.close(id, "reset");
    let one = world.attempt_at(1);
    assert!(world.fail(one, "refused").contains(&"resolve at once".to_owned()));
    assert_eq!(world.wait(), Wait::Connecting);
}

#[test]
fn without_a_resolver_that_answers_calls_fail_at_once() {
    let mut world = World::connected(BalancerConfig::new(Policy::RoundRobin), [1, 2, 3]);
    world.advance(60 * SECOND);
    lose_all(&mut world);
    assert!(world.failure().to_string().contains("refused"));
}

#[test]
fn an_answer_that_came_before_the_first_call_is_not_forgotten() {
    for gone in [false, true] {
        let mut world = World::new(BalancerConfig::new(Policy::RoundRobin), 1);
        let error = ResolutionError("no pod has a port named grpc".to_owned());
        if gone {
            world.balancer.handle_gone(world.now, error);
        } else {
            world.balancer.handle_resolution(world.now, Err(error));
        }
        world.act();
        assert!(world.balancer.state().resolution_error.is_some());
        world.balancer.handle_call(world.now);
        assert!(world.act().contains(&"resolve".to_owned()), "it is asked all the same");
        assert_eq!(world.failure().to_string(), "no endpoint is known: no pod has a port named grpc");
        assert!(world.balancer.state().resolution_error.is_some());
        // Idle and back.
        world.advance(3600 * SECOND);
        world.balancer.handle_idle(world.now);
        world.act();
        assert!(world.balancer.state().resolution_error.is_some());
        world.balancer.handle_call(world.now);
        world.act();
        world.failure();
        world.resolve([1]);
        assert!(world.balancer.state().resolution_error.is_none());
    }
}

#[test]
fn an_error_stays_known_while_the_last_good_set_serves_and_after_it_was_idle() {
    for policy in Policy::ALL {
        let mut world = World::connected(BalancerConfig::new(policy), [1]);
        fail_resolution(&mut world);
        world.balancer.handle_idle(world.now);
        world.act();
        world.balancer.handle_call(world.now);
        world.act();
        assert_eq!(world.balancer.state().resolution_error.as_deref(), Some("SERVFAIL"), "{policy}");
        world.connect_all();
        assert_eq!(distinct(&world.picks(2)), distinct(&[1]), "{policy}");
    }
}
