//! More calls than the servers can take: all of them fail some, and none is to blame.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use meshless_core::{BalancerConfig, Lease, Outcome, Policy};

use crate::support::{Handle, World, distinct};

const SECOND: Duration = Duration::from_secs(1);
/// Calls that a server works on at a time; it refuses more. Each takes 10 ms, half as much more or
/// less.
const WORKERS: usize = 10;
const WORK: Duration = Duration::from_millis(10);

/// Servers under a load, which never answer if they hang.
struct Load {
    world: World,
    hanging: Vec<u8>,
    /// By their end.
    working: BTreeMap<(Instant, u64), (Lease<Handle>, Outcome)>,
    begun: u64,
    served: u64,
}

impl Load {
    fn on(servers: std::ops::RangeInclusive<u8>, policy: Policy) -> Self {
        let world = World::connected(BalancerConfig::new(policy), servers);
        Self { world, hanging: Vec::new(), working: BTreeMap::new(), begun: 0, served: 0 }
    }

    /// Calls at a steady rate.
    fn run(&mut self, calls_per_second: u32, time: Duration) {
        let until = self.world.now + time;
        while self.world.now < until {
            self.world.advance(SECOND / calls_per_second);
            self.end_due();
            let lease = self.world.lease();
            let server = lease.connection().0;
            self.begun += 1;
            let busy = self.working.values().filter(|(lease, _)| lease.connection().0 == server).count();
            if self.hanging.contains(&server) {
                let deadline = self.world.now + Duration::from_millis(100);
                self.working.insert((deadline, self.begun), (lease, Outcome::Failure));
            } else if busy < WORKERS {
                let end = self.world.now + self.world.rng.jittered(WORK, 0.5);
                self.working.insert((end, self.begun), (lease, Outcome::Success));
            } else {
                self.world.end(lease, Outcome::Failure);
            }
        }
    }

    fn end_due(&mut self) {
        while let Some(entry) = self.working.first_entry().filter(|entry| entry.key().0 <= self.world.now) {
            let (lease, outcome) = entry.remove();
            self.served += u64::from(outcome == Outcome::Success);
            self.world.end(lease, outcome);
        }
    }

    fn ejections(&self) -> Vec<&str> {
        self.world.log.iter().map(String::as_str).filter(|action| action.starts_with("eject")).collect()
    }
}

/// Of so many servers, calls a second.
fn capacity(servers: u32) -> u32 {
    servers * WORKERS as u32 * 100
}

#[test]
fn an_overload_of_all_ejects_none() {
    for policy in [Policy::RoundRobin, Policy::LeastRequest, Policy::PeakEwma] {
        for (percent, servers) in [(130, 3), (200, 3), (400, 3), (200, 6)] {
            let mut load = Load::on(1..=servers, policy);
            load.run(1000, SECOND);
            load.served = 0;
            load.run(capacity(servers.into()) * percent / 100, 3 * SECOND);
            let goodput = load.served as f64 / f64::from(3 * capacity(servers.into()));
            assert_eq!(load.ejections(), [""; 0], "{policy}: {percent} % of {servers}");
            assert!(goodput > 0.85, "{policy}: {percent} % of {servers}: {goodput}");
        }
    }
}

#[test]
fn one_that_hangs_is_found_in_an_overload_too() {
    let mut load = Load::on(1..=3, Policy::RoundRobin);
    load.run(capacity(3) * 3 / 2, SECOND);
    assert_eq!(load.ejections(), [""; 0]);
    load.hanging = vec![2];
    load.run(capacity(3) * 3 / 2, 2 * SECOND);
    let ejections = load.ejections();
    assert!(ejections.len() == 1 && ejections[0].starts_with("eject 2: "), "{ejections:?}");
}

#[test]
fn one_that_hangs_is_found_at_once_among_well_ones() {
    for policy in [Policy::RoundRobin, Policy::LeastRequest, Policy::PeakEwma] {
        let mut load = Load::on(1..=3, policy);
        load.run(capacity(3) / 2, SECOND);
        load.hanging = vec![2];
        // Five calls, and their deadlines.
        load.run(capacity(3) / 2, Duration::from_millis(200));
        assert_eq!(load.ejections(), ["eject 2: 5 calls in a row failed"], "{policy}");
    }
}

#[test]
fn when_every_call_fails_everywhere_all_stay_in_use() {
    let mut world = World::connected(BalancerConfig::default(), 1..=3);
    world.call(300, &[]);
    world.call(60, &[1, 2, 3]);
    assert_eq!(distinct(&world.call(9, &[1, 2, 3])), distinct(&[1, 2, 3]));
    assert!(world.log.iter().all(|action| !action.starts_with("eject")), "{:?}", world.log);
    // The first that is well again shows that the others are not.
    world.call(300, &[1]);
    assert!(world.log.iter().any(|action| action.starts_with("eject 1")), "{:?}", world.log);
}
