//! A server's load reports in a stream of their own (gRFC A51, "out of band").
//!
//! They are for clients that make few calls or long ones.
//!
//! It is added to a server like any service. A stream ends when its connection gets a GOAWAY;
//! otherwise each listening client would delay the connection's age and the server's drain.

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

use super::measure::{Listener, Measurement};
use crate::server::CallContext;
use crate::shared::orca::{OrcaLoadReport, OrcaLoadReportRequest, SERVICE, STREAM_CORE_METRICS};

/// `xds.service.orca.v3.OpenRcaService`: reports the load now and at an interval that the client
/// sets. Made by
/// [`LoadReporter::out_of_band`](super::LoadReporter::out_of_band).
///
/// Each report covers the time since the last one of its stream, whatever other clients listen and
/// however rare calls are.
///
/// It counts as a stream like others: a connection with it is not
/// [idle](crate::Server::max_connection_idle). It ends one second after the connection's GOAWAY or
/// after [`max_stream_age`](crate::Server::max_stream_age), however long the grace is.
#[derive(Clone, Debug)]
pub struct OpenRcaService {
    reporter: Measurement,
    interval_min: Duration,
}

impl OpenRcaService {
    pub(super) fn new(reporter: Measurement) -> Self {
        Self { reporter, interval_min: INTERVAL_MIN }
    }

    /// Sets the shortest interval between reports. A client that asks for a shorter one, or for
    /// none, gets this. Default 30 s, as in gRPC (A51).
    ///
    /// Less than 1 s counts as 1 s, since the load is not measured more often; more than a day
    /// counts as a day. Clients ask for 10 s by default (A58). A report costs about as much as a
    /// message of any stream: with a thousand clients, 5 s are 200 messages a second.
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

/// The stream of one client.
struct Reports {
    load: Listener,
    interval: Duration,
    has_begun: bool,
    ending: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Reports {
    /// "Initially receiving a new request, or when the response timer fires, the server sends a
    /// response" (A51), even if nothing has changed.
    async fn next(mut self) -> Option<(Result<OrcaLoadReport, Status>, Option<Self>)> {
        if std::mem::replace(&mut self.has_begun, true) {
            tokio::select! {
                biased;
                () = &mut self.ending => return Some((Err(Status::unavailable(ENDED)), None)),
                // Counts from the moment when HTTP/2 took the last report: a client that does not
                // read gets no more.
                () = sleep(self.interval) => {}
            }
        }
        Some((Ok(self.load.report().into()), Some(self)))
    }
}

/// Outside of a [`Server`](crate::Server) it never ends.
async fn ending(call: Option<CallContext>) {
    match call {
        Some(call) => call.stream_ending().await,
        None => pending().await,
    }
    sleep(FAREWELL).await;
}

const ENDED: &str =
    "the stream of load reports has to end here; open another, on another connection if this one goes away";
/// "When the backend sends a `GOAWAY`, the client will cancel the call" (A51): this is the time for
/// it. A stream that ends at once may be the last one. Clients (seen with grpc-go) then close the
/// connection before the second GOAWAY is written, and it counts as failed.
const FAREWELL: Duration = Duration::from_secs(1);
/// "A minimum reporting interval (30s by default) can be configured when creating the service"
/// (A51).
const INTERVAL_MIN: Duration = Duration::from_secs(30);
/// The sum of an instant and this does not overflow.
const INTERVAL_MAX: Duration = Duration::from_secs(24 * 3600);

const MEASURED_EVERY: Duration = Duration::from_secs(1);
/// Room for an interval and thousands of request cost names, which are not read.
const REQUEST_LEN_MAX: usize = 64 << 10;
