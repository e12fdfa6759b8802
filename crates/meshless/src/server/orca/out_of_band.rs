//! A server's reports of its load in a stream of their own (gRFC A51, "out of band"), for clients
//! that make few calls or long ones.
//!
//! Added to a server like any service. A stream ends with the connection that it is on: when that
//! is sent away, so does it, or each client that listens would hold up the connection's age and the
//! server's drain.

use std::convert::Infallible;
use std::future::pending;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_core::Stream;
use http::{Request, Response};
use http_body::Body;
use tokio::time::sleep;
use tonic::Status;
use tonic::server::{Grpc, NamedService, ServerStreamingService};
use tonic_prost::ProstCodec;
use tower_service::Service;

use super::LoadReporter;
use super::measure::Listener;
use crate::server::CallContext;
use crate::shared::orca::{OrcaLoadReport, OrcaLoadReportRequest, SERVICE, STREAM_CORE_METRICS};

/// `xds.service.orca.v3.OpenRcaService`: what the process measured, now and at an interval that the
/// client names. Made by [`LoadReporter::out_of_band`].
///
/// Each stream's report is of the time since its last, whatever other clients listen and however
/// seldom there are calls.
///
/// To a connection it is a stream like others: while a client listens, its connection is not
/// [idle](crate::Server::max_connection_idle). It ends when the connection is sent away or when it
/// reaches [`max_stream_age`](crate::Server::max_stream_age): a second later, however long the
/// grace.
#[derive(Clone, Debug)]
pub struct OpenRcaService {
    reporter: LoadReporter,
    interval_min: Duration,
}

impl OpenRcaService {
    pub(super) fn new(reporter: LoadReporter) -> Self {
        Self { reporter, interval_min: INTERVAL_MIN }
    }

    /// How often a client may have a report at most; one that asks for more, or names no interval,
    /// gets this. Default 30 s, gRPC's (A51); below 1 s counts as that, since the load is not
    /// measured more often. Above a day counts as a day.
    ///
    /// Clients ask for one each 10 s by default (A58). A report costs about as much as a message of
    /// any stream: with a thousand clients, 5 s are 200 messages a second.
    #[must_use]
    pub fn interval_min(mut self, interval: Duration) -> Self {
        self.interval_min = interval.clamp(MEASURED_EVERY, INTERVAL_MAX);
        self
    }
}

impl NamedService for OpenRcaService {
    const NAME: &'static str = SERVICE;
}

impl<B> Service<Request<B>> for OpenRcaService
where
    B: Body + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>> + Send,
{
    type Response = Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move {
            if request.uri().path() != STREAM_CORE_METRICS {
                return Ok(Status::unimplemented("").into_http());
            }
            let codec = ProstCodec::<OrcaLoadReport, OrcaLoadReportRequest>::default();
            let mut grpc = Grpc::new(codec).max_decoding_message_size(REQUEST_LEN_MAX);
            Ok(grpc.server_streaming(service, request).await)
        })
    }
}

impl ServerStreamingService<OrcaLoadReportRequest> for OpenRcaService {
    type Response = OrcaLoadReport;
    type ResponseStream = Pin<Box<dyn Stream<Item = Result<OrcaLoadReport, Status>> + Send>>;
    type Future = std::future::Ready<Result<tonic::Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: tonic::Request<OrcaLoadReportRequest>) -> Self::Future {
        let (_, extensions, message) = request.into_parts();
        let interval = message.interval().max(self.interval_min);
        let ending = Box::pin(ending(extensions.get::<CallContext>().cloned()));
        let reports = Reports { load: self.reporter.listen(), interval, has_begun: false, ending };
        let messages =
            futures_util::stream::unfold(Some(reports), |reports| async move { reports?.next().await });
        std::future::ready(Ok(tonic::Response::new(Box::pin(messages))))
    }
}

/// One client that listens.
struct Reports {
    load: Listener,
    interval: Duration,
    has_begun: bool,
    ending: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Reports {
    /// "Initially receiving a new request, or when the response timer fires, the server sends a
    /// response" (A51), whether there is news or not.
    async fn next(mut self) -> Option<(Result<OrcaLoadReport, Status>, Option<Self>)> {
        if std::mem::replace(&mut self.has_begun, true) {
            tokio::select! {
                biased;
                () = &mut self.ending => return Some((Err(Status::unavailable(ENDED)), None)),
                // From the moment that HTTP/2 has taken the last: a client that does not read gets
                // no more for it.
                () = sleep(self.interval) => {}
            }
        }
        Some((Ok(self.load.report().into()), Some(self)))
    }
}

/// Outside of a [`Server`](crate::Server) nobody says so.
async fn ending(call: Option<CallContext>) {
    match call {
        Some(call) => call.stream_ending().await,
        None => pending().await,
    }
    sleep(FAREWELL).await;
}

const ENDED: &str =
    "the stream of load reports has to end here; open another, on another connection if this one goes away";
/// "When the backend sends a `GOAWAY`, the client will cancel the call" (A51): it is left the time
/// for that. A stream that ends at once may be the last one, upon which clients (seen with grpc-go)
/// hang up before the second GOAWAY is written, and the connection counts as failed.
const FAREWELL: Duration = Duration::from_secs(1);
/// "A minimum reporting interval (30s by default) can be configured when creating the service"
/// (A51).
const INTERVAL_MIN: Duration = Duration::from_secs(30);
/// No sum of an instant and this overflows.
const INTERVAL_MAX: Duration = Duration::from_secs(24 * 3600);

const MEASURED_EVERY: Duration = Duration::from_secs(1);
/// An interval, and names of request costs that are not read: thousands of them.
const REQUEST_LEN_MAX: usize = 64 << 10;
