//! The connections of a running server: each has its own task, and all end together.
//!
//! The serving loop owns this. It knows neither listeners nor signals.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

use super::Server;
use super::accepted::Accepted;
use super::admission::{Entry, Place, refuse};
use super::connection::drive;
use super::event::{Carried, ConnectionChange};
use super::metrics::ServedCalls;
use super::middleware::Middleware;
use super::observed::Observed;
#[cfg(feature = "tls")]
use super::tls::{Current, TlsIo};

/// All connections of a server. They end when this is dropped.
pub(super) struct Connections {
    server: Arc<Server>,
    metrics: ServedCalls,
    order: Arc<Observed<ConnectionOrder>>,
    next: u64,
    tasks: JoinSet<()>,
    #[cfg(feature = "tls")]
    tls: Option<Current>,
}

impl Connections {
    pub(super) fn new(server: Arc<Server>) -> Self {
        Self {
            metrics: server.metrics.calls(&server.services),
            server,
            order: Arc::new(Observed::new(ConnectionOrder::Serve)),
            next: 0,
            tasks: JoinSet::new(),
            #[cfg(feature = "tls")]
            tls: None,
        }
    }

    /// Uses TLS on new connections.
    #[cfg(feature = "tls")]
    pub(super) fn set_tls(&mut self, tls: Option<Current>) {
        self.tls = tls;
    }

    /// Serves a connection, or tells it to go.
    pub(super) fn admit(&mut self, accepted: Accepted, entry: Entry) {
        #[cfg(feature = "tls")]
        let accepted = match &self.tls {
            Some(tls) => TlsIo::accept(&tls.acceptor(), accepted),
            None => accepted,
        };
        match entry {
            Entry::Serve(place) => self.spawn(accepted, place),
            Entry::Refuse(place) => drop(self.tasks.spawn(refuse(accepted.io, place))),
            Entry::Close => tracing::debug!(peer = %accepted.peer, "closed: too many connections"),
        }
    }

    fn spawn(&mut self, accepted: Accepted, place: Place) {
        let connection = self.next;
        self.next += 1;
        let drain = reached(self.order.clone(), ConnectionOrder::Drain);
        let hurry = reached(self.order.clone(), ConnectionOrder::Hurry);
        let run = run(self.server.clone(), self.metrics.clone(), connection, accepted, drain, hurry);
        self.tasks.spawn(async move {
            run.await;
            drop(place);
        });
    }

    /// Sends GOAWAY to every connection. Each ends by its own drain timeout.
    pub(super) fn drain(&self) {
        tracing::info!(connections = self.tasks.len(), "connections are sent away");
        self.give(ConnectionOrder::Drain);
    }

    /// Cuts the remaining connections.
    pub(super) fn hurry(&self) {
        tracing::info!(connections = self.tasks.len(), "connections are cut");
        self.give(ConnectionOrder::Hurry);
    }

    fn give(&self, order: ConnectionOrder) {
        self.order.change(|given| std::mem::replace(given, order) != order);
    }

    /// Waits until the next connection ends; `None` if none is left.
    pub(super) async fn ended(&mut self) -> Option<()> {
        self.tasks.join_next().await.map(log_panic)
    }

    /// Waits until all have ended.
    pub(super) async fn all_ended(&mut self) {
        while self.ended().await.is_some() {}
    }
}

async fn run(
    server: Arc<Server>,
    metrics: ServedCalls,
    connection: u64,
    accepted: Accepted,
    drain: impl Future<Output = ()>,
    hurry: impl Future<Output = ()>,
) {
    let Accepted { io, peer, info } = accepted;
    let opened = Instant::now();
    server.observe(connection, &peer, ConnectionChange::Opened, Duration::ZERO, Carried::default());
    let service = Middleware::new(server.routes.clone(), info, metrics, server.call_gate.clone());
    let accepted = server.metrics.accepted();
    let ended = drive(io, service, &server.config, drain, hurry, |reason, carried| {
        server.observe(connection, &peer, ConnectionChange::GoingAway(reason), opened.elapsed(), carried);
    });
    let summary = ended.await;
    accepted.closed(&summary);
    let carried = Carried { calls: summary.calls, health_checks: summary.health_checks };
    server.observe(connection, &peer, ConnectionChange::Closed(summary.reason), summary.age, carried);
}

/// What all connections must do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum ConnectionOrder {
    Serve,
    Drain,
    Hurry,
}

async fn reached(orders: Arc<Observed<ConnectionOrder>>, order: ConnectionOrder) {
    orders.wait_for(|given| (*given >= order).then_some(())).await;
}

fn log_panic(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a connection's task failed");
    }
}
