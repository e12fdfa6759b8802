//! The driver: one task per channel. It owns the channel's balancer and carries out its actions.
//!
//! Events come from calls, connections, the resolver and the clock, and go to the balancer. Its
//! actions are pickers for the calls, connects, closes and requests to the resolver. The balancer
//! makes all decisions.

mod attempt;
mod log;
mod watches;

use std::collections::BTreeMap;
use std::future::{pending, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use meshless_core::{
    Action, Address, Balancer, BalancerConfig, ChannelState, ConnectionId, EjectionCounts, Idleness,
    ResolutionError, Rng,
};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};

use self::attempt::AttemptOutcome;
use self::log::ChannelLog;
use self::watches::{Watches, Watching};
use crate::client::channel::{ChannelShared, DriverEvent};
use crate::client::connection::{ConnectError, Connection, ConnectionConfig, Destination, Event, GoingAway};
use crate::client::connector::Connector;
use crate::client::metrics::{MeasuredEndpoints, OpenConnection};
use crate::resolver::{Resolution, ResolveError, Resolver};
use crate::shared::catch_panic::catch_panic;
use crate::shared::file_descriptors;
#[cfg(feature = "tls")]
use crate::shared::tls::ClientTls;

/// The parts that a driver is made of.
pub(crate) struct DriverConfig {
    pub(crate) balancer: BalancerConfig,
    pub(crate) connection: ConnectionConfig,
    /// `None`: the timeout that the balancer gives an attempt.
    pub(crate) connect_timeout: Option<Duration>,
    pub(crate) connector: Connector,
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<ClientTls>,
    /// `None`: backends count as healthy.
    pub(crate) health_service: Option<Arc<str>>,
    /// `None`: connections stay open without calls.
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) rng: Rng,
}

/// The driver of one channel.
pub(crate) struct Driver {
    balancer: Balancer<Connection>,
    resolver: Box<dyn Resolver>,
    /// True after the resolver's first answer, also an error.
    has_resolved: bool,
    shared: Arc<ChannelShared>,
    log: ChannelLog,
    events: mpsc::UnboundedSender<DriverEvent>,
    received: mpsc::UnboundedReceiver<DriverEvent>,
    links: BTreeMap<ConnectionId, Link>,
    connection: ConnectionConfig,
    connect_timeout: Option<Duration>,
    connector: Connector,
    #[cfg(feature = "tls")]
    tls: Option<ClientTls>,
    watches: Watches,
    idleness: Option<Idleness>,
    /// The ejections that metrics have counted.
    ejections: EjectionCounts,
    measured: MeasuredEndpoints,
    /// The text of its panic, if it panicked.
    panicked: Option<String>,
}

/// A connection in the driver's table.
struct Link {
    endpoint: Address,
    stage: ConnectionStage,
    watching: Watching,
    /// Set once the connection is established.
    measured: Option<OpenConnection>,
}

enum ConnectionStage {
    Connecting(AbortHandle),
    /// Established, and held back until its server reports that it serves.
    Held(Connection),
    Open(Connection),
}

impl Driver {
    pub(crate) fn new(
        config: DriverConfig,
        resolver: Box<dyn Resolver>,
        shared: Arc<ChannelShared>,
        events: mpsc::UnboundedSender<DriverEvent>,
        received: mpsc::UnboundedReceiver<DriverEvent>,
    ) -> Self {
        let now = Instant::now();
        let measured = shared.metrics.endpoints();
        let balancer = match file_descriptors::limit() {
            Some(limit) => config.balancer.file_descriptors(limit),
            None => config.balancer,
        };
        let balancer = Balancer::new(balancer, config.rng, now.into_std());
        Self {
            watches: Watches::new(config.health_service, &balancer, Arc::clone(&shared)),
            balancer,
            resolver,
            has_resolved: false,
            log: ChannelLog::new(Arc::clone(&shared)),
            shared,
            events,
            received,
            links: BTreeMap::new(),
            connection: config.connection,
            connect_timeout: config.connect_timeout,
            connector: config.connector,
            #[cfg(feature = "tls")]
            tls: config.tls,
            idleness: config.idle_timeout.map(|timeout| Idleness::new(timeout, now.into_std())),
            ejections: EjectionCounts::default(),
            measured,
            panicked: None,
        }
    }

    /// Runs until the last handle on the channel is dropped. A panic, for instance in a user's
    /// resolver, ends the channel: calls fail with it at once.
    pub(crate) async fn run(mut self) {
        if let Err(text) = catch_panic(self.drive()).await {
            self.log.panicked(&text);
            self.panicked = Some(text);
        }
    }

    async fn drive(&mut self) {
        loop {
            self.balancer.set_resolver_answers(self.resolver.answers_resolve_now());
            while let Some(action) = self.balancer.poll_action() {
                self.act(action);
            }
            let before = std::mem::replace(&mut self.ejections, self.balancer.ejection_counts());
            if before != self.ejections {
                self.shared.metrics.ejections(before, self.ejections);
            }
            if let Some(update) = self.balancer.take_weight_update() {
                self.shared.metrics.weights(&update);
            }
            self.measured.set(|| self.balancer.endpoint_counts());
            tokio::select! {
                biased;
                event = self.received.recv() => match event {
                    Some(DriverEvent::Dropped) | None => break,
                    Some(event) => self.handle(event),
                },
                resolution = poll_fn(|cx| next_resolution(&mut *self.resolver, self.has_resolved, cx)) => {
                    self.has_resolved = true;
                    self.handle_resolution(resolution);
                }
                () = at(self.balancer.poll_timeout().map(Instant::from_std)) => {
                    self.balancer.handle_timeout(Instant::now().into_std());
                }
                () = at(self.idleness.as_ref().and_then(Idleness::poll_timeout).map(Instant::from_std)) => self.check_idle(),
            }
        }
    }

    fn handle(&mut self, event: DriverEvent) {
        let now = Instant::now().into_std();
        match event {
            DriverEvent::CallWaits => self.balancer.handle_call(now),
            DriverEvent::Full(endpoint) => self.balancer.handle_full(now, endpoint),
            DriverEvent::Outcome(report) => self.balancer.handle_outcome(now, report),
            DriverEvent::Connected(id, result) => self.handle_connected(now, id, result),
            DriverEvent::Health(id, health) => self.handle_health(now, id, health),
            DriverEvent::NoLoadReports(id) => self.handle_no_load_reports(id),
            DriverEvent::Connection(id, event) => self.handle_connection(now, id, event),
            // The receiver may be gone.
            DriverEvent::StateWanted(reply) => drop(reply.send(self.state())),
            DriverEvent::Dropped => {}
        }
    }

    fn handle_connected(
        &mut self,
        now: std::time::Instant,
        id: ConnectionId,
        result: Result<Connection, ConnectError>,
    ) {
        match result {
            Ok(connection) => {
                self.log.connected(id, connection.address());
                // "If we end up discarding connection attempts […] we should not record" them (gRFC
                // A94).
                if let Some(link) = self.links.get_mut(&id) {
                    link.measured = Some(self.shared.metrics.connected());
                }
                let watch = self.watches.watch_health(id, &connection, &self.events);
                match (watch, self.links.get_mut(&id)) {
                    (Some(watch), Some(link)) => {
                        link.stage = ConnectionStage::Held(connection);
                        link.watching.health = Some(watch);
                    }
                    _ => self.open(now, id, connection),
                }
            }
            Err(error) => {
                // An abandoned attempt also reports its end.
                let Some(Link { endpoint, .. }) = self.links.remove(&id) else { return };
                self.shared.metrics.connect_failed();
                if error.is_out_of_descriptors() {
                    return self.handle_out_of_descriptors(now, id, &endpoint, &error);
                }
                self.log.lost(id, &endpoint, &error.cause());
                self.balancer.handle_connect_failed(now, id, error.cause());
            }
        }
    }

    fn handle_out_of_descriptors(
        &mut self,
        now: std::time::Instant,
        id: ConnectionId,
        endpoint: &Address,
        error: &ConnectError,
    ) {
        let cause = format!("{}: raise the limit of open files (ulimit -n)", error.cause());
        if self.balancer.handle_out_of_descriptors(now, id, cause) {
            self.log.out_of_descriptors(endpoint, error);
        }
    }

    fn open(&mut self, now: std::time::Instant, id: ConnectionId, connection: Connection) {
        let max_streams = connection.max_streams();
        if let Some(link) = self.links.get_mut(&id) {
            link.stage = ConnectionStage::Open(connection.clone());
            self.log.serves(id, &link.endpoint);
        }
        self.balancer.handle_connected(now, id, connection);
        self.share_streams(id, max_streams);
    }

    fn handle_health(&mut self, now: std::time::Instant, id: ConnectionId, health: Result<(), String>) {
        let Some(link) = self.links.get(&id) else { return };
        self.log.health(id, &link.endpoint, &health);
        match &health {
            Ok(()) if matches!(link.stage, ConnectionStage::Open(_)) => self.log.serves(id, &link.endpoint),
            // Logged when calls can go there.
            Ok(()) => {}
            Err(error) => self.log.lost(id, &link.endpoint, error),
        }
        match (&link.stage, &health) {
            (ConnectionStage::Held(connection), Ok(())) => {
                let connection = connection.clone();
                self.open(now, id, connection);
            }
            _ => self.balancer.handle_health(now, id, health),
        }
    }

    fn handle_connection(&mut self, now: std::time::Instant, id: ConnectionId, event: Event) {
        let link = self.links.get(&id);
        match event {
            Event::GoingAway(reason) => {
                if let Some(link) = link {
                    self.log.going_away(id, &link.endpoint, &reason);
                }
                if let GoingAway::Server { too_many_pings: true, .. } = reason {
                    self.balancer.handle_too_many_pings(id);
                }
                if let Some(link) = self.links.get_mut(&id) {
                    link.watching = Watching::default();
                    if let Some(measured) = &mut link.measured {
                        measured.going_away(&reason);
                    }
                }
                self.balancer.handle_going_away(now, id);
            }
            Event::Silent(silent) => {
                if let Some(link) = link {
                    self.log.silent(id, &link.endpoint, silent);
                }
                self.balancer.handle_silent(now, id, silent);
            }
            Event::StreamLimit(limit) => {
                self.share_streams(id, limit);
                self.shared.announce_room();
            }
            Event::StreamsAvailable => self.shared.announce_room(),
            Event::Closed(reason) => {
                if let Some(link) = self.links.remove(&id) {
                    self.log.closed(id, &link.endpoint, &reason);
                    if let Some(mut measured) = link.measured {
                        measured.closed(&reason);
                    }
                }
                match reason.is_flood() {
                    true => self.balancer.handle_flooded(now, id, reason.to_string()),
                    false => self.balancer.handle_closed(now, id, reason.to_string()),
                }
            }
        }
    }

    fn handle_resolution(&mut self, resolution: Resolution) {
        self.shared.metrics.resolved(resolution.as_ref().is_ok_and(|endpoints| !endpoints.is_empty()));
        self.log.resolved(&resolution);
        let now = Instant::now().into_std();
        match resolution {
            Err(error) if error.says_gone() => self.balancer.handle_gone(now, error.into()),
            answer => self.balancer.handle_resolution(now, answer.map_err(ResolutionError::from)),
        }
    }

    fn state(&self) -> ChannelState {
        let mut state = self.balancer.state();
        state.resolved_by = state.resolved_at.and_then(|_| self.resolver.source());
        state
    }

    fn act(&mut self, action: Action<Connection>) {
        match action {
            Action::UpdatePicker(picker) => {
                self.shared.publish(picker);
            }
            Action::Connect { connection, address, timeout, ping_doublings, .. } => {
                self.connect(connection, address, timeout, ping_doublings)
            }
            Action::Close { connection, graceful } => self.close(connection, graceful),
            Action::RequestResolution(hint) => self.resolver.resolve_now(hint),
            Action::ReportEndpoints { added, removed } => self.log.endpoints_changed(&added, &removed),
            Action::ReportTooManyEndpoints { used, left_out } => self.log.too_many_endpoints(used, left_out),
            Action::ReportEjected { address, cause, .. } => self.log.ejected(&address, &cause),
            Action::ReportRecovered { address, .. } => self.log.recovered(&address),
            _ => {}
        }
    }

    fn connect(&mut self, id: ConnectionId, address: Address, timeout: Duration, ping_doublings: u32) {
        let mut config = self.connection.clone();
        config.keepalive = config.keepalive.map(|keepalive| keepalive.doubled(ping_doublings));
        config.stall = config.stall.map(|stall| stall.doubled(ping_doublings));
        config.connect_timeout = self.connect_timeout.unwrap_or(timeout);
        let connector = self.connector.clone();
        #[cfg(feature = "tls")]
        let tls = self.tls.clone();
        let (reported, endpoint) = (self.events.clone(), address.clone());
        let outcome = AttemptOutcome::new(id, address.clone(), self.events.clone());
        self.log.connecting(id, &address);
        let attempt = tokio::spawn(async move {
            let destination = Destination {
                address: &address,
                connector: &connector,
                #[cfg(feature = "tls")]
                tls: tls.as_ref(),
            };
            // Fails only when the driver has ended; the event is then not needed.
            let report = Box::new(move |event| drop(reported.send(DriverEvent::Connection(id, event))));
            outcome.is(Connection::connect(destination, &config, report).await);
        });
        let stage = ConnectionStage::Connecting(attempt.abort_handle());
        self.links.insert(id, Link { endpoint, stage, watching: Watching::default(), measured: None });
    }

    fn close(&mut self, id: ConnectionId, graceful: bool) {
        if let Some(link) = self.links.get_mut(&id) {
            link.watching = Watching::default();
        }
        match self.links.get(&id).map(|link| &link.stage) {
            Some(ConnectionStage::Open(open)) if graceful => return open.drain(),
            Some(ConnectionStage::Open(open) | ConnectionStage::Held(open)) => open.abort(),
            Some(ConnectionStage::Connecting(attempt)) => attempt.abort(),
            None => {}
        }
        self.links.remove(&id);
    }

    fn check_idle(&mut self) {
        let Some(idleness) = &mut self.idleness else { return };
        let now = Instant::now().into_std();
        let in_use = self.balancer.has_calls_in_flight() || self.shared.calls_waiting() > 0;
        if idleness.handle_timeout(now, self.shared.calls_begun(), in_use) {
            self.log.idle();
            self.balancer.handle_idle(now);
        }
    }
}

/// Runs when the last `Channel` is dropped or the runtime shuts down. Attempts are abandoned, open
/// connections drain, and waiting calls are told.
impl Drop for Driver {
    fn drop(&mut self) {
        for link in std::mem::take(&mut self.links).into_values() {
            match link.stage {
                ConnectionStage::Connecting(attempt) => attempt.abort(),
                ConnectionStage::Open(connection) | ConnectionStage::Held(connection) => connection.drain(),
            }
        }
        // After a panic, the balancer or the resolver may panic again.
        let state = catch_unwind(AssertUnwindSafe(|| self.state())).unwrap_or_else(|_| {
            let now = Instant::now().into_std();
            Balancer::<Connection>::new(BalancerConfig::default(), Rng::new(0, 0), now).state()
        });
        self.shared.end(state, self.panicked.take());
    }
}

/// Returns the next resolution; an error if the resolver has ended without any.
fn next_resolution(
    resolver: &mut dyn Resolver,
    has_resolved: bool,
    cx: &mut Context<'_>,
) -> Poll<Resolution> {
    match resolver.poll_resolution(cx) {
        Poll::Pending if !has_resolved && resolver.has_ended() => Poll::Ready(Err(ResolveError::other(
            "the resolver has ended without naming an endpoint".to_owned(),
        ))),
        resolution => resolution,
    }
}

async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => pending().await,
    }
}
