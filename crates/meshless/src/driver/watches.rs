//! What runs beside the calls on a channel's connections: the health watch (gRFC A17) and the stream of load reports (A51).
//!
//! The driver has them begun and ends them with their connections, by dropping them.

use std::sync::Arc;

use meshless_core::{Balancer, ConnectionId, Policy};
use tokio::sync::mpsc;

use crate::channel::{DriverEvent, Shared};
use crate::connection::Connection;
use crate::health_watch::HealthWatch;
use crate::load_watch::{LoadWatch, Warned};

/// Begins the watches of one channel.
pub(super) struct Watches {
    /// `None`: backends are taken to be healthy.
    health_service: Option<Arc<str>>,
    wants_reports: bool,
    /// Begun so far.
    begun: u64,
    warned: Arc<Warned>,
    shared: Arc<Shared>,
}

/// The watches on one connection.
#[derive(Default)]
pub(super) struct Watching {
    pub(super) health: Option<HealthWatch>,
    pub(super) load: Option<LoadWatch>,
}

impl Watches {
    pub(super) fn new(
        health_service: Option<Arc<str>>,
        balancer: &Balancer<Connection>,
        shared: Arc<Shared>,
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

    /// Begins to watch a backend's health, if the user named a service.
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

    /// Begins to listen to a backend's load reports, if the balancer wants them of it and a stream is left for calls.
    pub(super) fn watch_load(
        &mut self,
        id: ConnectionId,
        connection: &Connection,
        balancer: &Balancer<Connection>,
    ) -> Option<LoadWatch> {
        let sink = balancer.report_sink(id).filter(|_| self.leave_room(connection.max_streams()))?;
        self.begun += 1;
        let rng = self.shared.random_stream(self.begun);
        let (shared, warned) = (Arc::clone(&self.shared), Arc::clone(&self.warned));
        Some(LoadWatch::start(connection.clone(), sink, shared, rng, warned))
    }

    /// Of the streams that a peer allows, those that calls may have.
    pub(super) fn room_for_calls(&self, max_streams: u32) -> u32 {
        max_streams.saturating_sub(self.streams()).max(max_streams.min(1))
    }

    /// Whether a peer allows more streams than the watches take. Reports are not worth the only one.
    pub(super) fn leave_room(&self, max_streams: u32) -> bool {
        max_streams > self.streams()
    }

    fn streams(&self) -> u32 {
        u32::from(self.health_service.is_some()) + u32::from(self.wants_reports)
    }
}
