//! A service with a load report at the end of every response.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame, SizeHint};
use meshless_core::LoadReport;
use pin_project_lite::pin_project;
use tonic::Status;
use tonic::server::NamedService;
use tower_service::Service;

use super::measure::Measurement;
use crate::shared::orca::{TRAILER, trailer};

/// A gRPC service whose responses end with a load report. Made by
/// [`LoadReporter::wrap`](super::LoadReporter::wrap).
///
/// The report is the measured load, or the [`LoadReport`] that the handler has put into the
/// extensions of its response. A call is counted when it ends: with its status, or when its body or
/// the call itself is dropped, for instance after the client's reset. A dropped call is not an
/// error of the server.
#[derive(Clone, Debug)]
pub struct ReportLoad<S> {
    service: S,
    reporter: Measurement,
}

impl<S> ReportLoad<S> {
    pub(super) fn new(service: S, reporter: Measurement) -> Self {
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
        let end = ReportAtEnd { own: None, reporter: self.reporter.clone(), is_counted: false };
        ReportCall { call: self.service.call(request), end: Some(end) }
    }
}

pin_project! {
    /// A call of a [`ReportLoad`], up to the head of its response.
    #[derive(Debug)]
    pub struct ReportCall<F> {
        #[pin]
        call: F,
        end: Option<ReportAtEnd>,
    }
}

impl<F, B, E> Future for ReportCall<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<ReportingBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let result = ready!(this.call.poll(cx));
        let mut end = this.end.take().expect("a future is not polled again after its end");
        let mut response = result.inspect_err(|_| end.count(true))?;
        end.own = response.extensions_mut().remove();
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
        match &mut frame {
            Some(Ok(frame)) => {
                if let Some(trailers) = frame.trailers_mut() {
                    this.end.add_to(trailers);
                }
            }
            Some(Err(_)) => this.end.count(true),
            None => {}
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

/// Counts the end of one call once, at the latest when it is dropped.
#[derive(Debug)]
struct ReportAtEnd {
    own: Option<LoadReport>,
    reporter: Measurement,
    is_counted: bool,
}

impl ReportAtEnd {
    fn add_to(&mut self, trailers: &mut HeaderMap) {
        let status = trailers.get(Status::GRPC_STATUS);
        self.count(status.is_some_and(|status| status.as_bytes() != b"0"));
        let report = self.own.take().unwrap_or_else(|| self.reporter.report());
        // In its first second a server has no measurement.
        if report != LoadReport::default() {
            trailers.insert(TRAILER, trailer(&report));
        }
    }

    fn count(&mut self, is_error: bool) {
        if !std::mem::replace(&mut self.is_counted, true) {
            self.reporter.count(is_error);
        }
    }
}

impl Drop for ReportAtEnd {
    fn drop(&mut self) {
        self.count(false);
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::future::{pending, ready};
    use std::time::Duration;

    use bytes::Bytes;
    use futures_util::{FutureExt, poll};
    use http_body_util::{BodyExt, Full, StreamBody};

    use super::*;

    type ReportedResult<B> = Result<Response<B>, Infallible>;

    fn call<F>(load: &Measurement, call: F) -> ReportCall<F> {
        let end = ReportAtEnd { own: None, reporter: load.clone(), is_counted: false };
        ReportCall { call, end: Some(end) }
    }

    /// Calls counted in this second, and errors among them.
    async fn counted(load: &Measurement) -> (f64, f64) {
        tokio::time::advance(Duration::from_secs(1)).await;
        let report = load.report();
        (report.calls_per_second, report.errors_per_second)
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_is_given_up_counts_when_nothing_is_left_of_it() {
        let load = Measurement::default();
        assert_eq!(counted(&load).await, (0.0, 0.0));
        let mut stuck = Box::pin(call(&load, pending::<ReportedResult<Full<Bytes>>>()));
        assert!(poll!(&mut stuck).is_pending());
        assert_eq!(counted(&load).await, (0.0, 0.0), "it is not over");
        drop(stuck);
        assert_eq!(counted(&load).await, (1.0, 0.0), "before its head");
        let body = StreamBody::new(futures_util::stream::pending::<Result<Frame<Bytes>, Infallible>>());
        let mut response = call(&load, ready::<ReportedResult<_>>(Ok(Response::new(body)))).await.unwrap();
        assert!(response.frame().now_or_never().is_none());
        assert_eq!(counted(&load).await, (0.0, 0.0), "it goes on");
        drop(response);
        assert_eq!(counted(&load).await, (1.0, 0.0), "after its head");
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_ends_counts_once() {
        let load = Measurement::default();
        assert_eq!(counted(&load).await, (0.0, 0.0));
        let failed = Status::internal("").into_http::<Full<Bytes>>();
        drop(call(&load, ready::<ReportedResult<_>>(Ok(failed))).await);
        assert_eq!(counted(&load).await, (1.0, 1.0), "by its head");
        let trailers = HeaderMap::from_iter([(Status::GRPC_STATUS, "0".parse().unwrap())]);
        let body = Full::new(Bytes::from("hello")).with_trailers(ready(Some(Ok(trailers))));
        let response = call(&load, ready::<ReportedResult<_>>(Ok(Response::new(body)))).await.unwrap();
        drop(response.into_body().collect().await);
        assert_eq!(counted(&load).await, (1.0, 0.0), "by its trailers");
        let broken = StreamBody::new(futures_util::stream::iter([Err::<Frame<Bytes>, _>("broken")]));
        let response = call(&load, ready::<ReportedResult<_>>(Ok(Response::new(broken)))).await.unwrap();
        drop(response.into_body().collect().await);
        assert_eq!(counted(&load).await, (1.0, 1.0), "by its error");
        drop(call(&load, ready(Err::<Response<Full<Bytes>>, _>("no answer"))).await);
        assert_eq!(counted(&load).await, (1.0, 1.0), "without an answer");
    }
}
