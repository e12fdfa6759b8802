//! A fleet of pods around one balancer, in virtual time: pods age, idle out, drain and are replaced
//! by themselves. It counts the connections that the channel makes, for fleets of any size.
//!
//! `World` (support.rs) is for a few servers whose every event a test writes down; this is for a
//! thousand that live on their own.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use meshless_core::{
    Action, Address, Balancer, BalancerConfig, ConnectionId, Endpoint, Outcome, Pick, Picker, Rng, Wait,
};

/// Pods are known by a number, which their address carries.
pub(crate) type PodId = u32;

/// When a pod ends its connections. The default never does.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Lifetime {
    /// With a jitter of ±10 % for each connection, as gRFC A9 has it.
    pub(crate) age: Option<Duration>,
    /// Counts from the last call, or from when the connection was made.
    pub(crate) idle: Option<Duration>,
}

pub(crate) struct Fleet {
    pub(crate) now: Instant,
    pub(crate) balancer: Balancer<ConnectionId>,
    picker: Arc<Picker<ConnectionId>>,
    rng: Rng,
    /// Those that listen.
    pods: BTreeMap<PodId, Lifetime>,
    listed: BTreeSet<PodId>,
    dialing: BTreeMap<ConnectionId, PodId>,
    open: BTreeMap<ConnectionId, Open>,
    /// Equal times in the order in which they were set.
    events: BTreeMap<(Instant, u64), Event>,
    events_set: u64,
    call_interval: Option<Duration>,
    /// How many calls wait for a backend.
    waiting: usize,
    pub(crate) counts: Counts,
}

/// What has happened so far.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Connections made to each pod.
    pub(crate) made: BTreeMap<PodId, usize>,
    /// Connections that each pod has ended.
    pub(crate) ended: BTreeMap<PodId, usize>,
    /// Attempts at pods that do not listen.
    pub(crate) refused: usize,
    /// The most attempts under way at a time.
    pub(crate) dialing_max: usize,
    pub(crate) calls: usize,
    /// Calls that found no backend, and waited for a handshake.
    pub(crate) waited: usize,
}

impl Counts {
    pub(crate) fn made(&self) -> usize {
        self.made.values().sum()
    }

    pub(crate) fn ended(&self) -> usize {
        self.ended.values().sum()
    }
}

struct Open {
    pod: PodId,
    used_at: Instant,
    going_away: bool,
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Call,
    /// The attempt is made, or refused.
    Dialed(ConnectionId),
    Aged(ConnectionId),
    /// To be looked at: a call may have come since.
    Idled(ConnectionId),
    Closed(ConnectionId),
}

impl Fleet {
    /// A channel that has been asked to connect to these pods, and has begun to.
    pub(crate) fn new(config: BalancerConfig, pods: impl IntoIterator<Item = (PodId, Lifetime)>) -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "an epoch can only be made from the clock; its value is not used"
        )]
        let now = Instant::now();
        let pods: BTreeMap<_, _> = pods.into_iter().collect();
        let mut fleet = Self {
            now,
            balancer: Balancer::new(config, Rng::new(1, 1), now),
            picker: Arc::new(Picker::idle()),
            rng: Rng::new(1, 2),
            listed: pods.keys().copied().collect(),
            pods,
            dialing: BTreeMap::new(),
            open: BTreeMap::new(),
            events: BTreeMap::new(),
            events_set: 0,
            call_interval: None,
            waiting: 0,
            counts: Counts::default(),
        };
        fleet.balancer.handle_call(now);
        fleet.resolve();
        fleet
    }

    /// Makes a call each `interval`. Without it there is none.
    pub(crate) fn calls_every(mut self, interval: Duration) -> Self {
        self.call_interval = Some(interval);
        self.at(self.now, Event::Call);
        self
    }

    /// Starts a pod. It is not listed yet.
    pub(crate) fn start(&mut self, pod: PodId, lifetime: Lifetime) {
        assert!(self.pods.insert(pod, lifetime).is_none(), "pod {pod} runs");
    }

    /// Changes when a pod ends connections that are made from now on.
    pub(crate) fn set_lifetime(&mut self, pod: PodId, lifetime: Lifetime) {
        *self.pods.get_mut(&pod).expect("a pod that runs") = lifetime;
    }

    /// Ends a pod in good order: it listens no more, and sends its connections away.
    pub(crate) fn drain(&mut self, pod: PodId) {
        self.pods.remove(&pod).expect("a pod that runs");
        let of_pod = |(_, open): &(&ConnectionId, &Open)| open.pod == pod && !open.going_away;
        let ids: Vec<_> = self.open.iter().filter(of_pod).map(|(id, _)| *id).collect();
        ids.into_iter().for_each(|id| self.go_away(id));
    }

    /// The resolver lists a pod.
    pub(crate) fn list(&mut self, pod: PodId) {
        self.listed.insert(pod);
        self.resolve();
    }

    /// The resolver lists a pod no more.
    pub(crate) fn unlist(&mut self, pod: PodId) {
        self.listed.remove(&pod);
        self.resolve();
    }

    /// The only open connection's pod.
    pub(crate) fn connected_to(&self) -> PodId {
        let mut serving = self.open.values().filter(|open| !open.going_away);
        let pod = serving.next().expect("a connection").pod;
        assert!(serving.next().is_none(), "one connection");
        pod
    }

    /// Lets time pass.
    pub(crate) fn run(&mut self, length: Duration) {
        let until = self.now + length;
        loop {
            let event = self.events.first_key_value().map(|(&key, _)| key).filter(|(at, _)| *at <= until);
            let timeout = self.balancer.poll_timeout().filter(|at| *at <= until);
            match (event, timeout) {
                (None, None) => break,
                (Some((at, _)), timeout) if timeout.is_none_or(|timeout| at <= timeout) => self.next_event(),
                (_, Some(timeout)) => {
                    self.now = self.now.max(timeout);
                    self.balancer.handle_timeout(self.now);
                    self.act();
                }
                (Some(_), None) => unreachable!("the guard above holds without a timeout"),
            }
        }
        self.now = until;
    }

    fn next_event(&mut self) {
        let ((at, _), event) = self.events.pop_first().expect("seen a moment ago");
        self.now = at;
        match event {
            Event::Call => self.call(),
            Event::Dialed(id) => self.dialed(id),
            Event::Aged(id) => self.go_away(id),
            Event::Idled(id) => self.look_at_idle(id),
            Event::Closed(id) => {
                self.open.remove(&id);
                self.balancer.handle_closed(self.now, id, "closed");
                self.act();
            }
        }
    }

    fn call(&mut self) {
        self.counts.calls += 1;
        if !self.place() {
            self.counts.waited += 1;
            self.waiting += 1;
        }
        if let Some(interval) = self.call_interval {
            self.at(self.now + interval, Event::Call);
        }
    }

    /// Places a call. It is over at once: what counts here is whether and where it finds a
    /// connection.
    fn place(&mut self) -> bool {
        match self.picker.pick(self.now, &mut self.rng, &[]) {
            Pick::Ready(lease) => {
                let id = *lease.connection();
                let open = self.open.get_mut(&id).expect("a pick returns an open connection");
                assert!(!open.going_away, "a pick returned a connection that goes away");
                open.used_at = self.now;
                lease.finish(self.now, Outcome::Success);
                true
            }
            Pick::Queue(Wait::Idle) => {
                self.balancer.handle_call(self.now);
                self.act();
                false
            }
            Pick::Queue(_) | Pick::Fail(_) => false,
        }
    }

    fn dialed(&mut self, id: ConnectionId) {
        let Some(pod) = self.dialing.remove(&id) else { return };
        if let Some(&lifetime) = self.pods.get(&pod) {
            *self.counts.made.entry(pod).or_default() += 1;
            self.open.insert(id, Open { pod, used_at: self.now, going_away: false });
            if let Some(age) = lifetime.age {
                let age = self.rng.jittered(age, 0.1);
                self.at(self.now + age, Event::Aged(id));
            }
            if let Some(idle) = lifetime.idle {
                self.at(self.now + idle, Event::Idled(id));
            }
            self.balancer.handle_connected(self.now, id, id);
        } else {
            self.counts.refused += 1;
            self.balancer.handle_connect_failed(self.now, id, "connection refused");
        }
        self.act();
    }

    fn look_at_idle(&mut self, id: ConnectionId) {
        let Some(open) = self.open.get(&id).filter(|open| !open.going_away) else { return };
        let Some(idle) = self.pods.get(&open.pod).and_then(|lifetime| lifetime.idle) else { return };
        match open.used_at + idle {
            at if at > self.now => self.at(at, Event::Idled(id)),
            _ => self.go_away(id),
        }
    }

    fn go_away(&mut self, id: ConnectionId) {
        let Some(open) = self.open.get_mut(&id).filter(|open| !open.going_away) else { return };
        open.going_away = true;
        *self.counts.ended.entry(open.pod).or_default() += 1;
        self.balancer.handle_going_away(self.now, id);
        self.act();
    }

    fn resolve(&mut self) {
        let endpoints = self.listed.iter().map(|&pod| Endpoint::new(address(pod))).collect();
        self.balancer.handle_resolution(self.now, Ok(endpoints));
        self.act();
    }

    fn act(&mut self) {
        while let Some(action) = self.balancer.poll_action() {
            match action {
                Action::UpdatePicker(picker) => {
                    self.picker = picker;
                    while self.waiting > 0 && self.place() {
                        self.waiting -= 1;
                    }
                }
                Action::Connect { connection, address, .. } => {
                    self.dialing.insert(connection, pod(&address));
                    self.counts.dialing_max = self.counts.dialing_max.max(self.dialing.len());
                    self.at(self.now + HANDSHAKE, Event::Dialed(connection));
                }
                Action::Close { connection, .. } => self.close(connection),
                _ => {}
            }
        }
    }

    fn close(&mut self, id: ConnectionId) {
        if self.dialing.remove(&id).is_some() {
            return;
        }
        self.open.get_mut(&id).expect("a connection that is open").going_away = true;
        self.at(self.now + CLOSING, Event::Closed(id));
    }

    fn at(&mut self, at: Instant, event: Event) {
        self.events_set += 1;
        self.events.insert((at, self.events_set), event);
    }
}

fn address(pod: PodId) -> SocketAddr {
    (std::net::Ipv4Addr::from(NETWORK | pod), 50051).into()
}

fn pod(address: &Address) -> PodId {
    match address {
        Address::Tcp(SocketAddr::V4(address)) => u32::from(*address.ip()) & !NETWORK,
        other => panic!("not a pod's address: {other}"),
    }
}

/// Between two nodes of a cluster, with TLS.
const HANDSHAKE: Duration = Duration::from_millis(3);

/// 10.0.0.0.
const NETWORK: u32 = 10 << 24;

/// From being told to close until nothing is left: there are no calls to wait for.
const CLOSING: Duration = Duration::from_millis(1);
