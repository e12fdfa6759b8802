//! The machines of one server and of one channel, without sockets: a million calls each, and ten
//! thousand connections.

use std::sync::Arc;
use std::time::{Duration, Instant};

use meshless_core::{
    Action, Balancer, BalancerConfig, ConnectionId, Endpoint, Levelling, Lifetime, LifetimeConfig, Outcome,
    Pick, Picker, Policy, Rng,
};

use crate::{assert_kept_nothing, heap, one_at_a_time};

const CALLS: u64 = 1_000_000;
const ROTATIONS: u64 = 10_000;

#[test]
fn a_server_s_decisions_keep_nothing_of_calls_and_connections() {
    let _turn = one_at_a_time();
    let levelling = Arc::new(Levelling::new(3));
    let mut now = Instant::now();
    let mut rng = Rng::new(1, 1);
    let mut live = |connections: u64| {
        for _ in 0..connections {
            let config = LifetimeConfig::default().max_age(Duration::from_secs(1));
            let mut lifetime = Lifetime::new(config, now, &mut rng).levelled(Arc::clone(&levelling));
            lifetime.handle_ready(now);
            for _ in 0..CALLS / ROTATIONS {
                now += Duration::from_millis(1);
                lifetime.handle_call_started();
                lifetime.handle_received(now);
                lifetime.handle_response_sent();
                lifetime.handle_call_ended(now);
            }
            while lifetime.poll_action().is_none() {
                now = now.max(lifetime.poll_timeout().expect("it is told to go when it is old"));
                lifetime.handle_timeout(now);
            }
        }
    };
    live(100);
    let before = heap();
    live(ROTATIONS);
    assert_kept_nothing(before, "a server's decisions");
}

/// A channel's balancer, whose every wish comes true at once.
struct Channel {
    now: Instant,
    balancer: Balancer<ConnectionId>,
    picker: Arc<Picker<ConnectionId>>,
    rng: Rng,
}

impl Channel {
    fn new(policy: Policy) -> Self {
        let now = Instant::now();
        let balancer = Balancer::new(BalancerConfig::new(policy), Rng::new(1, 1), now);
        let mut channel = Self { now, balancer, picker: Arc::new(Picker::idle()), rng: Rng::new(1, 2) };
        channel.balancer.handle_call(now);
        let endpoints =
            (1..=3).map(|n| Endpoint::new(std::net::SocketAddr::from(([10, 0, 0, n], 1)))).collect();
        channel.balancer.handle_resolution(now, Ok(endpoints));
        channel.act();
        channel
    }

    fn act(&mut self) {
        while let Some(action) = self.balancer.poll_action() {
            match action {
                Action::UpdatePicker(picker) => self.picker = picker,
                Action::Connect { connection, .. } => {
                    self.balancer.handle_connected(self.now, connection, connection);
                }
                Action::Close { connection, .. } => {
                    self.balancer.handle_closed(self.now, connection, String::new());
                }
                _ => {}
            }
        }
    }

    /// Lets time pass.
    fn rest(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(at) = self.balancer.poll_timeout().filter(|at| *at <= until) {
            self.now = at;
            self.balancer.handle_timeout(at);
            self.act();
        }
        self.now = until;
    }

    /// A call; every tenth one fails, and no more in a row than the breaker lets pass.
    fn call(&mut self, number: u64) -> ConnectionId {
        let Pick::Ready(lease) = self.picker.pick(self.now, &mut self.rng, &[]) else {
            panic!("every endpoint serves");
        };
        let connection = *lease.connection();
        self.rest(Duration::from_millis(1));
        let outcome = if number.is_multiple_of(10) { Outcome::Failure } else { Outcome::Success };
        if let Some(report) = lease.finish(self.now, outcome) {
            self.balancer.handle_outcome(self.now, report);
        }
        self.act();
        connection
    }
}

#[test]
fn a_channel_s_decisions_keep_nothing_of_calls_and_connections() {
    let _turn = one_at_a_time();
    let policies = [Policy::RoundRobin, Policy::PeakEwma];
    for policy in policies {
        let mut channel = Channel::new(policy);
        let mut live = |rotations: u64| {
            for _ in 0..rotations {
                let mut last = None;
                for number in 0..CALLS / ROTATIONS / policies.len() as u64 {
                    last = Some(channel.call(number));
                }
                let connection = last.expect("calls were made");
                // Connections that live for less than a second are made anew after a pause.
                channel.rest(Duration::from_secs(2));
                channel.balancer.handle_going_away(channel.now, connection);
                channel.act();
                channel.balancer.handle_closed(channel.now, connection, "max age".to_owned());
                channel.act();
            }
        };
        live(100);
        let before = heap();
        live(ROTATIONS);
        assert_kept_nothing(before, &format!("a channel's decisions by {policy}"));
    }
}
