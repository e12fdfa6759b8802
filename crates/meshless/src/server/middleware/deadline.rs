//! When a call is over: at the client's deadline, or at the end of its stream's age.
//!
//! A call with `grpc-timeout` ends with DEADLINE_EXCEEDED when the time is over, in the middle of
//! its messages too; the handler is dropped. (tonic's own server ends such a call with CANCELLED,
//! and leaves streams alone.) A call without the header costs one look at it and no timer. A stream
//! that reaches the server's maximum age and its grace ends likewise, with UNAVAILABLE. The call's
//! task keeps the timer, and resets a stream whose client has stopped reading: a body is only asked
//! while the client reads.

use std::task::Poll;

use http::{HeaderMap, Response};
use http_body::Frame;
use meshless_core::StreamAge;
use tokio::time::Instant;
use tonic::Status;

/// When and how the server ends a call.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::server) struct CallEnd {
    at: Option<Instant>,
    of_age: bool,
}

impl CallEnd {
    pub(in crate::server) fn new(deadline: Option<Instant>, age: StreamAge) -> Self {
        let aged = age.ended_at.map(Instant::from_std);
        let at = [deadline, aged].into_iter().flatten().min();
        Self { at, of_age: at != deadline }
    }

    pub(in crate::server) fn at(self) -> Option<Instant> {
        self.at
    }

    /// The response of a call whose time is over before its handler has answered.
    pub(super) fn answer(self) -> Option<Response<()>> {
        Some(self.status()?.into_http())
    }

    /// The trailers in place of `frame`, if the call's time is over and its handler goes on. A
    /// stream that always has a message ready is late without ever waiting.
    pub(super) fn cut<D, E>(self, frame: &Poll<Option<Result<Frame<D>, E>>>) -> Option<HeaderMap> {
        let goes_on = match frame {
            Poll::Ready(Some(Ok(frame))) => frame.is_data(),
            Poll::Ready(_) => false,
            Poll::Pending => true,
        };
        let status = goes_on.then(|| self.status()).flatten()?;
        let mut trailers = HeaderMap::new();
        status.add_header(&mut trailers).expect("code and message are valid header values");
        Some(trailers)
    }

    /// Returns the status of a call whose time is over. A call without limits does not read the
    /// clock.
    fn status(self) -> Option<Status> {
        let over = self.at.is_some_and(|at| at <= Instant::now());
        over.then(|| {
            if self.of_age {
                // UNAVAILABLE: "the client can retry [...] with a backoff", as a new stream.
                Status::unavailable("the stream has reached the server's max stream age; open a new one")
            } else {
                Status::deadline_exceeded("the deadline that the client set has passed")
            }
        })
    }
}
