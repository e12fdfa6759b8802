//! The two RPCs on the wire: `StreamAggregatedResources`, and load reports that nobody reads.
//!
//! Written by hand as tonic generates it, since the messages are.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;
use futures_util::StreamExt;
use http::{Request, Response};
use meshless::CallContext;
use tokio::sync::mpsc;
use tonic::body::Body;
use tonic::server::{Grpc, NamedService, StreamingService};
use tonic::{Status, Streaming};
use tonic_prost::ProstCodec;
use tower_service::Service;

use crate::control_plane::Shared;
use crate::proto::discovery::{DiscoveryRequest, DiscoveryResponse};
use crate::proto::wrappers::Empty;
use crate::stream;

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;
type BoxStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// `envoy.service.discovery.v3.AggregatedDiscoveryService` for any server of tonic services; made by
/// [`ControlPlane::discovery_service`](crate::ControlPlane::discovery_service).
#[derive(Clone, Debug)]
pub struct DiscoveryService {
    shared: Arc<Shared>,
}

impl DiscoveryService {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }
}

impl NamedService for DiscoveryService {
    const NAME: &'static str = "envoy.service.discovery.v3.AggregatedDiscoveryService";
}

impl Service<Request<Body>> for DiscoveryService {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let method = AggregatedResources(Arc::clone(&self.shared));
        Box::pin(async move {
            if request.uri().path() != STREAM_AGGREGATED_RESOURCES {
                let text = "this control plane speaks the state-of-the-world variant of xDS alone";
                return Ok(Status::unimplemented(text).into_http());
            }
            let codec = ProstCodec::<DiscoveryResponse, DiscoveryRequest>::default();
            let mut grpc = Grpc::new(codec).max_decoding_message_size(REQUEST_BYTES_MAX);
            Ok(grpc.streaming(method, request).await)
        })
    }
}

struct AggregatedResources(Arc<Shared>);

impl StreamingService<DiscoveryRequest> for AggregatedResources {
    type Response = DiscoveryResponse;
    type ResponseStream = BoxStream<DiscoveryResponse>;
    type Future = BoxFuture<Result<tonic::Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: tonic::Request<Streaming<DiscoveryRequest>>) -> Self::Future {
        let shared = Arc::clone(&self.0);
        let peer = request.remote_addr();
        let call = request.extensions().get::<CallContext>().cloned();
        // One response waits for the connection; the next is made when there is room for it.
        let (responses, mut received) = mpsc::channel(1);
        tokio::spawn(stream::drive(shared, peer, call, request.into_inner(), responses));
        let stream = futures_util::stream::poll_fn(move |cx| received.poll_recv(cx));
        Box::pin(std::future::ready(Ok(tonic::Response::new(Box::pin(stream) as BoxStream<_>))))
    }
}

/// `envoy.service.load_stats.v3.LoadReportingService`, which reads and never asks for a report.
///
/// grpc-java counts the calls for `maxRequests` only in clusters that name a server for load
/// reports; without this one, clients would try it again and again.
#[derive(Clone, Copy, Debug, Default)]
pub struct LoadReportingStub;

impl NamedService for LoadReportingStub {
    const NAME: &'static str = "envoy.service.load_stats.v3.LoadReportingService";
}

impl Service<Request<Body>> for LoadReportingStub {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(async move {
            let codec = ProstCodec::<Empty, Empty>::default();
            let mut grpc = Grpc::new(codec).max_decoding_message_size(REQUEST_BYTES_MAX);
            Ok(grpc.streaming(LoadStats, request).await)
        })
    }
}

struct LoadStats;

impl StreamingService<Empty> for LoadStats {
    type Response = Empty;
    type ResponseStream = BoxStream<Empty>;
    type Future = BoxFuture<Result<tonic::Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: tonic::Request<Streaming<Empty>>) -> Self::Future {
        let call = request.extensions().get::<CallContext>().cloned();
        let requests = request.into_inner();
        let ending = async move {
            match call {
                Some(call) => call.stream_ending().await,
                None => std::future::pending().await,
            }
        };
        // Reads to the end, and says nothing.
        let silent = requests.filter_map(|_| std::future::ready(None)).take_until(Box::pin(ending));
        Box::pin(std::future::ready(Ok(tonic::Response::new(Box::pin(silent) as BoxStream<_>))))
    }
}

const STREAM_AGGREGATED_RESOURCES: &str =
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources";
/// A thousand names of a hundred bytes, and a node with metadata.
const REQUEST_BYTES_MAX: usize = 256 << 10;
