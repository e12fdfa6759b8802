//! Calls that the channel makes for itself, on one connection and past the balancer: the health watch and the stream of load reports.
//!
//! They are nobody's calls: they have no lease, so no policy, breaker or ejection counts them, no metric and no idle timeout; nobody
//! pings on their behalf, and a connection that drains does not wait for them.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::header::USER_AGENT;
use http::uri::Uri;
use meshless_core::Address;
use tonic::Status;
use tonic::body::Body;
use tower_service::Service;

use crate::call::{self, Outgoing, attempt};
use crate::channel::Shared;
use crate::connection::Connection;

/// Calls on this one connection, past the balancer.
#[derive(Clone)]
pub(crate) struct OnConnection {
    connection: Connection,
    shared: Arc<Shared>,
}

impl OnConnection {
    pub(crate) fn new(connection: Connection, shared: Arc<Shared>) -> Self {
        Self { connection, shared }
    }

    /// What a generated client, which knows paths only, is to put before them.
    pub(crate) fn origin(&self) -> Result<Uri, Status> {
        let settings = &self.shared.settings;
        Uri::builder()
            .scheme(settings.scheme.clone())
            .authority(settings.authority.clone())
            .path_and_query("/")
            .build()
            .map_err(|error| Status::internal(format!("the target does not make a URI: {error}")))
    }

    /// Whether the connection takes calls. What becomes of one that does not is known by other means.
    pub(crate) fn is_accepting(&self) -> bool {
        self.connection.is_accepting()
    }

    pub(crate) fn target(&self) -> &str {
        &self.shared.target
    }

    pub(crate) fn address(&self) -> &Address {
        self.connection.address()
    }
}

impl Service<http::Request<Body>> for OnConnection {
    type Response = http::Response<call::ResponseBody>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Status>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        request.headers_mut().insert(USER_AGENT, self.shared.settings.user_agent.clone());
        let slot = self.connection.try_reserve_beside_calls();
        Box::pin(async move {
            let slot = slot.ok_or_else(|| Status::unavailable("the connection has no stream to spare"))?;
            attempt(slot, &mut Outgoing::new(request)).await.map_err(call::Failure::into_status)
        })
    }
}
