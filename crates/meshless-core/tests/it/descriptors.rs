//! More endpoints than the process has file descriptors: how many are used, and what happens when
//! none is left.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use meshless_core::{
    Action, Address, Balancer, BalancerConfig, ConnectionId, ConnectivityState, Endpoint, Policy, Rng,
};

use crate::support::World;

const SECOND: Duration = Duration::from_secs(1);

/// A process with so many descriptors around a balancer of many endpoints.
struct Process {
    balancer: Balancer<()>,
    now: std::time::Instant,
    limit: usize,
    dialing: BTreeSet<ConnectionId>,
    open: BTreeSet<ConnectionId>,
    refused: usize,
    resolutions_asked: usize,
    warnings: Vec<(usize, usize)>,
}

impl Process {
    fn new(config: BalancerConfig, limit: usize, endpoints: usize) -> Self {
        let World { now, .. } = World::new(BalancerConfig::default(), 1);
        let balancer = Balancer::new(config, Rng::new(7, 1), now);
        let mut process = Self {
            balancer,
            now,
            limit,
            dialing: BTreeSet::new(),
            open: BTreeSet::new(),
            refused: 0,
            resolutions_asked: 0,
            warnings: Vec::new(),
        };
        process.balancer.handle_call(now);
        process.resolve(endpoints);
        process
    }

    fn resolve(&mut self, endpoints: usize) {
        let endpoint = |n: usize| {
            let [.., b, c, d] = (n as u32).to_be_bytes();
            Endpoint::new(Address::Tcp(SocketAddr::from(([10, b, c, d], 50051))))
        };
        self.balancer.handle_resolution(self.now, Ok((0..endpoints).map(endpoint).collect()));
        self.act();
    }

    fn act(&mut self) {
        loop {
            while let Some(action) = self.balancer.poll_action() {
                match action {
                    Action::Connect { connection, .. } => drop(self.dialing.insert(connection)),
                    Action::Close { connection, .. } => {
                        self.open.remove(&connection);
                        self.dialing.remove(&connection);
                        self.balancer.handle_closed(self.now, connection, "");
                    }
                    Action::RequestResolution { .. } => self.resolutions_asked += 1,
                    Action::ReportTooManyEndpoints { used, left_out } => self.warnings.push((used, left_out)),
                    _ => {}
                }
            }
            let Some(id) = self.dialing.pop_first() else { break };
            if self.open.len() < self.limit {
                self.open.insert(id);
                self.balancer.handle_connected(self.now, id, ());
            } else {
                self.refused += 1;
                self.balancer.handle_out_of_descriptors(self.now, id, "too many open files");
            }
        }
    }

    fn advance(&mut self, by: Duration) {
        let until = self.now + by;
        while let Some(at) = self.balancer.poll_timeout().filter(|at| *at <= until) {
            assert!(at > self.now, "a timeout in the past would spin");
            self.now = at;
            self.balancer.handle_timeout(at);
            self.act();
        }
        self.now = until;
    }
}

#[test]
fn a_bound_on_the_endpoints_in_use_holds_by_default() {
    for (endpoints, used) in [(12, 12), (100, 100), (1000, 1000), (20_000, 1000)] {
        let mut process = Process::new(BalancerConfig::default(), usize::MAX, endpoints);
        process.advance(60 * SECOND);
        assert_eq!(process.open.len(), used, "of {endpoints}");
        let state = process.balancer.state();
        assert_eq!((state.endpoints.len(), state.endpoints_left_out), (used, endpoints - used));
        // Once, however often the resolver repeats itself; and again when it begins again.
        let connected = process.balancer.state().endpoints.iter().map(|e| e.id).collect::<BTreeSet<_>>();
        for _ in 0..2 {
            process.resolve(endpoints);
        }
        let still = process.balancer.state().endpoints.iter().map(|e| e.id).collect::<BTreeSet<_>>();
        assert!(connected == still, "the same answer keeps the same subset");
        let expected = if endpoints > used { vec![(used, endpoints - used)] } else { vec![] };
        assert_eq!(process.warnings, expected);
        process.resolve(5);
        process.resolve(endpoints);
        assert_eq!(process.warnings.len(), 2 * expected.len());
    }
}

#[test]
fn a_subset_that_was_asked_for_is_nothing_to_warn_of() {
    let size = NonZeroUsize::new(20);
    let process = Process::new(BalancerConfig::default().subset_size(size), usize::MAX, 5000);
    assert_eq!(process.balancer.state().endpoints.len(), 20);
    assert_eq!(process.warnings, []);
    let config = BalancerConfig::default().subset_size(NonZeroUsize::new(3000));
    assert_eq!(Process::new(config, usize::MAX, 5000).warnings, [(1000, 4000)], "more than the bound");
}

#[test]
fn half_of_the_descriptors_are_left_to_the_application() {
    let used = |config| Process::new(config, usize::MAX, 5000).balancer.state().endpoints.len();
    let config = BalancerConfig::default;
    assert_eq!(used(config().file_descriptors(256)), 128);
    assert_eq!(used(config().file_descriptors(1 << 20)), 1000, "a high limit raises nothing");
    assert_eq!(used(config().file_descriptors(1)), 1);
    assert_eq!(used(config().file_descriptors(256).endpoints_max(NonZeroUsize::new(200).unwrap())), 200);
}

#[test]
fn a_larger_bound_lets_every_endpoint_be_used() {
    let config = BalancerConfig::default().endpoints_max(NonZeroUsize::new(20_000).unwrap());
    let mut process = Process::new(config, usize::MAX, 1500);
    process.advance(60 * SECOND);
    assert_eq!((process.open.len(), process.warnings.len()), (1500, 0));
}

#[test]
fn no_descriptor_left_pauses_the_connects_and_asks_the_resolver() {
    for endpoints in [12, 100, 1000, 20_000] {
        let mut process = Process::new(BalancerConfig::default(), 10, endpoints);
        let asked = process.resolutions_asked;
        process.advance(60 * SECOND);
        assert_eq!(process.open.len(), 10, "of {endpoints}");
        // At most the 64 that are in the making at a time fail in each pause.
        assert!(process.refused <= 61 * 64, "{} refused in a minute", process.refused);
        assert!((1..=62).contains(&(process.resolutions_asked - asked + 1)));
        assert_eq!(process.balancer.connectivity(), ConnectivityState::Ready);
        // The application closes its files: the rest is connected within seconds, with no backoff
        // to wait for.
        process.limit = usize::MAX;
        let left = endpoints.min(1000) - 10;
        process.advance(SECOND + Duration::from_secs(1 + left as u64 / 100));
        assert_eq!(process.open.len(), endpoints.min(1000), "of {endpoints}");
    }
}

#[test]
fn with_no_descriptor_at_all_calls_fail_and_say_so_until_there_is_one() {
    for policy in Policy::ALL {
        let mut world = World::with_servers(BalancerConfig::new(policy), [1, 2, 3]);
        for _ in 0..3 {
            let ids: Vec<_> = world.dialing.keys().copied().collect();
            for id in ids {
                world.dialing.remove(&id);
                world.balancer.handle_out_of_descriptors(world.now, id, "too many open files");
                world.act();
            }
            world.advance(SECOND);
        }
        if policy != Policy::PickFirst {
            assert!(world.failure().to_string().contains("too many open files"), "{policy}");
        }
        world.connect_all();
        world.picks(2);
        let failing = world.balancer.state().endpoints.into_iter().filter(|e| e.connections_serving == 0);
        assert!(policy == Policy::PickFirst || failing.count() == 0, "no backoff was waited for: {policy}");
    }
}
