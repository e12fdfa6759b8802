//! One bad endpoint of 3 to 1000: the shares of the others stay equal whatever it does, and it
//! costs few connects.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use meshless_core::{
    Action, Balancer, BalancerConfig, ConnectionId, Endpoint, EndpointId, Lease, Outcome, Pick, Picker,
    Policy, Rng,
};

const BAD: usize = 0;
const MILLI: Duration = Duration::from_millis(1);

/// Endpoints by number. Every attempt succeeds at once.
struct Fleet {
    now: Instant,
    balancer: Balancer<usize>,
    picker: Arc<Picker<usize>>,
    rng: Rng,
    numbers: BTreeMap<EndpointId, usize>,
    /// The connection to the bad one, if there is one.
    bad: Option<ConnectionId>,
    connects: Vec<usize>,
}

impl Fleet {
    fn new(n: usize) -> Self {
        #[expect(clippy::disallowed_methods, reason = "an epoch can only be made from the clock")]
        let now = Instant::now();
        let config = BalancerConfig::new(Policy::RoundRobin);
        let mut fleet = Self {
            now,
            balancer: Balancer::new(config, Rng::new(n as u64, 1), now),
            picker: Arc::new(Picker::idle()),
            rng: Rng::new(n as u64, 2),
            numbers: BTreeMap::new(),
            bad: None,
            connects: vec![0; n],
        };
        let address = |n: usize| SocketAddr::from(([10, 0, (n / 250) as u8, (n % 250) as u8], 50051));
        fleet.balancer.handle_call(now);
        fleet.balancer.handle_resolution(now, Ok((0..n).map(|n| Endpoint::new(address(n))).collect()));
        fleet.act();
        // Bounded connects take a while.
        fleet.advance(Duration::from_secs(100));
        assert_eq!(fleet.picker.endpoints(), n, "all are connected");
        fleet.connects.fill(0);
        fleet
    }

    fn act(&mut self) {
        let mut made = VecDeque::new();
        loop {
            match self.balancer.poll_action() {
                Some(Action::UpdatePicker(picker)) => self.picker = picker,
                Some(Action::Connect { connection, endpoint, .. }) => {
                    let next = self.numbers.len();
                    let number = *self.numbers.entry(endpoint).or_insert(next);
                    self.connects[number] += 1;
                    made.push_back((connection, number));
                }
                Some(_) => {}
                None => match made.pop_front() {
                    Some((connection, number)) => {
                        if number == BAD {
                            self.bad = Some(connection);
                        }
                        self.balancer.handle_connected(self.now, connection, number);
                    }
                    None => return,
                },
            }
        }
    }

    fn advance(&mut self, by: Duration) {
        let until = self.now + by;
        while let Some(at) = self.balancer.poll_timeout().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.balancer.handle_timeout(self.now);
            self.act();
        }
        self.now = until;
    }

    fn lease(&mut self, avoid: &[EndpointId]) -> Lease<usize> {
        match self.picker.pick(self.now, &mut self.rng, avoid) {
            Pick::Ready(lease) => lease,
            other => panic!("{other:?}"),
        }
    }

    fn end(&mut self, lease: Lease<usize>, outcome: Outcome) {
        if let Some(report) = lease.finish(self.now, outcome) {
            self.balancer.handle_outcome(self.now, report);
            self.act();
        }
    }

    fn close_bad(&mut self) {
        if let Some(id) = self.bad.take() {
            self.balancer.handle_closed(self.now, id, "hung up");
            self.act();
        }
    }
}

/// Calls, one each millisecond, each of which is answered in the end; whom by.
fn shares(n: usize, mut call: impl FnMut(&mut Fleet, usize) -> usize) -> Vec<usize> {
    let mut fleet = Fleet::new(n);
    let mut counts = vec![0; n];
    for round in 0..100 * n {
        fleet.advance(MILLI);
        counts[call(&mut fleet, round)] += 1;
    }
    counts
}

fn assert_even(what: &str, counts: &[usize]) {
    let good = &counts[1..];
    let (Some(least), Some(most)) = (good.iter().min(), good.iter().max()) else { panic!("no others") };
    assert!(*most as f64 <= *least as f64 * 1.05, "{what}, of {}: {least} to {most}", counts.len());
}

const SIZES: [usize; 4] = [3, 12, 100, 1000];

/// Answers, unless it is the bad one: that makes the call fail.
fn fail_if_bad(fleet: &mut Fleet) -> usize {
    let lease = fleet.lease(&[]);
    let number = *lease.connection();
    let outcome = if number == BAD { Outcome::Failure } else { Outcome::Success };
    fleet.end(lease, outcome);
    number
}

#[test]
fn one_that_fails_and_is_ejected_leaves_the_others_equal() {
    for n in SIZES {
        let counts = shares(n, |fleet, _| fail_if_bad(fleet));
        assert_even("ejected", &counts);
    }
}

#[test]
fn one_that_fails_now_and_then_leaves_the_others_equal() {
    for n in SIZES {
        let mut calls = 0;
        let counts = shares(n, |fleet, _| {
            let lease = fleet.lease(&[]);
            let number = *lease.connection();
            calls += usize::from(number == BAD);
            let fails = number == BAD && calls % 20 > 10;
            fleet.end(lease, if fails { Outcome::Failure } else { Outcome::Success });
            number
        });
        assert_even("now and then", &counts);
    }
}

#[test]
fn one_that_refuses_leaves_the_others_equal() {
    for n in SIZES {
        let counts = shares(n, |fleet, _| {
            let lease = fleet.lease(&[]);
            if *lease.connection() != BAD {
                let number = *lease.connection();
                fleet.end(lease, Outcome::Success);
                return number;
            }
            let again = fleet.lease(&[lease.endpoint()]);
            *again.connection()
        });
        assert_eq!(counts[BAD], 0);
        assert_even("refusing", &counts);
    }
}

#[test]
fn one_that_is_full_or_suspected_or_comes_and_goes_leaves_the_others_equal() {
    type Trouble = fn(&mut Fleet, ConnectionId, usize);
    let troubles: [(&str, Trouble); 4] = [
        ("full", |fleet, id, _| fleet.balancer.handle_stream_limit(id, 0)),
        ("full at times", |fleet, id, round| fleet.balancer.handle_stream_limit(id, (round / 7 % 2) as u32)),
        ("suspected at times", |fleet, id, round| {
            let now = fleet.now;
            if round % 7 == 0 {
                fleet.balancer.handle_silent(now, id, round / 7 % 2 == 0);
            }
        }),
        ("comes and goes", |fleet, _, round| {
            if round % 5 == 0 {
                fleet.close_bad();
            }
        }),
    ];
    for (what, trouble) in troubles {
        for n in SIZES {
            let counts = shares(n, |fleet, round| {
                if let Some(id) = fleet.bad {
                    trouble(fleet, id, round);
                    fleet.act();
                }
                let lease = fleet.lease(&[]);
                let number = *lease.connection();
                fleet.end(lease, Outcome::Success);
                number
            });
            assert_even(what, &counts);
        }
    }
}

#[test]
fn a_server_that_ends_each_connection_soon_costs_few_connects() {
    for n in [12, 100, 1000] {
        let mut fleet = Fleet::new(n);
        for _ in 0..60_000 / 25 {
            fleet.advance(25 * MILLI);
            fleet.close_bad();
        }
        let bad = fleet.connects[BAD];
        // Two at once, then after 50 ms, 100 ms, … up to 10 s; one each 25 ms would be 2400.
        assert!((8..=20).contains(&bad), "{bad} in a minute, of {n}");
        assert!(fleet.connects[1..].iter().all(|connects| *connects == 0), "the others are left alone");
    }
}

#[test]
fn servers_that_all_end_their_connections_soon_cost_few_connects_each() {
    let mut fleet = Fleet::new(1);
    let mut answered = 0;
    for _ in 0..60_000 / 25 {
        fleet.advance(25 * MILLI);
        if let Pick::Ready(lease) = fleet.picker.pick(fleet.now, &mut fleet.rng, &[]) {
            answered += 1;
            fleet.end(lease, Outcome::Success);
        }
        fleet.close_bad();
    }
    // While nothing serves and calls ask, it is tried each quarter of a second.
    assert!(fleet.connects[BAD] <= 250 && answered > 8, "{} connects, {answered}", fleet.connects[BAD]);
}

#[test]
fn a_server_whose_short_connections_answer_many_calls_is_reconnected_at_once() {
    let mut fleet = Fleet::new(3);
    for _ in 0..40 {
        for _ in 0..400 {
            let lease = fleet.lease(&[]);
            fleet.end(lease, Outcome::Success);
        }
        fleet.advance(500 * MILLI);
        fleet.close_bad();
    }
    assert_eq!(fleet.connects[BAD], 40);
}

#[test]
fn floods_bring_pauses_that_grow_however_long_connections_last_in_between() {
    for n in [12, 100, 1000] {
        let mut fleet = Fleet::new(n);
        for _ in 0..600 {
            fleet.advance(Duration::from_secs(1));
            if let Some(id) = fleet.bad.take() {
                let now = fleet.now;
                fleet.balancer.handle_flooded(now, id, "too many frames");
                fleet.act();
            }
        }
        // 1 s, 2 s, 4 s, … 120 s: nine pauses in five minutes, and one each two minutes.
        assert!((8..=14).contains(&fleet.connects[BAD]), "{} in ten minutes", fleet.connects[BAD]);
        assert!(fleet.connects[1..].iter().all(|connects| *connects == 0));
    }
}
