//! The driver: one task per channel, which owns the channel's balancer and does what it asks.
//!
//! Events come in from calls, connections, the resolver and the clock, and are handed to the balancer; its actions go
//! out as pickers for the calls, connects, closes and questions to the resolver. Decisions are all the balancer's.

use std::collections::BTreeMap;
use std::future::{pending, poll_fn};
use std::sync::Arc;
use std::time::Duration;

use meshless_core::{Action, Address, Balancer, BalancerConfig, ConnectionId, ResolutionError, Rng};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until};

use crate::channel::{DriverEvent, Shared};
use crate::connection::{ConnectError, Connection, ConnectionConfig, Destination, Event, GoingAway};
use crate::connector::Connector;
use crate::resolver::{Resolution, ResolveHint, Resolver};
#[cfg(feature = "tls")]
use crate::tls::ClientTls;

/// What a driver is made with.
pub(crate) struct DriverConfig {
    pub(crate) balancer: BalancerConfig,
    pub(crate) connection: ConnectionConfig,
    pub(crate) connector: Connector,
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<ClientTls>,
    /// `None`: connections are kept however long no call is made.
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) rng: Rng,
}

/// The driver of one channel.
pub(crate) struct Driver {
    balancer: Balancer<Connection>,
    resolver: Box<dyn Resolver>,
    shared: Arc<Shared>,
    events: mpsc::UnboundedSender<DriverEvent>,
    received: mpsc::UnboundedReceiver<DriverEvent>,
    links: BTreeMap<ConnectionId, Link>,
    connection: ConnectionConfig,
    connector: Connector,
    #[cfg(feature = "tls")]
    tls: Option<ClientTls>,
    idle: Option<IdleWatch>,
}

/// A connection as the driver holds it.
enum Link {
    Connecting(AbortHandle),
    Open(Connection),
}

impl Driver {
    pub(crate) fn new(
        config: DriverConfig,
        resolver: Box<dyn Resolver>,
        shared: Arc<Shared>,
        events: mpsc::UnboundedSender<DriverEvent>,
        received: mpsc::UnboundedReceiver<DriverEvent>,
    ) -> Self {
        let now = Instant::now();
        Self {
            balancer: Balancer::new(config.balancer, config.rng, now.into_std()),
            resolver,
            shared,
            events,
            received,
            links: BTreeMap::new(),
            connection: config.connection,
            connector: config.connector,
            #[cfg(feature = "tls")]
            tls: config.tls,
            idle: config.idle_timeout.map(|timeout| IdleWatch {
                timeout,
                check_at: now + timeout,
                calls_begun: 0,
            }),
        }
    }

    /// Runs until the last handle on the channel is gone.
    pub(crate) async fn run(mut self) {
        loop {
            while let Some(action) = self.balancer.poll_action() {
                self.act(action);
            }
            tokio::select! {
                biased;
                event = self.received.recv() => match event {
                    Some(DriverEvent::Dropped) | None => break,
                    Some(event) => self.handle(event),
                },
                resolution = poll_fn(|cx| self.resolver.poll_resolution(cx)) => self.handle_resolution(resolution),
                () = at(self.balancer.poll_timeout().map(Instant::from_std)) => {
                    self.balancer.handle_timeout(Instant::now().into_std());
                }
                () = at(self.idle.as_ref().map(|idle| idle.check_at)) => self.check_idle(),
            }
        }
        self.let_go();
    }

    fn handle(&mut self, event: DriverEvent) {
        let now = Instant::now().into_std();
        match event {
            DriverEvent::CallWaits => self.balancer.handle_call(now),
            DriverEvent::Full(endpoint) => self.balancer.handle_full(now, endpoint),
            DriverEvent::Connected(id, result) => self.handle_connected(now, id, result),
            DriverEvent::Connection(id, event) => self.handle_connection(now, id, event),
            // Who asked may have gone.
            DriverEvent::StateWanted(reply) => drop(reply.send(self.balancer.state())),
            DriverEvent::Dropped => {}
        }
    }

    fn handle_connected(
        &mut self,
        now: std::time::Instant,
        id: ConnectionId,
        result: Result<Connection, ConnectError>,
    ) {
        let target = &self.shared.target;
        match result {
            Ok(connection) => {
                tracing::debug!(%target, connection = %id, endpoint = %connection.address(), "connected");
                let max_streams = connection.max_streams();
                self.links.insert(id, Link::Open(connection.clone()));
                self.balancer.handle_connected(now, id, connection);
                self.balancer.handle_stream_limit(id, max_streams);
            }
            Err(error) => {
                tracing::info!(%target, connection = %id, %error, "connect failed");
                self.links.remove(&id);
                self.balancer.handle_connect_failed(now, id, error.to_string());
            }
        }
    }

    fn handle_connection(&mut self, now: std::time::Instant, id: ConnectionId, event: Event) {
        let target = &self.shared.target;
        match event {
            Event::GoingAway(reason) => {
                tracing::debug!(%target, connection = %id, ?reason, "going away");
                if let GoingAway::Server { too_many_pings: true, .. } = reason {
                    tracing::warn!(%target, "a server was pinged too often: keepalive time is doubled");
                    self.connection.keepalive =
                        self.connection.keepalive.map(|keepalive| keepalive.told_off());
                }
                self.balancer.handle_going_away(now, id);
            }
            Event::StreamLimit(limit) => {
                self.balancer.handle_stream_limit(id, limit);
                self.shared.announce_room();
            }
            Event::StreamsAvailable => self.shared.announce_room(),
            Event::Closed(reason) => {
                tracing::debug!(%target, connection = %id, %reason, "closed");
                self.links.remove(&id);
                self.balancer.handle_closed(now, id, reason.to_string());
            }
        }
    }

    fn handle_resolution(&mut self, resolution: Resolution) {
        let target = &self.shared.target;
        match &resolution {
            Ok(endpoints) => tracing::debug!(%target, endpoints = endpoints.len(), "resolved"),
            Err(error) => tracing::warn!(%target, %error, "resolution failed; the last good set stays"),
        }
        let answer = resolution.map_err(|error| ResolutionError(error.to_string()));
        self.balancer.handle_resolution(Instant::now().into_std(), answer);
    }

    fn act(&mut self, action: Action<Connection>) {
        match action {
            Action::UpdatePicker(picker) => {
                tracing::trace!(target = %self.shared.target, endpoints = picker.endpoints(), "picker updated");
                self.shared.publish(picker);
            }
            Action::Connect { connection, address, timeout, .. } => {
                self.connect(connection, address, timeout)
            }
            Action::Close { connection, graceful } => match self.links.get(&connection) {
                Some(Link::Open(open)) if graceful => open.drain(),
                Some(Link::Open(open)) => open.abort(),
                Some(Link::Connecting(attempt)) => {
                    attempt.abort();
                    self.links.remove(&connection);
                }
                None => {}
            },
            Action::RequestResolution { at_once } => self.resolver.resolve_now(match at_once {
                true => ResolveHint::AllFailed,
                false => ResolveHint::Stale,
            }),
            _ => {}
        }
    }

    fn connect(&mut self, id: ConnectionId, address: Address, timeout: Duration) {
        let mut config = self.connection.clone();
        config.connect_timeout = config.connect_timeout.max(timeout);
        let connector = self.connector.clone();
        #[cfg(feature = "tls")]
        let tls = self.tls.clone();
        let (events, reported) = (self.events.clone(), self.events.clone());
        tracing::trace!(target = %self.shared.target, connection = %id, %address, "connecting");
        let attempt = tokio::spawn(async move {
            let destination = Destination {
                address: &address,
                connector: &connector,
                #[cfg(feature = "tls")]
                tls: tls.as_ref(),
            };
            // Either fails only when the driver has ended, and dropping the connection then closes it.
            let report = Box::new(move |event| drop(reported.send(DriverEvent::Connection(id, event))));
            let result = Connection::connect(destination, &config, report).await;
            let _ = events.send(DriverEvent::Connected(id, result));
        });
        self.links.insert(id, Link::Connecting(attempt.abort_handle()));
    }

    fn check_idle(&mut self) {
        let Some(idle) = &mut self.idle else { return };
        idle.check_at = Instant::now() + idle.timeout;
        let calls_begun = self.shared.calls_begun();
        let unused = std::mem::replace(&mut idle.calls_begun, calls_begun) == calls_begun;
        let in_flight = self.balancer.state().endpoints.iter().any(|endpoint| endpoint.calls_in_flight > 0);
        if unused && !in_flight && self.shared.calls_waiting() == 0 {
            tracing::debug!(target = %self.shared.target, "idle: letting the connections go");
            self.balancer.handle_idle(Instant::now().into_std());
        }
    }

    /// Gives up attempts; open connections drain by themselves when nobody holds them any more.
    fn let_go(self) {
        for link in self.links.into_values() {
            match link {
                Link::Connecting(attempt) => attempt.abort(),
                Link::Open(connection) => connection.drain(),
            }
        }
    }
}

/// Watches for a channel without calls: it is idle if no call was begun between two looks, so after once to twice the timeout.
struct IdleWatch {
    timeout: Duration,
    check_at: Instant,
    calls_begun: u64,
}

async fn at(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => pending().await,
    }
}
