//! Servers that age their connections, in virtual time: shares stay even, and no call waits while
//! another backend serves.

use std::collections::VecDeque;
use std::time::Duration;

use meshless_core::{BalancerConfig, Lease, Pick, Policy, Rng};

use crate::support::{Dial, Handle, World};

/// What the calls of one second met.
#[derive(Debug, Default, Clone)]
struct Second {
    calls: Vec<u32>,
    queued: u32,
}

impl Second {
    fn max_over_mean(&self) -> f64 {
        let total: u32 = self.calls.iter().sum();
        let max = self.calls.iter().copied().max().unwrap_or(0);
        f64::from(max) * self.calls.len() as f64 / f64::from(total)
    }
}

/// Servers end connections at `age` ±10 %; a call takes 10 ms, and one starts every millisecond.
fn run(policy: Policy, servers: u8, age: Duration, seconds: usize, seed: u64) -> Vec<Second> {
    let mut world = World::new(BalancerConfig::new(policy), seed);
    world.balancer.handle_call(world.now);
    world.resolve(1..=servers);
    let mut rng = Rng::new(seed, 3);
    let mut running: VecDeque<Lease<Handle>> = VecDeque::new();
    let mut report = vec![Second { calls: vec![0; servers.into()], queued: 0 }; seconds];
    for milli in 0..seconds * 1000 {
        world.advance(Duration::from_millis(1));
        for id in due_dials(&world) {
            world.succeed(id);
        }
        for id in due_goaways(&world, age, &mut rng) {
            world.go_away(id);
        }
        let second = &mut report[milli / 1000];
        match world.pick() {
            Pick::Ready(lease) => {
                second.calls[usize::from(lease.connection().0) - 1] += 1;
                running.push_back(lease);
            }
            _ => second.queued += 1,
        }
        if running.len() > 10
            && let Some(lease) = running.pop_front()
        {
            lease.finish(world.now, meshless_core::Outcome::Success);
        }
        for id in drained(&world, &running) {
            world.close(id, "");
        }
    }
    report
}

fn due_dials(world: &World) -> Vec<meshless_core::ConnectionId> {
    let is_due = |dial: &Dial| world.now - dial.since >= HANDSHAKE;
    world.dialing.iter().filter(|(_, dial)| is_due(dial)).map(|(id, _)| *id).collect()
}

/// The hazard of a uniform age in ±10 %: what is left of the window, spread evenly over its
/// milliseconds.
fn due_goaways(world: &World, age: Duration, rng: &mut Rng) -> Vec<meshless_core::ConnectionId> {
    let (earliest, latest) = (age.mul_f64(0.9), age.mul_f64(1.1));
    let mut due = Vec::new();
    for (id, open) in world.open.iter().filter(|(_, open)| !open.going_away) {
        let lived = world.now - open.connected_at;
        if lived >= earliest {
            let milliseconds_left = latest.saturating_sub(lived).as_millis() as f64;
            if rng.unit() * (milliseconds_left + 1.0) < 1.0 {
                due.push(*id);
            }
        }
    }
    due
}

fn drained(world: &World, running: &VecDeque<Lease<Handle>>) -> Vec<meshless_core::ConnectionId> {
    let busy = |id| running.iter().any(|lease| lease.connection_id() == id);
    world.open.iter().filter(|(id, open)| open.told_to_close && !busy(**id)).map(|(id, _)| *id).collect()
}

#[test]
fn shares_per_second_are_even_while_connections_rotate_every_second() {
    for (servers, seed) in [(3, 1), (3, 2), (10, 3), (10, 4)] {
        let report = run(Policy::RoundRobin, servers, Duration::from_secs(1), 30, seed);
        // The first second is the handshakes'.
        for (index, second) in report.iter().enumerate().skip(1) {
            assert_eq!(second.queued, 0, "second {index}, {servers} servers, seed {seed}");
            // Each connection is away for 3 ms of a second.
            let spread = second.max_over_mean();
            assert!(spread <= 1.02, "{spread} in second {index}, {servers} servers, seed {seed}: {second:?}");
        }
    }
}

#[test]
fn with_one_connection_the_calls_of_one_handshake_wait_at_each_rotation() {
    for (policy, servers) in Policy::ALL.map(|policy| (policy, 1)).into_iter().chain([(Policy::PickFirst, 3)])
    {
        let seconds = 30;
        let report = run(policy, servers, Duration::from_secs(1), seconds, 5);
        let queued: u32 = report[1..].iter().map(|second| second.queued).sum();
        // A handshake takes 3 ms, in which three calls come. 29 s hold 27 to 32 ages of 0.9 to 1.1
        // s.
        assert!((3 * 26..=3 * 33).contains(&queued), "{policy}, {servers} servers: {queued} calls waited");
    }
}

#[test]
fn pick_first_spends_equal_times_on_all_servers() {
    let seconds = 60;
    let report = run(Policy::PickFirst, 3, Duration::from_secs(1), seconds, 6);
    let per_server = |server: usize| -> u32 { report.iter().map(|second| second.calls[server]).sum() };
    let mean = seconds as f64 * 1000.0 / 3.0;
    for server in 0..3 {
        let calls = f64::from(per_server(server));
        // Of about 60 stays of a second, each server is given 20 ± 1, and one stay more or less is
        // 5 %. The sum of the jitter of 20 stays, uniform in ±10 %, has a standard deviation of 1.3
        // % of the whole: five of those are 6.5 %.
        assert!((calls / mean - 1.0).abs() < 0.115, "server {server}: {calls} calls, mean {mean}");
    }
}

#[test]
fn two_choices_keep_shares_close() {
    for policy in [Policy::LeastRequest, Policy::PeakEwma] {
        let report = run(policy, 3, Duration::from_secs(1), 20, 7);
        let total: u32 = report.iter().flat_map(|second| &second.calls).sum();
        for server in 0..3 {
            let calls: u32 = report.iter().map(|second| second.calls[server]).sum();
            let share = f64::from(calls) / f64::from(total);
            // Were choices independent, a share would stray by √(⅓·⅔/N): five of those for N = 20
            // 000 are 0.017.
            let tolerance = 5.0 * (2.0 / 9.0 / f64::from(total)).sqrt();
            assert!((share - 1.0 / 3.0).abs() < tolerance, "{policy}, server {server}: {share}");
        }
    }
}

/// Between two nodes of a cluster, with TLS.
const HANDSHAKE: Duration = Duration::from_millis(3);
