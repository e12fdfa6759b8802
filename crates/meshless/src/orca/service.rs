//! A service with a load report at the end of every response.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tonic::Status;
use tonic::server::NamedService;
use tower_service::Service;

use super::{LoadReport, LoadReporter, TRAILER, trailer};

/// A gRPC service whose responses end with a report: of the measured load, or of the [`LoadReport`] that the handler
/// has put into the extensions of its response. Made by [`LoadReporter::wrap`].
#[derive(Clone, Debug)]
pub struct ReportLoad<S> {
    service: S,
    reporter: LoadReporter,
}

impl<S> ReportLoad<S> {
    pub(super) fn new(service: S, reporter: LoadReporter) -> Self {
        Self { service, reporter }
    }
}

impl<S: NamedService> NamedService for ReportLoad<S> {
    const NAME: &'static str = S::NAME;
}

impl<S, R, B> Service<Request<R>> for ReportLoad<S>
where
    S: Service<Request<R>, Response = Response<B>>,
{
    type Response = Response<ReportingBody<B>>;
    type Error = S::Error;
    type Future = ReportCall<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, request: Request<R>) -> Self::Future {
        ReportCall { call: self.service.call(request), reporter: self.reporter.clone() }
    }
}

pin_project! {
    /// A call of a [`ReportLoad`], up to the head of its response.
    #[derive(Debug)]
    pub struct ReportCall<F> {
        #[pin]
        call: F,
        reporter: LoadReporter,
    }
}

impl<F, B, E> Future for ReportCall<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<ReportingBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut response = ready!(this.call.poll(cx)?);
        let mut end =
            ReportAtEnd { own: response.extensions_mut().remove(), reporter: this.reporter.clone() };
        // "Trailers-Only": the head is the end.
        if response.headers().contains_key(Status::GRPC_STATUS) {
            end.add_to(response.headers_mut());
        }
        Poll::Ready(Ok(response.map(|body| ReportingBody { body, end })))
    }
}

pin_project! {
    /// The body of a response of a [`ReportLoad`].
    #[derive(Debug)]
    pub struct ReportingBody<B> {
        #[pin]
        body: B,
        end: ReportAtEnd,
    }
}

impl<B: Body> Body for ReportingBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = self.project();
        let mut frame = ready!(this.body.poll_frame(cx));
        if let Some(Ok(frame)) = &mut frame
            && let Some(trailers) = frame.trailers_mut()
        {
            this.end.add_to(trailers);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[derive(Debug)]
struct ReportAtEnd {
    own: Option<LoadReport>,
    reporter: LoadReporter,
}

impl ReportAtEnd {
    fn add_to(&mut self, trailers: &mut HeaderMap) {
        let status = trailers.get(Status::GRPC_STATUS);
        self.reporter.count(status.is_some_and(|status| status.as_bytes() != b"0"));
        let report = self.own.take().unwrap_or_else(|| self.reporter.report());
        // In its first second a server has nothing to say.
        if report != LoadReport::default() {
            trailers.insert(TRAILER, trailer(&report));
        }
    }
}
