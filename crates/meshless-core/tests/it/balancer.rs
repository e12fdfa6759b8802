//! What the balancer does when something happens, as lists of actions.

use std::num::NonZeroU32;
use std::time::Duration;

use meshless_core::{
    BalancerConfig, ConnectivityState, Outcome, Policy, ResolutionError, SubchannelState, Wait,
};

use crate::support::{World, distinct};

const SECOND: Duration = Duration::from_secs(1);

fn round_robin() -> BalancerConfig {
    BalancerConfig::new(Policy::RoundRobin)
}

fn pick_first() -> BalancerConfig {
    BalancerConfig::new(Policy::PickFirst)
}

#[test]
fn an_idle_channel_connects_on_the_first_call() {
    let mut world = World::new(round_robin(), 1);
    assert_eq!(world.wait(), Wait::Idle);
    assert!(world.resolve([1, 2]).is_empty(), "knowing endpoints is no reason to connect");
    world.balancer.handle_call(world.now);
    assert_eq!(world.act(), ["pick from 0", "connect to 1", "connect to 2"]);
    assert_eq!(world.wait(), Wait::Connecting);
    let first = world.attempt_at(1);
    assert_eq!(world.succeed(first), ["pick from 1"]);
    assert_eq!(world.picks(2), [1, 1]);
}

#[test]
fn a_call_on_a_channel_that_knows_nothing_asks_the_resolver() {
    let mut world = World::new(round_robin(), 1);
    world.balancer.handle_call(world.now);
    assert_eq!(world.act(), ["pick from 0", "resolve"]);
    world.balancer.handle_resolution(world.now, Err(ResolutionError("no such host".to_owned())));
    world.act();
    assert!(world.failure().to_string().contains("no such host"));
    assert_eq!(world.balancer.connectivity(), ConnectivityState::TransientFailure);
}

#[test]
fn round_robin_goes_to_all_in_turn() {
    let mut world = World::connected(round_robin(), [1, 2, 3]);
    let picks = world.picks(6);
    assert_eq!(distinct(&picks[..3]).len(), 3);
    assert_eq!(picks[..3], picks[3..]);
}

#[test]
fn a_failed_or_empty_answer_keeps_the_last_good_set() {
    let mut world = World::connected(round_robin(), [1, 2]);
    world.balancer.handle_resolution(world.now, Err(ResolutionError("timed out".to_owned())));
    assert!(world.act().is_empty());
    assert!(world.resolve([]).is_empty());
    assert_eq!(distinct(&world.picks(4)).len(), 2);
    assert!(world.balancer.state().resolution_error.is_some(), "it can be seen");
}

#[test]
fn goaway_moves_new_calls_before_the_old_connection_is_closed() {
    let mut world = World::connected(round_robin(), [1, 2]);
    world.now += SECOND;
    let held: Vec<_> = (0..2).map(|_| world.lease()).collect();
    let one = world.connection_to(1);
    assert_eq!(world.go_away(one), ["pick from 1", "resolve", "drain 1", "connect to 1"]);
    assert_eq!(distinct(&world.picks(4)), distinct(&[2]));
    world.connect_all();
    assert_eq!(distinct(&world.picks(4)), distinct(&[1, 2]));
    drop(held);
}

#[test]
fn the_only_backend_going_away_queues_calls_until_its_successor_is_ready() {
    let mut world = World::connected(round_robin(), [1]);
    world.now += SECOND;
    let one = world.connection_to(1);
    let outdated = std::sync::Arc::clone(&world.picker);
    world.go_away(one);
    assert_eq!(world.wait(), Wait::Connecting);
    let pick = outdated.pick(world.now, &mut world.rng, &[]);
    assert!(matches!(pick, meshless_core::Pick::Queue(_)), "{pick:?}: a snapshot of the past is closed too");
    world.connect_all();
    assert_ne!(world.lease().connection_id(), one);
}

#[test]
fn a_lost_connection_is_made_anew_at_once_and_resolved() {
    let mut world = World::connected(round_robin(), [1, 2]);
    world.now += SECOND;
    let one = world.connection_to(1);
    assert_eq!(world.close(one, "connection reset"), ["pick from 1", "resolve", "connect to 1"]);
    assert_eq!(distinct(&world.picks(3)), distinct(&[2]));
}

#[test]
fn an_endpoint_that_left_finishes_its_calls() {
    let mut world = World::connected(round_robin(), [1, 2]);
    let held = [world.lease(), world.lease()];
    assert_eq!(world.resolve([2, 3]), ["pick from 1", "drain 1", "connect to 3"]);
    assert_eq!(distinct(&world.picks(3)), distinct(&[2]));
    let state = world.balancer.state();
    let one = state.endpoints.iter().find(|endpoint| endpoint.state == SubchannelState::Draining).unwrap();
    assert_eq!((one.calls_in_flight, one.connections_draining), (1, 1));
    drop(held);
    let one = world.connection_to(1);
    world.close(one, "");
    assert_eq!(world.balancer.state().endpoints.len(), 2);
}

#[test]
fn an_attempt_at_an_endpoint_that_left_is_abandoned() {
    let mut world = World::with_servers(round_robin(), [1, 2]);
    let one = world.attempt_at(1);
    assert_eq!(world.resolve([2]), ["abort attempt at 1"]);
    world.balancer.handle_connected(world.now, one, (1, one));
    assert_eq!(world.act(), ["abort unknown"], "it had been made in the meantime");
}

#[test]
fn when_every_address_fails_the_resolver_is_asked_at_once_and_calls_learn_why() {
    let mut world = World::with_servers(round_robin(), [1, 2]);
    let (one, two) = (world.attempt_at(1), world.attempt_at(2));
    assert_eq!(world.fail(one, "connection refused"), ["resolve"]);
    assert_eq!(world.wait(), Wait::Connecting);
    assert_eq!(world.fail(two, "timed out"), ["pick from 0", "resolve at once"]);
    let error = world.failure().to_string();
    assert!(error.contains("10.0.0.1:50051: connection refused; 10.0.0.2:50051: timed out"), "{error}");
    assert!(world.resolve([2, 3]).contains(&"connect to 3".to_owned()), "new addresses need not wait");
}

#[test]
fn a_dead_endpoint_is_tried_again_with_growing_pauses() {
    let mut world = World::connected(round_robin(), [1, 2]);
    world.now += SECOND;
    let one = world.connection_to(1);
    world.close(one, "reset");
    world.fail_all("refused");
    let begun = world.connects.len();
    for _ in 0..4 {
        while world.dialing.is_empty() {
            world.advance(Duration::from_millis(100));
        }
        world.fail_all("refused");
    }
    let pauses: Vec<_> =
        world.connects[begun - 1..].windows(2).map(|at| (at[1] - at[0]).as_secs_f64()).collect();
    for (pause, nominal) in pauses.iter().zip([1.0, 1.6, 2.56, 4.096]) {
        assert!((nominal * 0.8..=nominal * 1.2 + 0.001).contains(pause), "{pauses:?}");
    }
    assert_eq!(distinct(&world.picks(4)), distinct(&[2]), "calls do not notice");
}

#[test]
fn connects_per_second_are_bounded_and_none_is_forgotten() {
    let n = |n| NonZeroU32::new(n).unwrap();
    let config = round_robin().connects_per_second(n(10), n(5)).concurrent_connects(n(3));
    let mut world = World::with_servers(config, 1..=40);
    assert_eq!(world.dialing.len(), 3);
    world.connect_all();
    assert_eq!(world.open.len(), 5);
    for _ in 0..350 {
        world.advance(Duration::from_millis(10));
        world.connect_all();
    }
    assert_eq!(world.open.len(), 40);
}

#[test]
fn a_full_endpoint_is_given_further_connections_up_to_a_bound() {
    let n = |n| NonZeroU32::new(n).unwrap();
    let mut world = World::connected(round_robin().connections_per_endpoint(n(2)), [1]);
    let one = world.connection_to(1);
    world.balancer.handle_stream_limit(one, 2);
    let mut held = vec![world.lease(), world.lease()];
    let Wait::Full(endpoint) = world.wait() else { panic!("not full") };
    for _ in 0..2 {
        world.balancer.handle_full(world.now, endpoint);
    }
    assert_eq!(world.act(), ["connect to 1"], "one at a time");
    world.connect_all();
    let two = world.connection_to(1);
    world.balancer.handle_stream_limit(two, 1);
    held.push(world.lease());
    assert_eq!(held[2].connection_id(), two);
    assert_eq!(world.wait(), Wait::Full(endpoint));
    world.balancer.handle_full(world.now, endpoint);
    assert!(world.act().is_empty(), "two are the bound");
    held.remove(0).finish(world.now, Outcome::Success);
    assert_eq!(world.lease().connection_id(), one, "the oldest with room");
}

#[test]
fn an_idle_channel_lets_everything_go_and_comes_back() {
    let mut world = World::connected(round_robin(), [1, 2]);
    world.balancer.handle_idle(world.now);
    assert_eq!(world.act(), ["pick from 0", "drain 1", "drain 2"]);
    assert_eq!(world.wait(), Wait::Idle);
    assert_eq!(world.balancer.connectivity(), ConnectivityState::Idle);
    world.balancer.handle_call(world.now);
    assert_eq!(world.act(), ["pick from 0", "connect to 1", "connect to 2"]);
}

#[test]
fn pick_first_connects_to_one_and_staggers_the_next() {
    let mut world = World::with_servers(pick_first(), [1, 2, 3]);
    assert_eq!(world.dialing.len(), 1);
    assert_eq!(world.advance(Duration::from_millis(249)).len(), 0);
    assert_eq!(world.advance(Duration::from_millis(1)).len(), 1);
    let (slow, fast) = (*world.dialing.keys().next().unwrap(), *world.dialing.keys().next_back().unwrap());
    let loser = world.dialing[&slow].server;
    assert_eq!(world.succeed(fast), ["pick from 1".to_owned(), format!("abort attempt at {loser}")]);
    assert_eq!(distinct(&world.picks(5)).len(), 1);
}

#[test]
fn pick_first_is_failing_until_ready_and_keeps_trying_all() {
    let mut world = World::with_servers(pick_first(), [1, 2]);
    world.fail_all("refused");
    let last = world.fail_all("refused");
    assert!(last.contains(&"resolve at once".to_owned()), "{last:?}");
    world.failure();
    world.advance(Duration::from_millis(1200));
    assert_eq!(world.dialing.len(), 2, "each by its own backoff");
    world.failure();
    world.connect_all();
    assert_eq!(world.picks(1).len(), 1);
    assert!(world.dialing.is_empty());
}

#[test]
fn pick_first_reconnects_a_lost_connection_only_for_a_call() {
    let mut world = World::connected(pick_first(), [1, 2]);
    world.now += SECOND;
    let only = *world.open.keys().next().unwrap();
    assert_eq!(world.close(only, "reset"), ["pick from 0", "resolve"]);
    assert_eq!(world.wait(), Wait::Idle);
    assert!(world.advance(SECOND * 1000).is_empty());
    world.balancer.handle_call(world.now);
    world.act();
    assert_eq!(world.dialing.len(), 1);
}

#[test]
fn pick_first_walks_through_all_endpoints_as_servers_age() {
    let mut world = World::connected(pick_first(), [1, 2, 3, 4]);
    let mut visited = world.picks(1);
    for _ in 0..11 {
        world.now += SECOND * 10;
        let only = *world.open.keys().next().unwrap();
        world.go_away(only);
        world.close(only, "");
        world.connect_all();
        visited.extend(world.picks(1));
    }
    assert_eq!(distinct(&visited[..4]).len(), 4, "{visited:?}");
    assert_eq!(visited[..4], visited[4..8], "the same permutation every time");
    assert_eq!(visited[..4], visited[8..]);
}

#[test]
fn draining_connections_of_an_endpoint_are_bounded() {
    let mut world = World::connected(round_robin(), [1]);
    for _ in 0..100 {
        world.now += SECOND;
        let one = world.connection_to(1);
        world.go_away(one);
        world.connect_all();
    }
    let aborted = world.log.iter().filter(|words| *words == "abort 1").count();
    assert_eq!(aborted, 100 - 32, "what is never done is cut off in the end");
}

#[test]
fn pick_first_backs_off_from_endpoints_that_all_hang_up() {
    for says_goodbye in [true, false] {
        let mut world = World::with_servers(pick_first(), [1, 2]);
        let until = world.now + Duration::from_secs(60);
        while world.now < until {
            let Some(&id) = world.dialing.keys().next() else {
                world.advance(Duration::from_millis(10));
                world.balancer.handle_call(world.now);
                world.act();
                continue;
            };
            world.succeed(id);
            if says_goodbye {
                world.go_away(id);
            }
            world.close(id, "closed");
        }
        // Each: two at once, then pauses of 1 s × 1.6 ± 20 %.
        let connects = world.connects.len();
        assert!((12..=24).contains(&connects), "{connects} connects");
    }
}

#[test]
fn a_server_that_is_pinged_too_often_slows_down_the_pings_to_it_alone() {
    for servers in [2, 12, 100] {
        let mut world = World::connected(round_robin(), 1..=servers);
        for doublings in 1..=12 {
            world.now += SECOND;
            let one = world.connection_to(1);
            world.balancer.handle_too_many_pings(one);
            world.balancer.handle_too_many_pings(one);
            world.go_away(one);
            let attempt = world.attempt_at(1);
            assert_eq!(world.dialing[&attempt].ping_doublings, doublings.min(10), "once for a connection");
            world.succeed(attempt);
        }
        world.go_away(world.connection_to(2));
        assert_eq!(world.dialing[&world.attempt_at(2)].ping_doublings, 0, "nobody else has complained");
    }
}
