//! A world of a few servers around one balancer: it carries out actions, and remembers what it was
//! told.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use meshless_core::{
    Action, Address, Balancer, BalancerConfig, ConnectionId, Endpoint, EndpointId, Lease, Outcome, Pick,
    Picker, ResolveHint, Rng, UnavailableError, Wait,
};

/// Connections are known to calls by the last byte of their server's address, and their id.
pub(crate) type Handle = (u8, ConnectionId);

pub(crate) struct World {
    pub(crate) now: Instant,
    pub(crate) balancer: Balancer<Handle>,
    pub(crate) picker: Arc<Picker<Handle>>,
    pub(crate) rng: Rng,
    /// Attempts under way.
    pub(crate) dialing: BTreeMap<ConnectionId, Dial>,
    /// Of these, those that are all but made.
    pub(crate) held: BTreeSet<ConnectionId>,
    pub(crate) open: BTreeMap<ConnectionId, Open>,
    /// When each attempt was begun.
    pub(crate) connects: Vec<Instant>,
    /// Every change of the set of endpoints: servers that were added, and removed.
    pub(crate) set_changes: Vec<(Vec<u8>, Vec<u8>)>,
    /// Every other action in words.
    pub(crate) log: Vec<String>,
}

/// An attempt under way.
pub(crate) struct Dial {
    pub(crate) server: u8,
    pub(crate) endpoint: EndpointId,
    pub(crate) since: Instant,
    pub(crate) ping_doublings: u32,
}

/// A connection that is made and has not been closed.
pub(crate) struct Open {
    pub(crate) server: u8,
    pub(crate) endpoint: EndpointId,
    pub(crate) connected_at: Instant,
    pub(crate) going_away: bool,
    pub(crate) told_to_close: bool,
}

impl World {
    pub(crate) fn new(config: BalancerConfig, seed: u64) -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "an epoch can only be made from the clock; its value is not used"
        )]
        let now = Instant::now();
        Self {
            now,
            balancer: Balancer::new(config, Rng::new(seed, 1), now),
            picker: Arc::new(Picker::idle()),
            rng: Rng::new(seed, 2),
            dialing: BTreeMap::new(),
            held: BTreeSet::new(),
            open: BTreeMap::new(),
            connects: Vec::new(),
            set_changes: Vec::new(),
            log: Vec::new(),
        }
    }

    /// A world whose channel has been asked to connect to these servers, and has begun to.
    pub(crate) fn with_servers(config: BalancerConfig, servers: impl IntoIterator<Item = u8>) -> Self {
        let mut world = Self::new(config, 1);
        world.balancer.handle_call(world.now);
        world.resolve(servers);
        world
    }

    /// The same, with all connections made.
    pub(crate) fn connected(config: BalancerConfig, servers: impl IntoIterator<Item = u8>) -> Self {
        let mut world = Self::with_servers(config, servers);
        world.connect_all();
        world
    }

    pub(crate) fn resolve(&mut self, servers: impl IntoIterator<Item = u8>) -> Vec<String> {
        let endpoints = servers.into_iter().map(endpoint).collect();
        self.balancer.handle_resolution(self.now, Ok(endpoints));
        self.act()
    }

    /// Lets time pass in steps of the balancer's own timeouts.
    pub(crate) fn advance(&mut self, by: Duration) -> Vec<String> {
        let (until, seen) = (self.now + by, self.log.len());
        while let Some(at) = self.balancer.poll_timeout().filter(|at| *at <= until) {
            assert!(at > self.now, "a timeout in the past would spin");
            self.now = at;
            self.balancer.handle_timeout(at);
            self.act();
        }
        self.now = until;
        self.log[seen..].to_vec()
    }

    /// Completes every attempt, and those that follow from it.
    pub(crate) fn connect_all(&mut self) -> Vec<String> {
        let seen = self.log.len();
        while let Some(&id) = self.dialing.keys().next() {
            self.succeed(id);
        }
        self.log[seen..].to_vec()
    }

    pub(crate) fn succeed(&mut self, id: ConnectionId) -> Vec<String> {
        let Dial { server, endpoint, .. } = self.dialing.remove(&id).expect("an attempt under way");
        let connected_at = self.now;
        let open = Open { server, endpoint, connected_at, going_away: false, told_to_close: false };
        self.open.insert(id, open);
        self.balancer.handle_connected(self.now, id, (server, id));
        self.act()
    }

    pub(crate) fn fail(&mut self, id: ConnectionId, error: &str) -> Vec<String> {
        self.dialing.remove(&id).expect("an attempt under way");
        self.balancer.handle_connect_failed(self.now, id, error);
        self.act()
    }

    pub(crate) fn fail_all(&mut self, error: &str) -> Vec<String> {
        let ids: Vec<_> = self.dialing.keys().copied().collect();
        ids.into_iter().flat_map(|id| self.fail(id, error)).collect()
    }

    pub(crate) fn go_away(&mut self, id: ConnectionId) -> Vec<String> {
        match self.open.get_mut(&id) {
            Some(open) => open.going_away = true,
            None => self.forget_held(id),
        }
        self.balancer.handle_going_away(self.now, id);
        self.act()
    }

    pub(crate) fn close(&mut self, id: ConnectionId, error: &str) -> Vec<String> {
        if self.open.remove(&id).is_none() {
            self.forget_held(id);
        }
        self.balancer.handle_closed(self.now, id, error);
        self.act()
    }

    /// A connection that is made and not yet in service has ended.
    fn forget_held(&mut self, id: ConnectionId) {
        self.dialing.remove(&id).expect("a connection, or all but one");
        self.held.remove(&id);
    }

    pub(crate) fn silent(&mut self, id: ConnectionId, silent: bool) -> Vec<String> {
        self.balancer.handle_silent(self.now, id, silent);
        self.act()
    }

    pub(crate) fn healthy(&mut self, id: ConnectionId, healthy: bool) -> Vec<String> {
        if !healthy && self.dialing.contains_key(&id) {
            self.held.insert(id);
        }
        self.balancer.handle_health(self.now, id, if healthy { Ok(()) } else { Err("NOT_SERVING") });
        self.act()
    }

    /// The youngest open connection to `server`.
    pub(crate) fn connection_to(&self, server: u8) -> ConnectionId {
        *self.open.iter().rfind(|(_, open)| open.server == server).expect("a connection to that server").0
    }

    /// The attempt to connect to `server`.
    pub(crate) fn attempt_at(&self, server: u8) -> ConnectionId {
        *self.dialing.iter().find(|(_, dial)| dial.server == server).expect("an attempt at that server").0
    }

    pub(crate) fn pick(&mut self) -> Pick<Handle> {
        self.picker.pick(self.now, &mut self.rng, &[])
    }

    pub(crate) fn lease(&mut self) -> Lease<Handle> {
        match self.pick() {
            Pick::Ready(lease) => lease,
            other => panic!("{other:?}\n{}", self.log.join("\n")),
        }
    }

    /// The servers of the next `n` calls, each over before the next.
    pub(crate) fn picks(&mut self, n: usize) -> Vec<u8> {
        (0..n).map(|_| self.lease().connection().0).collect()
    }

    /// Ends a call, and tells the balancer what it has to hear of.
    pub(crate) fn end(&mut self, lease: Lease<Handle>, outcome: Outcome) -> Vec<String> {
        match lease.finish(self.now, outcome) {
            Some(report) => {
                self.balancer.handle_outcome(self.now, report);
                self.act()
            }
            None => Vec::new(),
        }
    }

    /// Makes calls, each over before the next, of which those to `failing` fail; their servers.
    pub(crate) fn call(&mut self, n: usize, failing: &[u8]) -> Vec<u8> {
        let mut servers = Vec::new();
        for _ in 0..n {
            let lease = self.lease();
            let server = lease.connection().0;
            servers.push(server);
            self.end(lease, if failing.contains(&server) { Outcome::Failure } else { Outcome::Success });
        }
        servers
    }

    pub(crate) fn wait(&mut self) -> Wait {
        match self.pick() {
            Pick::Queue(wait) => wait,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn failure(&mut self) -> UnavailableError {
        match self.pick() {
            Pick::Fail(error) => error,
            other => panic!("{other:?}"),
        }
    }

    /// Carries out what the balancer asks for, and says what that was.
    pub(crate) fn act(&mut self) -> Vec<String> {
        let seen = self.log.len();
        while let Some(action) = self.balancer.poll_action() {
            let words = match action {
                Action::UpdatePicker(picker) => {
                    self.picker = picker;
                    format!("pick from {}", self.picker.endpoints())
                }
                Action::Connect { connection, endpoint, address, ping_doublings, .. } => {
                    let server = server(&address);
                    let dial = Dial { server, endpoint, since: self.now, ping_doublings };
                    self.dialing.insert(connection, dial);
                    self.connects.push(self.now);
                    format!("connect to {server}")
                }
                Action::Close { connection, graceful } => {
                    let how = if graceful { "drain" } else { "abort" };
                    if let Some(dial) = self.dialing.remove(&connection) {
                        format!("{how} attempt at {}", dial.server)
                    } else if let Some(open) = self.open.get_mut(&connection) {
                        open.told_to_close = true;
                        format!("{how} {}", open.server)
                    } else {
                        format!("{how} unknown")
                    }
                }
                Action::RequestResolution(ResolveHint::Stale) => "resolve".to_owned(),
                Action::RequestResolution(ResolveHint::AllFailed) => "resolve at once".to_owned(),
                Action::ReportEndpoints { added, removed } => {
                    self.set_changes
                        .push((added.iter().map(server).collect(), removed.iter().map(server).collect()));
                    continue;
                }
                Action::ReportEjected { address, cause, .. } => {
                    format!("eject {}: {cause}", server(&address))
                }
                Action::ReportRecovered { address, .. } => format!("{} is well again", server(&address)),
                Action::ReportTooManyEndpoints { used, left_out } => {
                    format!("too many endpoints: {used} used, {left_out} left out")
                }
                other => panic!("unknown action {other:?}"),
            };
            self.log.push(words);
        }
        self.log[seen..].to_vec()
    }
}

pub(crate) fn endpoint(server: u8) -> Endpoint {
    Endpoint::new(SocketAddr::from(([10, 0, 0, server], 50051)))
}

pub(crate) fn distinct(servers: &[u8]) -> BTreeSet<u8> {
    servers.iter().copied().collect()
}

fn server(address: &Address) -> u8 {
    match address {
        Address::Tcp(SocketAddr::V4(address)) => address.ip().octets()[3],
        other => panic!("not an address of this world: {other}"),
    }
}
