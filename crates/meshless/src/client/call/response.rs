//! The body of a response: it returns what arrives, opens the server's window again, and ends the
//! call.
//!
//! It holds everything of a call: the stream, the permit, the request's pump, and the channel's
//! guard. They are dropped when the last frame was read, or with the body, whichever is first. In
//! the second case h2 sends RST_STREAM(CANCEL).

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::RecvStream;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use meshless_core::Ending;
use tonic::{Code, Status};

use super::failure::Failure;
use super::grpc_status;
use super::pump::PumpTask;
use crate::client::connection::StreamPermit;
use crate::shared::grpc::{core_code, grpc_code};

/// The channel's guard on a call, which learns how it ended. If dropped without
/// [`ended`](Self::ended), the call was cancelled.
pub(crate) trait CallGuard: Unpin {
    /// Bytes of messages have come.
    #[inline]
    fn data(&mut self, _bytes: &[u8]) {}

    /// The response ends with these trailers. A Trailers-Only response has them in its head.
    fn trailers(&mut self, _trailers: &HeaderMap) {}

    /// The response ends with this code.
    ///
    /// # Errors
    /// If the response is not complete: returns how the call ends instead.
    fn check_end(&self, _code: Code) -> Result<(), (Status, Ending)> {
        Ok(())
    }

    /// The call has ended with this code, in this way.
    fn ended(self, code: Code, ending: Ending);
}

impl CallGuard for () {
    fn ended(self, _code: Code, _ending: Ending) {}
}

/// The body of a response. The guard is dropped last: by then the permit is free for the call that
/// takes its place.
pub(crate) struct AttemptBody<G: CallGuard = ()> {
    /// `None` after the end.
    open: Option<Open>,
    guard: Option<G>,
}

/// What an unfinished response holds. The order matters: the stream is released before its permit.
struct Open {
    /// `None` once it was read to its end.
    stream: Option<RecvStream>,
    data_ended: bool,
    held: Held,
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(stream) = self.stream.take() {
            self.held.slot().leave(stream);
        }
    }
}

/// What a call occupies.
pub(super) enum Held {
    /// A permit; the request was sent.
    StreamPermit(StreamPermit),
    /// A permit, shared with a pump that still sends the request.
    Pumped(PumpTask),
}

/// A body that has ended and belongs to no call.
impl<G: CallGuard> Default for AttemptBody<G> {
    fn default() -> Self {
        Self { open: None, guard: None }
    }
}

impl AttemptBody {
    pub(super) fn new(stream: RecvStream, held: Held) -> Self {
        Self { open: Some(Open { stream: Some(stream), data_ended: false, held }), guard: Some(()) }
    }

    /// Returns the body of a response that is only a head ("Trailers-Only").
    pub(super) fn ended() -> Self {
        Self { open: None, guard: Some(()) }
    }

    /// Attaches the channel's guard. `headers` are the response's: a Trailers-Only response has its
    /// status there, and the call ends here.
    pub(crate) fn guarded<G: CallGuard>(self, headers: &HeaderMap, mut guard: G) -> AttemptBody<G> {
        let guard = if self.open.is_some() {
            Some(guard)
        } else {
            guard.trailers(headers);
            guard.ended(grpc_code(headers), status_ending(headers));
            None
        };
        AttemptBody { open: self.open, guard }
    }
}

impl<G: CallGuard> AttemptBody<G> {
    /// Ends the call early with this code, because this side cannot continue.
    pub(crate) fn cancel(&mut self, code: Code, ending: Ending) {
        self.end(code, ending);
    }

    /// Returns the channel's guard, until the call ends.
    pub(crate) fn guard(&self) -> Option<&G> {
        self.guard.as_ref()
    }

    /// Returns the same, mutable.
    pub(crate) fn guard_mut(&mut self) -> Option<&mut G> {
        self.guard.as_mut()
    }

    fn fail(&mut self, (status, ending): (Status, Ending)) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.end(status.code(), ending);
        Poll::Ready(Some(Err(status)))
    }

    /// Repairs the trailers, and ends the call with them.
    fn check_trailers(&mut self, trailers: &mut HeaderMap) -> Result<(), (Status, Ending)> {
        let Some(open) = &self.open else { return Ok(()) };
        if let Err(too_long) = open.held.slot().check_headers(trailers) {
            let failure = Failure::too_long(too_long, open.held.slot());
            let ending = failure.ending(false);
            return Err((failure.into_status(), ending));
        }
        let Some(code) = grpc_status::repair(trailers) else {
            return Err(open.without_status("trailers that have no grpc-status"));
        };
        if let Some(guard) = &mut self.guard {
            guard.check_end(code)?;
            guard.trailers(trailers);
        }
        self.end(code, Ending::Status(core_code(code)));
        Ok(())
    }

    fn end(&mut self, code: Code, ending: Ending) {
        self.open = None;
        if let Some(guard) = self.guard.take() {
            guard.ended(code, ending);
        }
    }
}

impl<G: CallGuard> Body for AttemptBody<G> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = &mut *self;
        let Some(open) = &mut this.open else { return Poll::Ready(None) };
        match ready!(open.poll(cx)) {
            Some(Ok(mut frame)) => {
                if let (Some(bytes), Some(guard)) = (frame.data_ref(), &mut this.guard) {
                    guard.data(bytes);
                }
                match frame.trailers_mut().map(|trailers| this.check_trailers(trailers)) {
                    None | Some(Ok(())) => Poll::Ready(Some(Ok(frame))),
                    Some(Err(error)) => this.fail(error),
                }
            }
            Some(Err(error)) => this.fail(error),
            None => {
                let error = open.without_status("no trailers");
                this.fail(error)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.open.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        if self.open.is_none() { SizeHint::with_exact(0) } else { SizeHint::default() }
    }
}

impl<G: CallGuard> fmt::Debug for AttemptBody<G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseBody").field("ended", &self.open.is_none()).finish_non_exhaustive()
    }
}

/// An end without a status: the status for the caller, and the ending for the balancer.
type Failed = (Status, Ending);

impl Open {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Failed>>> {
        let Some(stream) = &mut self.stream else { return Poll::Ready(None) };
        while !self.data_ended {
            match ready!(stream.poll_data(cx)) {
                Some(Ok(bytes)) => {
                    // The reader takes the bytes now, so the server may send as many again. Fails
                    // only for a stream that has ended.
                    let _ = stream.flow_control().release_capacity(bytes.len());
                    if !bytes.is_empty() {
                        return Poll::Ready(Some(Ok(Frame::data(bytes))));
                    }
                }
                Some(Err(error)) => return self.poll_error(&error, cx).map(|status| Some(Err(status))),
                None => self.data_ended = true,
            }
        }
        match ready!(stream.poll_trailers(cx)) {
            Ok(trailers) => {
                self.stream = None;
                Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers))))
            }
            Err(error) => self.poll_error(&error, cx).map(|status| Some(Err(status))),
        }
    }

    /// Returns the end of a response without a status. The code is that of gRPC's table for HTTP
    /// statuses, which lacks 200.
    fn without_status(&self, ended_with: &str) -> (Status, Ending) {
        let endpoint = self.held.slot().address();
        let status = Status::unknown(format!(
            "{endpoint}: the response ended with {ended_with}, so nobody knows how the call went; the server, or a proxy in between, has cut it off"
        ));
        (status, Ending::NoStatus)
    }

    fn poll_error(&mut self, error: &h2::Error, cx: &mut Context<'_>) -> Poll<Failed> {
        if let Held::Pumped(pump) = &mut self.held
            && error.is_reset()
            && !error.is_remote()
            && let Some(status) = ready!(pump.poll_body_error(cx))
        {
            return Poll::Ready((status, Ending::BadRequest));
        }
        let stream_id = self.stream.as_ref().map_or(0, |stream| stream.stream_id().as_u32());
        let failure = Failure::from_stream(error, stream_id, self.held.slot());
        let ending = failure.ending(false);
        Poll::Ready((failure.into_status(), ending))
    }
}

impl Held {
    fn slot(&self) -> &StreamPermit {
        match self {
            Self::StreamPermit(slot) => slot,
            Self::Pumped(pump) => pump.slot(),
        }
    }
}

/// Returns the ending that corresponds to [`grpc_code`].
fn status_ending(headers: &HeaderMap) -> Ending {
    match headers.get(Status::GRPC_STATUS) {
        Some(code) => Ending::Status(core_code(Code::from_bytes(code.as_bytes()))),
        None => Ending::NoStatus,
    }
}
