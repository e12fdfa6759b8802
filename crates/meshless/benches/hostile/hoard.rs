//! What a hostile client wants to meet: a service that lets go of nothing. Served by the benches
//! `hostile` and `pinned`.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::Frame;

/// Keeps what it is sent, and answers `Large` with 100 KB.
#[derive(Clone)]
pub(super) struct Hoard;

impl tonic::server::NamedService for Hoard {
    const NAME: &'static str = "test.Hoard";
}

impl tower_service::Service<http::Request<tonic::body::Body>> for Hoard {
    type Response = http::Response<HoardBody>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        let message = (request.uri().path() == "/test.Hoard/Large").then(|| vec![7; 100_000].into());
        ready(Ok(http::Response::new(HoardBody { message, _request: request })))
    }
}

pub(super) struct HoardBody {
    message: Option<Bytes>,
    _request: http::Request<tonic::body::Body>,
}

impl http_body::Body for HoardBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.message.take().map_or(Poll::Pending, |message| Poll::Ready(Some(Ok(Frame::data(message)))))
    }
}
