//! Counts the calls of one connection, under any HTTP/2 service, and holds their headers to limits.
//!
//! A call begins when its request was accepted and ends when its response body ended or was
//! dropped, so a client's reset counts as an end too. hyper calls this; the lease in the future and
//! then in the body does the rest.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Buf;
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::server::call::{CallContext, CallLease};
use crate::server::header_limits::{HeaderLimits, in_place_of_long, pinned_by};
use crate::server::request_body::RequestBody;
use crate::server::state::ConnectionState;
use crate::shared::grpc::content_type::is_grpc;
use crate::shared::grpc::timeout;

/// A service whose calls are counted.
#[derive(Debug)]
pub(in crate::server) struct CountedCalls<S> {
    service: S,
    state: Arc<ConnectionState>,
    limits: HeaderLimits,
}

impl<S> CountedCalls<S> {
    pub(in crate::server) fn new(service: S, state: Arc<ConnectionState>, limits: HeaderLimits) -> Self {
        Self { service, state, limits }
    }
}

impl<S, B> hyper::service::Service<Request<Incoming>> for CountedCalls<S>
where
    S: Service<Request<RequestBody>, Response = Response<B>> + Clone,
{
    type Response = Response<CountedBody<B>>;
    type Error = S::Error;
    type Future = CountedCall<S, S::Future>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        if request.uri().path().starts_with(HEALTH_METHODS) {
            self.state.note_health_check();
        }
        let call = self.state.start_call(timeout::read(request.headers()));
        let mut request = request.map(|body| RequestBody::new(body, call.clone()));
        let pinned = pinned_by(request.headers());
        let checked = self.limits.check(&request, self.state.pin_headers(pinned));
        let lease = Some(CallLease::new(call.clone(), pinned));
        if let Err(answer) = checked {
            return CountedCall { stage: HandlerStage::Refused { answer: Some(answer) }, lease };
        }
        request.extensions_mut().insert(CallContext::new(call));
        let stage = HandlerStage::Waiting { service: self.service.clone(), request: Some(request) };
        CountedCall { stage, lease }
    }
}

pin_project! {
    /// One call, up to the head of its response.
    pub(in crate::server) struct CountedCall<S, F> {
        #[pin]
        stage: HandlerStage<S, F>,
        lease: Option<CallLease>,
    }
}

pin_project! {
    #[project = HandlerStageProjection]
    enum HandlerStage<S, F> {
        // A tower service wants to be asked whether it is ready; each call has its own clone to
        // ask.
        Waiting { service: S, request: Option<Request<RequestBody>> },
        Running { #[pin] response: F },
        Refused { answer: Option<Response<()>> },
    }
}

impl<S, B> Future for CountedCall<S, S::Future>
where
    S: Service<Request<RequestBody>, Response = Response<B>>,
{
    type Output = Result<Response<CountedBody<B>>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let response = match this.stage.as_mut().project() {
                HandlerStageProjection::Waiting { service, request } => {
                    ready!(service.poll_ready(cx))?;
                    service.call(request.take().expect("a request is called once"))
                }
                HandlerStageProjection::Running { response } => {
                    let response = ready!(response.poll(cx))?;
                    let lease = this.lease.take();
                    return Poll::Ready(Ok(match in_place_of_long_head(&response, lease.as_ref()) {
                        Some(answer) => answer.map(|()| CountedBody { body: None, lease }),
                        None => response.map(|body| CountedBody { body: Some(body), lease }),
                    }));
                }
                HandlerStageProjection::Refused { answer } => {
                    let answer = answer.take().expect("a call is answered once");
                    let lease = this.lease.take();
                    return Poll::Ready(Ok(answer.map(|()| CountedBody { body: None, lease })));
                }
            };
            this.stage.set(HandlerStage::Running { response });
        }
    }
}

pin_project! {
    /// The response body of one call, if it has one; dropping it ends the call.
    pub(in crate::server) struct CountedBody<B> {
        #[pin]
        body: Option<B>,
        lease: Option<CallLease>,
    }
}

impl<B: Body> Body for CountedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = self.project();
        let Some(body) = this.body.as_pin_mut() else { return Poll::Ready(None) };
        let mut frame = body.poll_frame(cx);
        if let Some(lease) = this.lease {
            // hyper asks again as soon as HTTP/2 has taken it.
            lease.call().set_waits(is_message(&frame));
            if let Poll::Ready(Some(Ok(frame))) = &mut frame
                && let Some(trailers) = frame.trailers_mut()
            {
                replace_long_trailers(trailers, lease);
            }
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

/// A gRPC response whose head is longer than the client takes says so instead: its messages cannot
/// be read without it.
fn in_place_of_long_head<B>(response: &Response<B>, lease: Option<&CallLease>) -> Option<Response<()>> {
    let max = lease?.call().client_header_list_max();
    let status = in_place_of_long(response.headers(), max, "headers")?;
    is_grpc(response.headers()).then(|| status.into_http())
}

/// A status that does not reach the client is replaced by one that does.
fn replace_long_trailers(trailers: &mut HeaderMap, lease: &CallLease) {
    let max = lease.call().client_header_list_max();
    if trailers.contains_key(tonic::Status::GRPC_STATUS)
        && let Some(status) = in_place_of_long(trailers, max, "trailers")
    {
        trailers.clear();
        status.add_header(trailers).expect("code and message are valid header values");
    }
}

fn is_message<D: Buf, E>(frame: &Poll<Option<Result<Frame<D>, E>>>) -> bool {
    match frame {
        Poll::Ready(Some(Ok(frame))) => frame.data_ref().is_some_and(Buf::has_remaining),
        _ => false,
    }
}

/// How the paths of the health service's methods begin.
const HEALTH_METHODS: &str = "/grpc.health.v1.Health/";
