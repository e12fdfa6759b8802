//! The channel's own RPCs on one connection, without the balancer: the health watch and the stream
//! of load reports.
//!
//! They have no lease, so no policy, breaker, ejection, metric or idle timeout counts them. They
//! carry nothing that the user's interceptors add to calls, such as credentials. Keepalive sends no
//! PING for them. The stall watch does: for it, any stream that was opened and not answered is a
//! reason. A draining connection does not wait for them.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::header::USER_AGENT;
use http::uri::Uri;
use meshless_core::Address;
use tonic::body::Body;
use tonic::{Status, Streaming};
use tower_service::Service;

use crate::client::call::{self, Outgoing, attempt};
use crate::client::channel::ChannelShared;
use crate::client::connection::Connection;

/// Makes RPCs on this one connection, without the balancer.
#[derive(Clone)]
pub(crate) struct OnConnection {
    connection: Connection,
    shared: Arc<ChannelShared>,
}

impl OnConnection {
    pub(crate) fn new(connection: Connection, shared: Arc<ChannelShared>) -> Self {
        Self { connection, shared }
    }

    /// Returns the origin for a generated client, which knows only paths.
    pub(crate) fn origin(&self) -> Result<Uri, Status> {
        let settings = &self.shared.settings;
        Uri::builder()
            .scheme(settings.scheme.clone())
            .authority(settings.authority.clone())
            .path_and_query("/")
            .build()
            .map_err(|error| Status::internal(format!("the target does not make a URI: {error}")))
    }

    /// Returns true if the connection takes calls. If not, its end is reported elsewhere.
    pub(crate) fn is_accepting(&self) -> bool {
        self.connection.is_accepting()
    }

    pub(crate) fn channel(&self) -> &str {
        &self.shared.label
    }

    pub(crate) fn address(&self) -> &Address {
        self.connection.address()
    }
}

/// Returns the next message of a stream, in turn with other tasks. A peer that sends as fast as it
/// is read always has one ready. tonic does not use tokio's budget, so one stream would occupy a
/// worker thread.
pub(crate) async fn next<M>(stream: &mut Streaming<M>) -> Result<Option<M>, Status> {
    tokio::task::coop::consume_budget().await;
    stream.message().await
}

impl Service<http::Request<Body>> for OnConnection {
    type Response = http::Response<call::AttemptBody>;
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

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use bytes::Bytes;
    use futures_util::poll;
    use http_body::Frame;
    use http_body_util::StreamBody;
    use tonic::codec::Codec;
    use tonic_health::pb::HealthCheckResponse;
    use tonic_prost::ProstCodec;

    use super::*;

    #[tokio::test]
    async fn a_stream_without_a_pause_leaves_the_thread_to_others() {
        const MESSAGES: usize = 10_000;
        let message = |_| Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"\0\0\0\0\x02\x08\x01")));
        let body = StreamBody::new(futures_util::stream::iter((0..MESSAGES).map(message)));
        let decoder = ProstCodec::<(), HealthCheckResponse>::default().decoder();
        let mut stream = Streaming::new_response(decoder, body, http::StatusCode::OK, None, None);
        let read = AtomicUsize::new(0);
        let mut all = Box::pin(async {
            while let Ok(Some(_)) = next(&mut stream).await {
                read.fetch_add(1, Relaxed);
            }
        });
        assert!(poll!(&mut all).is_pending());
        assert!((1..1000).contains(&read.load(Relaxed)), "{read:?} in one turn");
        all.await;
        assert_eq!(read.load(Relaxed), MESSAGES, "none is lost");
    }
}
