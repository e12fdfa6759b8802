//! Servers that say that they do not serve.

use std::time::Duration;

use meshless_core::{BalancerConfig, ConnectivityState, Policy, SubchannelState, Wait};

use crate::support::{World, distinct};

fn round_robin() -> BalancerConfig {
    BalancerConfig::new(Policy::RoundRobin)
}

#[test]
fn a_server_that_stops_serving_gets_no_new_calls_and_keeps_its_connection() {
    let mut world = World::connected(round_robin(), [1, 2]);
    let one = world.connection_to(1);
    let held: Vec<_> = (0..2).map(|_| world.lease()).collect();
    assert_eq!(world.healthy(one, false), ["pick from 1"]);
    assert_eq!(distinct(&world.picks(4)), distinct(&[2]));
    let state = world.balancer.state();
    assert_eq!(state.endpoints[0].state, SubchannelState::TransientFailure);
    assert_eq!((state.endpoints[0].connections_unhealthy, state.endpoints[0].calls_in_flight), (1, 1));
    assert_eq!(world.advance(Duration::from_secs(600)), [""; 0], "no other connection would tell more");
    assert_eq!(world.healthy(one, true), ["pick from 2"]);
    assert_eq!(distinct(&world.picks(4)), distinct(&[1, 2]));
    drop(held);
}

#[test]
fn when_none_serves_calls_learn_it() {
    let mut world = World::connected(round_robin(), [1]);
    let one = world.connection_to(1);
    world.healthy(one, false);
    assert!(world.failure().to_string().contains("10.0.0.1:50051: NOT_SERVING"));
}

#[test]
fn a_connection_that_is_not_healthy_at_first_is_held_and_not_tried_again() {
    let mut world = World::with_servers(round_robin(), [1]);
    let one = world.attempt_at(1);
    world.healthy(one, false);
    assert_eq!(world.balancer.connectivity(), ConnectivityState::TransientFailure);
    world.advance(Duration::from_secs(600));
    assert_eq!(world.connects.len(), 1);
    world.succeed(one);
    assert_eq!(world.picks(1), [1]);
}

#[test]
fn an_unhealthy_connection_that_is_lost_is_made_anew() {
    let mut world = World::connected(round_robin(), [1, 2]);
    world.now += Duration::from_secs(1);
    let one = world.connection_to(1);
    world.healthy(one, false);
    assert!(world.close(one, "reset").contains(&"connect to 1".to_owned()));
}

#[test]
fn the_verdict_ends_with_the_connection_that_it_was_given_on() {
    let mut world = World::connected(round_robin(), [1]);
    world.now += Duration::from_secs(1);
    let old = world.connection_to(1);
    world.healthy(old, false);
    assert_eq!(world.balancer.connectivity(), ConnectivityState::TransientFailure);
    assert!(world.go_away(old).contains(&"connect to 1".to_owned()));
    assert_eq!(
        world.balancer.connectivity(),
        ConnectivityState::Connecting,
        "calls wait for the new process"
    );
    let new = world.attempt_at(1);
    world.succeed(new);
    assert_eq!(world.picks(1), [1]);
}

#[test]
fn a_server_that_goes_away_before_it_served_is_connected_to_again() {
    for says_no in [false, true] {
        let mut world = World::with_servers(round_robin(), [1]);
        let old = world.attempt_at(1);
        if says_no {
            world.healthy(old, false);
        }
        assert!(world.go_away(old).contains(&"connect to 1".to_owned()), "it is about to be replaced");
        assert_eq!(world.balancer.connectivity(), ConnectivityState::Connecting);
        let again = world.attempt_at(1);
        if says_no {
            world.healthy(again, false);
        }
        let actions = world.go_away(again);
        assert!(!actions.contains(&"connect to 1".to_owned()), "twice in a row is a pause");
        assert!(actions.contains(&"resolve at once".to_owned()), "there is nothing else to try");
        assert_eq!(world.balancer.connectivity(), ConnectivityState::TransientFailure);
        let error = world.failure().to_string();
        assert!(error.contains("10.0.0.1:50051: the server went away before it was ready"), "{error}");
        world.advance(Duration::from_secs(2));
        let new = world.attempt_at(1);
        world.succeed(new);
        assert_eq!(world.picks(1), [1]);
    }
}

#[test]
fn a_held_connection_that_is_lost_takes_its_verdict_with_it() {
    let mut world = World::with_servers(round_robin(), [1]);
    let old = world.attempt_at(1);
    world.healthy(old, false);
    world.now += Duration::from_secs(1);
    assert!(world.close(old, "reset").contains(&"connect to 1".to_owned()));
    assert_eq!(world.balancer.connectivity(), ConnectivityState::Connecting);
    let new = world.attempt_at(1);
    world.fail(new, "refused");
    assert!(world.failure().to_string().contains("refused"));
}

#[test]
fn a_server_that_never_serves_and_goes_away_is_backed_off_from() {
    for seen in [Some(false), None] {
        let mut world = World::with_servers(round_robin(), [1]);
        let until = world.now + Duration::from_secs(60);
        while world.now < until {
            let Some(&id) = world.dialing.keys().next() else {
                world.advance(Duration::from_millis(25));
                continue;
            };
            if let Some(healthy) = seen {
                world.healthy(id, healthy);
                // Longer than a connection in service needs to prove itself.
                world.advance(Duration::from_millis(25));
                world.close(id, "reset");
            } else {
                world.go_away(id);
            }
        }
        // Two at once, then pauses of 1 s × 1.6 ± 20 %.
        let connects = world.connects.len();
        assert!((6..=12).contains(&connects), "{connects} connects");
        world.advance(Duration::from_secs(120));
        world.connect_all();
        world.advance(Duration::from_secs(1));
        let served = world.connection_to(1);
        assert!(
            world.go_away(served).contains(&"connect to 1".to_owned()),
            "one that served is made anew at once"
        );
    }
}

#[test]
fn a_held_successor_that_is_lost_does_not_take_another_s_verdict() {
    let mut world = World::connected(round_robin(), [1]);
    world.now += Duration::from_secs(1);
    let old = world.connection_to(1);
    world.silent(old, true);
    let successor = world.attempt_at(1);
    world.healthy(old, false);
    world.healthy(successor, false);
    world.close(successor, "reset");
    assert_eq!(
        world.balancer.connectivity(),
        ConnectivityState::TransientFailure,
        "the old one still says no"
    );
}

#[test]
fn further_connections_that_never_serve_are_backed_off_from_while_the_first_one_serves() {
    let mut world = World::connected(round_robin(), [1]);
    let old = world.connection_to(1);
    world.balancer.handle_stream_limit(old, 1);
    let held = world.lease();
    let Wait::Full(endpoint) = world.wait() else { panic!("not full") };
    let until = world.now + Duration::from_secs(60);
    let before = world.connects.len();
    while world.now < until {
        match world.dialing.keys().next() {
            Some(&id) => _ = world.go_away(id),
            None => {
                world.advance(Duration::from_millis(10));
                world.balancer.handle_full(world.now, endpoint);
                world.act();
            }
        }
    }
    drop(held);
    // Two at once, then pauses of 1 s × 1.6 ± 20 %.
    let connects = world.connects.len() - before;
    assert!((6..=12).contains(&connects), "{connects} connects");
    assert_eq!(world.picks(1), [1]);
}
