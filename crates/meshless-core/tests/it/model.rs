//! The invariants of the balancer under random sequences of events, whatever the order they come
//! in.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use meshless_core::{
    Address, BalancerConfig, ConnectionId, EjectionConfig, EndpointId, EndpointState, Lease, Outcome,
    OutlierConfig, Pick, Policy, ResolutionError, SubchannelState, Wait, ZonePreference,
};
use proptest::prelude::*;

use crate::support::{Handle, World, endpoint};

/// One thing that happens. Numbers choose among what there is to choose from, modulo.
#[derive(Clone, Debug)]
enum Event {
    /// The resolver names the servers whose bits are set.
    Resolve(u8),
    ResolveFails,
    Advance(u16),
    Connect(usize),
    ConnectFails(usize),
    GoAway(usize),
    /// A connection breaks, or is closed after the balancer asked for it.
    Close(usize),
    StreamLimit(usize, u32),
    Silent(usize, bool),
    Health(usize, bool),
    Call,
    CallEnds(usize, bool),
    Idle,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        2 => any::<u8>().prop_map(Event::Resolve),
        1 => Just(Event::ResolveFails),
        4 => (0..3000u16).prop_map(Event::Advance),
        8 => any::<usize>().prop_map(Event::Connect),
        2 => any::<usize>().prop_map(Event::ConnectFails),
        3 => any::<usize>().prop_map(Event::GoAway),
        3 => any::<usize>().prop_map(Event::Close),
        1 => (any::<usize>(), 0..4u32).prop_map(|(which, limit)| Event::StreamLimit(which, limit)),
        2 => (any::<usize>(), any::<bool>()).prop_map(|(which, silent)| Event::Silent(which, silent)),
        2 => (any::<usize>(), any::<bool>()).prop_map(|(which, healthy)| Event::Health(which, healthy)),
        8 => Just(Event::Call),
        4 => (any::<usize>(), any::<bool>()).prop_map(|(which, success)| Event::CallEnds(which, success)),
        1 => Just(Event::Idle),
    ]
}

/// A world, its calls in flight, and what the resolver last said.
struct Run {
    world: World,
    calls: Vec<Lease<Handle>>,
    listed: BTreeSet<u8>,
    /// How many streams connections take, where they said so.
    limits: BTreeMap<ConnectionId, u32>,
    /// The zone that the channel prefers.
    zone: Option<&'static str>,
}

const CONCURRENT_MAX: usize = 4;
const CONNECTS_PER_SECOND: u32 = 20;
const CONNECT_BURST: u32 = 10;
const CONNECTIONS_PER_ENDPOINT: usize = 2;

impl Run {
    fn new(policy: Policy, seed: u64) -> Self {
        let n = |n| NonZeroU32::new(n).expect("bounds are not zero");
        let config = BalancerConfig::new(policy)
            .concurrent_connects(n(CONCURRENT_MAX as u32))
            .connects_per_second(n(CONNECTS_PER_SECOND), n(CONNECT_BURST))
            .connections_per_endpoint(n(CONNECTIONS_PER_ENDPOINT as u32))
            .ejection(ejection(seed))
            .zone(preferred_zone(seed).map(ZonePreference::new));
        Self {
            world: World::new(config, seed),
            calls: Vec::new(),
            listed: BTreeSet::new(),
            limits: BTreeMap::new(),
            zone: preferred_zone(seed),
        }
    }

    fn apply(&mut self, event: &Event) {
        let world = &mut self.world;
        let nth = |ids: Vec<ConnectionId>, n: usize| ids.get(n % ids.len().max(1)).copied();
        let open = || world.open.keys().copied().collect();
        match event {
            Event::Resolve(bits) => {
                let servers: BTreeSet<u8> =
                    (0..8).filter(|bit| bits >> bit & 1 == 1).map(|bit| bit + 1).collect();
                let endpoints = servers.iter().map(|server| match zone_of(*server) {
                    Some(zone) => endpoint(*server).with_zone(zone),
                    None => endpoint(*server),
                });
                world.balancer.handle_resolution(world.now, Ok(endpoints.collect()));
                world.act();
                if !servers.is_empty() {
                    self.listed = servers;
                }
            }
            Event::ResolveFails => {
                world.balancer.handle_resolution(world.now, Err(ResolutionError("timed out".to_owned())));
                world.act();
            }
            Event::Advance(milliseconds) => {
                world.advance(Duration::from_millis((*milliseconds).into()));
            }
            Event::Connect(which) => {
                if let Some(id) = nth(world.dialing.keys().copied().collect(), *which) {
                    world.succeed(id);
                }
            }
            Event::ConnectFails(which) => {
                if let Some(id) = nth(world.dialing.keys().copied().collect(), *which) {
                    world.fail(id, "refused");
                }
            }
            Event::GoAway(which) => {
                if let Some(id) = nth(open(), *which) {
                    world.go_away(id);
                }
            }
            Event::Close(which) => {
                if let Some(id) = nth(open(), *which) {
                    world.close(id, "closed");
                }
            }
            Event::StreamLimit(which, limit) => {
                if let Some(id) = nth(open(), *which) {
                    world.balancer.handle_stream_limit(id, *limit);
                    self.limits.insert(id, *limit);
                    world.act();
                }
            }
            Event::Silent(which, silent) => {
                if let Some(id) = nth(open(), *which) {
                    world.silent(id, *silent);
                }
            }
            Event::Health(which, healthy) => {
                // Attempts that are all but made are watched too.
                let known = world.open.keys().chain(world.dialing.keys()).copied().collect();
                if let Some(id) = nth(known, *which) {
                    world.healthy(id, *healthy);
                }
            }
            Event::Call => self.call(),
            Event::CallEnds(which, success) => {
                if !self.calls.is_empty() {
                    let lease = self.calls.swap_remove(which % self.calls.len());
                    world.end(lease, if *success { Outcome::Success } else { Outcome::Failure });
                }
            }
            Event::Idle => {
                world.balancer.handle_idle(world.now);
                world.act();
            }
        }
    }

    fn call(&mut self) {
        match self.world.pick() {
            Pick::Ready(lease) => {
                let (server, id) = *lease.connection();
                let open = self.world.open.get(&id).expect("a pick returns an open connection");
                assert!(!open.going_away, "a pick returned a connection that goes away");
                assert!(!open.told_to_close, "a pick returned a connection that is being closed");
                let from_here = |endpoint: &&EndpointState| {
                    endpoint.connections_serving > 0
                        && self.listed.iter().any(|server| address(*server) == endpoint.address)
                };
                let relieved =
                    self.world.balancer.state().endpoints.iter().any(|endpoint| from_here(&endpoint));
                assert!(
                    self.listed.contains(&server) || !relieved,
                    "a pick returned an endpoint that has left, though one is ready that has not"
                );
                assert_eq!(lease.endpoint(), open.endpoint);
                self.check_zone(lease.endpoint());
                self.calls.push(lease);
            }
            Pick::Queue(Wait::Idle) => {
                self.world.balancer.handle_call(self.world.now);
                self.world.act();
            }
            Pick::Queue(Wait::Full(endpoint)) => {
                self.world.balancer.handle_full(self.world.now, endpoint);
                self.world.act();
            }
            Pick::Queue(Wait::Connecting) => {}
            Pick::Fail(error) => assert!(!error.to_string().is_empty()),
        }
    }

    /// A call that has left its zone, though that needs no help, found no room there.
    fn check_zone(&self, picked: EndpointId) {
        let endpoints = self.world.balancer.state().endpoints;
        // Who has served the term of its ejection is tried with a single call, whatever its share.
        let on_probation =
            |e: &EndpointState| e.ejection.is_some_and(|ejection| ejection.until <= self.world.now);
        if endpoints.iter().any(|e| e.id == picked && (e.weight > 0.0 || on_probation(e))) {
            return;
        }
        assert!(self.zone.is_some(), "a weight of 0");
        let in_use = |e: &&EndpointState| e.weight > 0.0 && e.ejection.is_none();
        let serves_alone = |e: &&EndpointState| {
            e.connections_serving > 0
                && e.connections_silent + e.connections_unhealthy + e.connections_draining == 0
        };
        for endpoint in endpoints.iter().filter(in_use).filter(serves_alone) {
            for (id, _) in self.world.open.iter().filter(|(_, open)| open.endpoint == endpoint.id) {
                let calls = self.calls.iter().filter(|lease| lease.connection_id() == *id).count();
                let limit = self.limits.get(id).copied().unwrap_or(u32::MAX);
                assert!(calls >= limit as usize, "{picked} was picked, and there was room on {endpoint:?}");
            }
        }
    }

    /// Weights are shares: what the zones do not take from each other they have.
    fn check_weights(&self) {
        let endpoints = self.world.balancer.state().endpoints;
        assert!(endpoints.iter().all(|e| e.weight.is_finite() && e.weight >= 0.0), "{endpoints:#?}");
        let ready: Vec<_> = endpoints.iter().filter(|e| e.state == SubchannelState::Ready).collect();
        if ready.is_empty() || ready.iter().any(|e| e.ejection.is_some()) {
            return;
        }
        let sum: f32 = ready.iter().map(|e| e.weight).sum();
        assert!((sum - ready.len() as f32).abs() < 1e-3, "{sum} of {}\n{endpoints:#?}", ready.len());
        let Some(zone) = self.zone else { return };
        let own = || ready.iter().filter(|e| e.zone.as_deref() == Some(zone));
        let weight: f32 = own().map(|e| e.weight).sum();
        assert!(weight >= own().count() as f32 - 1e-3, "less than without a preference\n{endpoints:#?}");
    }

    fn check(&mut self) {
        self.check_weights();
        let world = &mut self.world;
        let dialing = world.dialing.keys().filter(|id| !world.held.contains(id)).count();
        assert!(dialing <= CONCURRENT_MAX, "{dialing} attempts");
        assert!(world.dialing.values().all(|dial| self.listed.contains(&dial.server)));
        let state = world.balancer.state();
        let serving: usize = state.endpoints.iter().map(|endpoint| endpoint.connections_serving).sum();
        let draining: usize = state.endpoints.iter().map(|endpoint| endpoint.connections_draining).sum();
        let silent: usize = state.endpoints.iter().map(|endpoint| endpoint.connections_silent).sum();
        let unhealthy: usize = state.endpoints.iter().map(|endpoint| endpoint.connections_unhealthy).sum();
        assert_eq!(serving + silent + unhealthy + draining, world.open.len(), "what is open is known");
        for endpoint in &state.endpoints {
            assert!(endpoint.connections_serving <= CONNECTIONS_PER_ENDPOINT + 1, "{endpoint:?}");
        }
        let listed = || state.endpoints.iter().filter(|e| e.state != SubchannelState::Draining);
        let ready = listed().filter(|e| e.state == SubchannelState::Ready);
        let (ejected, well): (Vec<_>, Vec<_>) = ready.partition(|e| e.ejection.is_some());
        // A single call that goes ahead apart, ejections are heeded only while half are in service.
        let heeded = world.picker.endpoints() < ejected.len() + well.len();
        if !ejected.is_empty() && heeded {
            let n = listed().count();
            assert!(2 * well.len() >= n, "{} of {n} in service\n{state:#?}", well.len());
        }
        let calls: usize = state.endpoints.iter().map(|endpoint| endpoint.calls_in_flight).sum();
        let alive = self.calls.iter().filter(|lease| world.open.contains_key(&lease.connection_id())).count();
        assert_eq!(calls, alive, "every call is counted once");
        // While something serves, calls are placed, or wait for a stream; never for a handshake.
        match world.pick() {
            Pick::Ready(_) | Pick::Queue(Wait::Full(_)) => assert!(serving + silent > 0),
            Pick::Queue(_) | Pick::Fail(_) => assert_eq!(serving + silent, 0),
        }
    }

    fn check_connect_rate(&self) {
        let connects = &self.world.connects;
        for (first, from) in connects.iter().enumerate() {
            for (count, to) in connects[first..].iter().enumerate() {
                let allowed = f64::from(CONNECT_BURST) + rate(*from, *to) + 1e-6;
                assert!((count + 1) as f64 <= allowed, "{} connects from {first} on", count + 1);
            }
        }
    }

    /// From now on nothing fails: everything listed is connected within a bounded time.
    fn check_convergence(&mut self, policy: Policy) {
        if self.listed.is_empty() {
            return;
        }
        self.calls.clear();
        for id in self.world.open.keys() {
            self.world.balancer.handle_health(self.world.now, *id, Ok::<_, &str>(()));
            self.world.balancer.handle_silent(self.world.now, *id, false);
            self.world.balancer.handle_stream_limit(*id, 100);
        }
        self.world.balancer.handle_call(self.world.now);
        self.world.act();
        // The longest pause is 120 s + 20 %.
        let until = self.world.now + Duration::from_secs(150);
        while self.world.now < until {
            self.world.advance(Duration::from_millis(500));
            self.world.connect_all();
            for _ in 0..2 * self.listed.len() {
                if let Pick::Ready(lease) = self.world.pick() {
                    self.world.end(lease, Outcome::Success);
                }
            }
        }
        let state = self.world.balancer.state();
        let listed = state.endpoints.iter().filter(|e| e.state != SubchannelState::Draining);
        assert!(listed.into_iter().all(|e| e.ejection.is_none()), "ejections end: {state:#?}");
        // A hundred calls reach all that are to get some, however few.
        let ready: BTreeSet<u8> = (0..100).map(|_| self.world.lease().connection().0).collect();
        let weighs = |e: &&EndpointState| e.state == SubchannelState::Ready && e.weight > 0.0;
        let used: BTreeSet<Address> =
            state.endpoints.iter().filter(weighs).map(|e| e.address.clone()).collect();
        let used: BTreeSet<u8> =
            self.listed.iter().copied().filter(|s| used.contains(&address(*s))).collect();
        match policy {
            Policy::PickFirst => assert_eq!(ready.len(), 1),
            Policy::RoundRobin | Policy::WeightedRoundRobin => assert_eq!(ready, used),
            _ => assert!(ready.is_subset(&self.listed)),
        }
        let serving =
            self.world.balancer.state().endpoints.iter().filter(|e| e.connections_serving > 0).count();
        assert_eq!(serving, if policy == Policy::PickFirst { 1 } else { self.listed.len() });
    }

    /// Every attempt and every connection ends once the channel lets go of them.
    fn check_end(&mut self) {
        self.calls.clear();
        self.world.balancer.handle_idle(self.world.now);
        self.world.act();
        assert!(self.world.dialing.is_empty(), "an attempt was left to itself");
        for open in self.world.open.values() {
            assert!(open.told_to_close, "a connection to {} was left to itself", open.server);
        }
        while let Some(&id) = self.world.open.keys().next() {
            self.world.close(id, "");
        }
        let state = self.world.balancer.state();
        assert_eq!(state.endpoints.len(), self.listed.len(), "former endpoints are forgotten");
        assert_eq!(self.world.balancer.poll_timeout(), None);
    }
}

/// Quick to eject, in three ways.
fn ejection(seed: u64) -> EjectionConfig {
    let n = |n| NonZeroU32::new(n).expect("not zero");
    let outliers = OutlierConfig::default().volume(n(2)).hosts(2);
    let breaker = EjectionConfig::default().consecutive_failures(Some(n(1)));
    match seed % 4 {
        0 => EjectionConfig::default(),
        1 => breaker,
        2 => breaker.outlier_detection(Some(outliers)),
        _ => EjectionConfig::default().consecutive_failures(None).outlier_detection(Some(outliers)),
    }
}

/// Of six, two are in each of two zones, and two in none.
fn zone_of(server: u8) -> Option<&'static str> {
    [None, Some("a"), Some("b")][usize::from(server % 3)]
}

/// One where there are endpoints, one where there are none, or none at all.
fn preferred_zone(seed: u64) -> Option<&'static str> {
    [None, Some("a"), Some("c")][(seed / 4 % 3) as usize]
}

fn address(server: u8) -> Address {
    endpoint(server).address
}

fn rate(from: Instant, to: Instant) -> f64 {
    (to - from).as_secs_f64() * f64::from(CONNECTS_PER_SECOND)
}

fn policy() -> impl Strategy<Value = Policy> {
    prop::sample::select(Policy::ALL.to_vec())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn invariants_hold_whatever_happens(
        policy in policy(),
        seed in any::<u64>(),
        events in prop::collection::vec(event(), 1..120),
    ) {
        let mut run = Run::new(policy, seed);
        for event in &events {
            run.apply(event);
            run.check();
        }
        run.check_connect_rate();
        run.check_convergence(policy);
        run.check_end();
    }

    #[test]
    fn the_same_seed_does_the_same(
        policy in policy(),
        seed in any::<u64>(),
        events in prop::collection::vec(event(), 1..80),
    ) {
        let trace = || {
            let mut run = Run::new(policy, seed);
            events.iter().for_each(|event| run.apply(event));
            run.world.log
        };
        prop_assert_eq!(trace(), trace());
    }

    #[test]
    fn a_flapping_resolver_does_not_make_a_storm_of_connects(
        policy in policy(),
        answers in prop::collection::vec(any::<u8>(), 50..200),
    ) {
        let mut run = Run::new(policy, 1);
        run.world.balancer.handle_call(run.world.now);
        for bits in &answers {
            run.apply(&Event::Resolve(*bits));
            run.world.connect_all();
            run.apply(&Event::Advance(5));
        }
        run.check_connect_rate();
    }
}

#[test]
fn two_hundred_endpoints_have_equal_shares_after_a_flap() {
    let n = |n| NonZeroU32::new(n).unwrap();
    let config = BalancerConfig::default().connects_per_second(n(1000), n(1000));
    let mut world = World::connected(config, 1..=200);
    assert_eq!(world.picker.endpoints(), 200);
    world.balancer.handle_resolution(world.now, Ok((1..=100).map(endpoint).collect()));
    world.act();
    world.resolve(1..=200);
    world.connect_all();
    let mut counts = [0u32; 201];
    world.picks(2000).into_iter().for_each(|server| counts[usize::from(server)] += 1);
    assert!(counts[1..].iter().all(|count| *count == 10), "{counts:?}");
}

/// Half of the endpoints are ejected, so that all are picked from; but one of them has no share,
/// since others stand in for its zone.
#[test]
fn who_gets_no_calls_in_a_panic_comes_back_all_the_same() {
    use Event::*;
    let mut run = Run::new(Policy::RoundRobin, 4741273588789168570);
    let connected = [Call, Resolve(161), Connect(5653921762500126884), Call, Connect(6319681266682598790)];
    let failing = [Call, Call, Health(0, true), Call, CallEnds(13697013499040785498, false), Call, Call];
    let again = [ResolveFails, Connect(0), Call, Call, Call, Idle, CallEnds(10327424784987071826, false)];
    for event in connected.iter().chain(&failing).chain(&again) {
        run.apply(event);
        run.check();
    }
    run.check_convergence(Policy::RoundRobin);
}
