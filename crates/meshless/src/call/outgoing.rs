//! A request on its way out, kept so that it can be sent again.
//!
//! h2 takes a request's headers and bytes by value and never gives them back, and whether a server processed them may
//! only be known from the GOAWAY that answers. So the channel keeps the request here until the response's headers have
//! come ("committed", in gRFC A6's word): the [`Head`], and of the body
//!
//! - all of it, if it is one frame that was ready at once, as in every unary call: its bytes are shared with h2, so
//!   that keeping them costs nothing before they are written, and nothing is spawned or polled for them later;
//! - what was sent so far, if it is a stream, up to [`STREAM_REPLAY_LIMIT`].

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::Body as _;
use tonic::Status;
use tonic::body::Body;

use super::head::Head;

/// A request that can be attempted, more than once as long as [`can_replay`](Self::can_replay) says so.
pub(crate) struct Outgoing {
    head: Head,
    body: State,
}

enum State {
    /// Nobody has asked the body for anything yet.
    Unread(Body),
    /// One frame is all there is.
    Whole(Bytes),
    /// More than one frame, or the first was not ready.
    Stream(RequestStream),
    /// The body failed before anything was sent.
    Failed(Status),
    /// Given away: to a pump that outlives the attempt, or used up by one that could not keep it.
    Gone,
}

/// What an attempt is to send after the headers.
pub(super) enum Payload {
    /// These bytes and then the end; nothing but the end if there are none.
    Whole(Bytes),
    /// Frames as they come, out of [`Outgoing::stream`].
    Stream,
    /// Nothing: the body failed.
    Failed(Status),
    /// Nothing: the body was sent before and not kept.
    Gone,
}

impl Outgoing {
    /// A request that has not been attempted.
    ///
    /// Its URI must be complete (scheme and authority), since HTTP/2 sends them with each request.
    pub(crate) fn new(request: http::Request<Body>) -> Self {
        let (parts, body) = request.into_parts();
        Self { head: Head::new(parts), body: State::Unread(body) }
    }

    /// The headers, for instance to set `grpc-previous-rpc-attempts` before the next attempt.
    pub(crate) fn headers_mut(&mut self) -> &mut http::HeaderMap {
        self.head.headers_mut()
    }

    /// Whether another attempt would send the same request.
    pub(crate) fn can_replay(&self) -> bool {
        match &self.body {
            State::Unread(_) => true,
            // One that is too long to be kept is here only while it has not been sent.
            State::Whole(_) => true,
            State::Stream(stream) => stream.replayable,
            State::Failed(_) | State::Gone => false,
        }
    }

    /// The head for this attempt.
    pub(super) fn take_head(&mut self) -> http::Request<()> {
        self.head.take()
    }

    /// What this attempt is to send. Looks at the body for the first time, if nobody has.
    pub(super) fn payload(&mut self, cx: &mut Context<'_>) -> Payload {
        self.body = match std::mem::replace(&mut self.body, State::Gone) {
            State::Unread(body) => look_into(body, cx),
            read => read,
        };
        match &mut self.body {
            State::Whole(bytes) if bytes.len() > UNARY_REPLAY_LIMIT => {
                let bytes = std::mem::take(bytes);
                self.body = State::Gone;
                Payload::Whole(bytes)
            }
            State::Whole(bytes) => Payload::Whole(bytes.clone()),
            State::Stream(stream) => {
                stream.rewind();
                Payload::Stream
            }
            State::Failed(status) => Payload::Failed(status.clone()),
            State::Unread(_) | State::Gone => Payload::Gone,
        }
    }

    /// Keeps the whole body for another attempt: this one could not begin.
    pub(super) fn take_back(&mut self, bytes: Bytes) {
        self.body = State::Whole(bytes);
    }

    /// The stream of frames that an attempt is sending.
    pub(super) fn stream(&mut self) -> Option<&mut RequestStream> {
        match &mut self.body {
            State::Stream(stream) => Some(stream),
            _ => None,
        }
    }

    /// The server has answered: nothing is sent again. Gives away what is still to be sent.
    pub(super) fn commit(&mut self) -> Option<RequestStream> {
        match std::mem::replace(&mut self.body, State::Gone) {
            State::Stream(mut stream) => {
                stream.forget();
                Some(stream)
            }
            _ => None,
        }
    }
}

/// The frames of a streaming body: those that were taken out before and are kept, then those still to come.
pub(super) struct RequestStream {
    rest: Body,
    ended: bool,
    /// Frames that were taken out of `rest`: from `next` on those to be sent, before it those that were.
    kept: VecDeque<Bytes>,
    kept_len: usize,
    next: usize,
    /// Whether sent frames stay in `kept`.
    replayable: bool,
}

impl RequestStream {
    fn new(rest: Body) -> Self {
        Self { rest, ended: false, kept: VecDeque::new(), kept_len: 0, next: 0, replayable: true }
    }

    /// The next frame with bytes in it; `None` at the end.
    pub(super) fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Status>>> {
        if self.next == self.kept.len() {
            match ready!(self.poll_rest(cx)) {
                Some(Ok(bytes)) => self.push(bytes),
                other => return Poll::Ready(other),
            }
        }
        Poll::Ready(self.take().map(Ok))
    }

    /// Whether every frame has been taken, as far as the body announces its end.
    pub(super) fn is_end(&self) -> bool {
        self.next == self.kept.len() && (self.ended || self.rest.is_end_stream())
    }

    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Status>>> {
        while !self.ended {
            match ready!(Pin::new(&mut self.rest).poll_frame(cx)) {
                // A gRPC client has no trailers to send, and an empty frame says nothing.
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(bytes) if !bytes.is_empty() => return Poll::Ready(Some(Ok(bytes))),
                    _ => {}
                },
                Some(Err(status)) => {
                    self.ended = true;
                    self.forget();
                    return Poll::Ready(Some(Err(status)));
                }
                None => self.ended = true,
            }
        }
        Poll::Ready(None)
    }

    fn push(&mut self, bytes: Bytes) {
        self.kept_len += bytes.len();
        self.kept.push_back(bytes);
    }

    fn take(&mut self) -> Option<Bytes> {
        if !self.replayable {
            return self.kept.pop_front();
        }
        let bytes = self.kept.get(self.next).cloned();
        self.next += usize::from(bytes.is_some());
        // Only now: what has not been sent can be sent elsewhere, however long it is.
        if self.kept_len > STREAM_REPLAY_LIMIT {
            self.forget();
        }
        bytes
    }

    /// Starts again from the first frame.
    fn rewind(&mut self) {
        self.next = 0;
    }

    /// Drops what was sent, and keeps nothing that is sent from now on.
    fn forget(&mut self) {
        self.replayable = false;
        self.kept.drain(..self.next);
        self.next = 0;
    }
}

/// Takes up to two frames out of a body: a unary call's body is one frame, and only asking for a second shows that there
/// is none (tonic's encoder does not announce its end).
fn look_into(body: Body, cx: &mut Context<'_>) -> State {
    let mut stream = RequestStream::new(body);
    let first = match stream.poll_rest(cx) {
        Poll::Ready(Some(Ok(bytes))) => bytes,
        Poll::Ready(Some(Err(status))) => return State::Failed(status),
        Poll::Ready(None) => return State::Whole(Bytes::new()),
        Poll::Pending => return State::Stream(stream),
    };
    if stream.is_end() {
        return State::Whole(first);
    }
    let second = match stream.poll_rest(cx) {
        Poll::Ready(None) => return State::Whole(first),
        Poll::Ready(Some(Err(status))) => return State::Failed(status),
        Poll::Ready(Some(Ok(bytes))) => Some(bytes),
        Poll::Pending => None,
    };
    stream.push(first);
    second.into_iter().for_each(|bytes| stream.push(bytes));
    State::Stream(stream)
}

/// Longest unary request that is kept for another attempt: 4 MiB, which is also the longest that a gRPC server accepts
/// unless told otherwise. The bytes are shared with h2; kept is what h2 has already written.
pub(crate) const UNARY_REPLAY_LIMIT: usize = 4 << 20;

/// Bytes of a streaming request that are kept for another attempt: 256 KiB, grpc-go's `MaxRetryRPCBufferSize`.
pub(crate) const STREAM_REPLAY_LIMIT: usize = 256 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

    #[test]
    fn a_body_too_long_to_be_kept_is_given_back_when_the_attempt_could_not_begin() {
        let long = Bytes::from(vec![7; UNARY_REPLAY_LIMIT + 1]);
        let body = Body::new(http_body_util::Full::new(long));
        let mut outgoing = Outgoing::new(http::Request::new(body));
        let mut cx = Context::from_waker(Waker::noop());
        let Payload::Whole(bytes) = outgoing.payload(&mut cx) else { panic!("one frame is the whole") };
        assert!(!outgoing.can_replay(), "given away");
        outgoing.take_back(bytes);
        assert!(outgoing.can_replay());
        assert!(
            matches!(outgoing.payload(&mut cx), Payload::Whole(bytes) if bytes.len() > UNARY_REPLAY_LIMIT)
        );
    }

    #[test]
    fn a_stream_is_replayable_until_more_was_sent_than_is_kept() {
        let mut stream = RequestStream::new(Body::empty());
        stream.push(Bytes::from(vec![7; STREAM_REPLAY_LIMIT + 1]));
        assert!(stream.replayable, "nothing was sent");
        assert!(stream.take().is_some());
        assert!(!stream.replayable);
    }
}
