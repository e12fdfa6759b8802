//! `grpc.health.v1.Health`, in step with the server: SERVING while it runs, NOT_SERVING from the
//! moment its shutdown begins.
//!
//! It uses the messages of tonic-health, but not its service, for three reasons. After the shutdown
//! has begun, nothing may set SERVING again. A `Watch` must end when connections drain, or each
//! watching client delays the shutdown up to the drain timeout. And a `Watch` of an unknown service
//! gets SERVICE_UNKNOWN ("If the requested service name is unknown at call time, the server should
//! immediately send back a message indicating SERVICE_UNKNOWN", health.proto).
//!
//! The server sets the stage; users set the statuses.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;

use futures_core::Stream;
pub use tonic_health::ServingStatus;
use tonic_health::pb::health_check_response::ServingStatus as ServerWire;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use tonic::{Request, Response, Status};

use super::observed::Observed;

/// The statuses of a server's health service, from [`Server::health`](crate::Server::health).
///
/// A service is SERVING from [`Server::add_service`](crate::Server::add_service) on, and so is the
/// whole server, whose name is `""`. Kubernetes' gRPC probes ask for `""` unless they name a
/// service. Clones change the same server.
#[derive(Clone, Debug)]
pub struct HealthReporter {
    board: Arc<Observed<Board>>,
}

impl HealthReporter {
    /// Sets the status of a service, for instance to NOT_SERVING while a database is down.
    ///
    /// `service` is the name in the `.proto` file with its package, or `""` for the whole server;
    /// the two do not influence each other. After the shutdown has begun, this has no effect.
    pub fn set_status(&self, service: impl Into<String>, status: ServingStatus) {
        let service = service.into();
        self.board.change(|board| {
            board.stage == ServingPhase::Serving && board.statuses.insert(service, status) != Some(status)
        });
    }

    /// Returns the reported status of a service; `None` if the server does not know the name.
    pub fn status(&self, service: &str) -> Option<ServingStatus> {
        self.board.read(|board| board.status(service))
    }

    /// Reports everything as NOT_SERVING from now on.
    pub(super) fn shut_down(&self) {
        self.enter(ServingPhase::ShuttingDown);
    }

    /// Ends every `Watch`.
    pub(super) fn drain(&self) {
        self.enter(ServingPhase::Draining);
    }

    fn enter(&self, stage: ServingPhase) {
        self.board.change(|board| {
            let is_news = stage > board.stage;
            board.stage = board.stage.max(stage);
            is_news
        });
    }

    pub(super) fn service(&self) -> HealthServer<HealthService> {
        HealthServer::new(HealthService { board: self.board.clone() })
    }
}

impl Default for HealthReporter {
    fn default() -> Self {
        let statuses = BTreeMap::from([(String::new(), ServingStatus::Serving)]);
        Self { board: Arc::new(Observed::new(Board { statuses, stage: ServingPhase::Serving })) }
    }
}

/// The service of one server.
#[derive(Debug)]
pub(super) struct HealthService {
    board: Arc<Observed<Board>>,
}

#[tonic::async_trait]
impl Health for HealthService {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let service = request.into_inner().service;
        let Some(status) = self.board.read(|board| board.status(&service)) else {
            return Err(Status::not_found(format!("this server has no service {service:?}")));
        };
        Ok(Response::new(HealthCheckResponse { status: ServerWire::from(status).into() }))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let watch = Watch { board: self.board.clone(), service: request.into_inner().service, last: None };
        let messages = futures_util::stream::unfold(Some(watch), |watch| async move { watch?.next().await });
        Ok(Response::new(Box::pin(messages)))
    }
}

/// One client that watches one service.
struct Watch {
    board: Arc<Observed<Board>>,
    service: String,
    /// The last status that was sent.
    last: Option<ServerWire>,
}

impl Watch {
    async fn next(mut self) -> Option<(Result<HealthCheckResponse, Status>, Option<Self>)> {
        let news = self.board.wait_for(|board| {
            let status = board.status(&self.service).map_or(ServerWire::ServiceUnknown, ServerWire::from);
            match self.last != Some(status) {
                true => Some(Some(status)),
                false => (board.stage == ServingPhase::Draining).then_some(None),
            }
        });
        Some(match news.await {
            Some(status) => {
                self.last = Some(status);
                (Ok(HealthCheckResponse { status: status.into() }), Some(self))
            }
            None => (Err(Status::unavailable("the server shuts down")), None),
        })
    }
}

#[derive(Debug)]
struct Board {
    statuses: BTreeMap<String, ServingStatus>,
    stage: ServingPhase,
}

impl Board {
    fn status(&self, service: &str) -> Option<ServingStatus> {
        let status = *self.statuses.get(service)?;
        Some(if self.stage == ServingPhase::Serving { status } else { ServingStatus::NotServing })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum ServingPhase {
    Serving,
    ShuttingDown,
    Draining,
}
