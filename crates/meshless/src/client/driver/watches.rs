//! Starts the watches on a channel's connections: the health watch (gRFC A17) and the load report
//! stream (A51).
//!
//! The driver starts them, and drops them with their connections. Their streams count towards the
//! peer's stream limit, so this file also divides that limit between them and the calls.

use std::sync::Arc;

use meshless_core::{Balancer, ConnectionId, Policy, StreamShare};
use tokio::sync::mpsc;

use super::{ConnectionStage, Driver, Link};
use crate::client::channel::{ChannelShared, DriverEvent};
use crate::client::connection::Connection;
use crate::client::health_watch::HealthWatch;
use crate::client::load_watch::{LoadWatch, Warned};

/// Starts the watches of one channel.
pub(super) struct Watches {
    /// `None`: backends count as healthy.
    health_service: Option<Arc<str>>,
    wants_reports: bool,
    /// Watches started so far.
    begun: u64,
    warned: Arc<Warned>,
    shared: Arc<ChannelShared>,
}

/// The watches on one connection.
#[derive(Default)]
pub(super) struct Watching {
    pub(super) health: Option<HealthWatch>,
    load: Option<LoadWatch>,
    /// True if the server does not report: "the client must not retry the call on the same
    /// connection" (A51).
    reports_nothing: bool,
}

impl Watches {
    pub(super) fn new(
        health_service: Option<Arc<str>>,
        balancer: &Balancer<Connection>,
        shared: Arc<ChannelShared>,
    ) -> Self {
        // "pick_first … does not support health checking" (A17).
        let checks_health = balancer.state().policy != Policy::PickFirst;
        Self {
            health_service: health_service.filter(|_| checks_health),
            wants_reports: balancer.wants_reports(),
            begun: 0,
            warned: Arc::default(),
            shared,
        }
    }

    /// Starts to watch a backend's health, if the user named a service.
    pub(super) fn watch_health(
        &mut self,
        id: ConnectionId,
        connection: &Connection,
        events: &mpsc::UnboundedSender<DriverEvent>,
    ) -> Option<HealthWatch> {
        let service = self.health_service.clone()?;
        let (events, connection, shared) = (events.clone(), connection.clone(), Arc::clone(&self.shared));
        let report = move |health| drop(events.send(DriverEvent::Health(id, health)));
        self.begun += 1;
        let rng = self.shared.random_stream(self.begun);
        Some(HealthWatch::start(connection, service, shared, rng, report))
    }

    /// Starts to read a backend's load reports, if the balancer wants them.
    fn watch_load(
        &mut self,
        id: ConnectionId,
        connection: &Connection,
        balancer: &Balancer<Connection>,
        events: &mpsc::UnboundedSender<DriverEvent>,
    ) -> Option<LoadWatch> {
        let sink = balancer.report_sink(id)?;
        self.begun += 1;
        let rng = self.shared.random_stream(self.begun);
        let (events, shared, warned) = (events.clone(), Arc::clone(&self.shared), Arc::clone(&self.warned));
        let give_up = move || drop(events.send(DriverEvent::NoLoadReports(id)));
        Some(LoadWatch::start(connection.clone(), sink, shared, rng, warned, give_up))
    }
}

impl Driver {
    /// Divides a connection's stream limit. Called when it begins to take calls, and when the limit
    /// or the need changes.
    pub(super) fn share_streams(&mut self, id: ConnectionId, max_streams: u32) {
        let Some(Link { stage: ConnectionStage::Open(connection), watching, .. }) = self.links.get_mut(&id)
        else {
            return;
        };
        let wants_reports = self.watches.wants_reports && !watching.reports_nothing;
        let StreamShare { for_calls, reports } =
            StreamShare::of(max_streams, self.watches.health_service.is_some(), wants_reports);
        self.balancer.handle_stream_limit(id, for_calls);
        if !reports {
            watching.load = None;
        } else if watching.load.is_none() {
            watching.load = self.watches.watch_load(id, connection, &self.balancer, &self.events);
        }
    }

    /// Gives the stream that was kept for reports to calls.
    pub(super) fn handle_no_load_reports(&mut self, id: ConnectionId) {
        let Some(Link { stage: ConnectionStage::Open(connection), watching, .. }) = self.links.get_mut(&id)
        else {
            return;
        };
        watching.reports_nothing = true;
        let max_streams = connection.max_streams();
        self.share_streams(id, max_streams);
        self.shared.announce_room();
    }
}
