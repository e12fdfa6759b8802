//! An outgoing request, kept so that it can be sent again.
//!
//! h2 takes a request's headers and bytes by value and never gives them back. But sometimes only a
//! later GOAWAY tells if the server processed them. So the channel keeps the request here until the
//! response's headers have come (gRFC A6: "committed"). It keeps the [`Head`], and of the body
//!
//! - all of it, if it is one frame that was ready at once, as in every unary call. Its bytes are
//!   shared with h2, so they cost nothing before they are written, and nothing is spawned or polled
//!   for them later;
//! - what was sent so far, if it is a stream, up to [`STREAM_REPLAY_LIMIT`].

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderValue;
use http::uri::PathAndQuery;
use http_body::Body as _;
use tokio::time::Instant;
use tonic::Status;
use tonic::body::Body;

use super::head::Head;
use crate::shared::grpc::message_limit::{MessageLimit, TooLong};
use crate::shared::metrics::MessageMeter;

/// A request that can be attempted, again and again while [`can_replay`](Self::can_replay) returns
/// true.
pub(crate) struct Outgoing {
    head: Head,
    body: OutgoingState,
    deadline: Option<Instant>,
    message_max: Option<u32>,
    /// The meter of the next attempt.
    meter: MessageMeter,
}

enum OutgoingState {
    /// The body was not polled yet.
    Unread(Body),
    /// The body is this one frame.
    Whole(Bytes),
    /// More than one frame, or the first was not ready.
    Stream(RequestStream),
    /// The body failed before anything was sent.
    Failed(Status),
    /// The body is gone: a pump that outlives the attempt has it, or an attempt could not keep it.
    Gone,
}

/// What an attempt sends after the headers.
pub(super) enum Payload {
    /// These bytes and then the end; only the end if there are none.
    Whole(Bytes),
    /// Frames as they come, from [`Outgoing::stream`].
    Stream,
    /// Nothing: the body failed.
    Failed(Status),
    /// Nothing: the body was sent before and was not kept.
    Gone,
}

impl Outgoing {
    /// Creates a request that has not been attempted.
    ///
    /// Its URI must be complete (scheme and authority), since HTTP/2 sends them with each request.
    pub(crate) fn new(request: http::Request<Body>) -> Self {
        let (parts, body) = request.into_parts();
        Self {
            head: Head::new(parts),
            body: OutgoingState::Unread(body),
            deadline: None,
            message_max: None,
            meter: MessageMeter::default(),
        }
    }

    /// Sets when the rest of the request stops, if it goes on without the attempt that began it.
    pub(crate) fn until(mut self, deadline: Option<Instant>) -> Self {
        self.deadline = deadline;
        self
    }

    /// Fails the call if a message is longer than this.
    pub(crate) fn with_message_max(mut self, max: Option<u32>) -> Self {
        self.message_max = max;
        self
    }

    /// Sets the meter that counts what the next attempt sends.
    pub(crate) fn set_meter(&mut self, meter: MessageMeter) {
        self.meter = meter;
    }

    /// Counts the whole body, `bytes`, as sent.
    pub(super) fn sent_whole(&mut self, bytes: &[u8]) {
        self.meter.pass(bytes);
    }

    /// Returns the headers, for instance to set `grpc-previous-rpc-attempts` before the next
    /// attempt.
    pub(crate) fn headers_mut(&mut self) -> &mut http::HeaderMap {
        self.head.headers_mut()
    }

    /// Returns true if the request accepts responses in `encoding` (`grpc-accept-encoding`).
    pub(crate) fn offers(&self, encoding: &HeaderValue) -> bool {
        let offered = self.head.get("grpc-accept-encoding").map_or(&b""[..], HeaderValue::as_bytes);
        offered.split(|byte| *byte == b',').any(|offered| offered.trim_ascii() == encoding.as_bytes())
    }

    /// Returns the method's path.
    pub(crate) fn path(&self) -> Option<PathAndQuery> {
        self.head.path()
    }

    /// Returns true if another attempt would send the same request.
    pub(crate) fn can_replay(&self) -> bool {
        match &self.body {
            OutgoingState::Unread(_) => true,
            // A body that is too long to be kept is here only until it has been sent.
            OutgoingState::Whole(_) => true,
            OutgoingState::Stream(stream) => stream.replayable,
            OutgoingState::Failed(_) | OutgoingState::Gone => false,
        }
    }

    /// Returns a copy of the request, to be attempted beside this one. `None` if its body is a
    /// stream, or too long to be kept.
    pub(crate) fn fork(&mut self, cx: &mut Context<'_>) -> Option<Self> {
        self.look(cx);
        let OutgoingState::Whole(bytes) = &self.body else { return None };
        if bytes.len() > UNARY_REPLAY_LIMIT {
            return None;
        }
        let body = OutgoingState::Whole(bytes.clone());
        Some(Self {
            head: self.head.fork(),
            body,
            deadline: self.deadline,
            message_max: None,
            meter: MessageMeter::default(),
        })
    }

    /// Returns the call's deadline.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Returns the head for this attempt.
    pub(super) fn take_head(&mut self) -> http::Request<()> {
        self.head.take()
    }

    /// Returns what this attempt sends. Polls the body for the first time, if that was not done
    /// yet.
    pub(super) fn payload(&mut self, cx: &mut Context<'_>) -> Payload {
        self.look(cx);
        match &mut self.body {
            OutgoingState::Whole(bytes) if bytes.len() > UNARY_REPLAY_LIMIT => {
                let bytes = std::mem::take(bytes);
                self.body = OutgoingState::Gone;
                Payload::Whole(bytes)
            }
            OutgoingState::Whole(bytes) => Payload::Whole(bytes.clone()),
            OutgoingState::Stream(stream) => {
                stream.rewind();
                stream.meter = std::mem::take(&mut self.meter);
                Payload::Stream
            }
            OutgoingState::Failed(status) => Payload::Failed(status.clone()),
            OutgoingState::Unread(_) | OutgoingState::Gone => Payload::Gone,
        }
    }

    /// Polls the body, if that was not done yet.
    fn look(&mut self, cx: &mut Context<'_>) {
        self.body = match std::mem::replace(&mut self.body, OutgoingState::Gone) {
            OutgoingState::Unread(body) => look_into(RequestStream::new(body, self.message_max), cx),
            read => read,
        };
    }

    /// Keeps the whole body for another attempt, because this one could not begin.
    pub(super) fn take_back(&mut self, bytes: Bytes) {
        self.body = OutgoingState::Whole(bytes);
    }

    /// Returns the stream of frames that an attempt is sending.
    pub(super) fn stream(&mut self) -> Option<&mut RequestStream> {
        match &mut self.body {
            OutgoingState::Stream(stream) => Some(stream),
            _ => None,
        }
    }

    /// The server has answered, so nothing is sent again. Returns the rest that is still to be
    /// sent.
    pub(super) fn commit(&mut self) -> Option<RequestStream> {
        match std::mem::replace(&mut self.body, OutgoingState::Gone) {
            OutgoingState::Stream(mut stream) => {
                stream.forget();
                Some(stream)
            }
            _ => None,
        }
    }
}

/// The frames of a streaming body: first the kept ones, then those still to come.
pub(super) struct RequestStream {
    rest: Body,
    ended: bool,
    /// Frames taken from `rest`. Those before `next` were sent; the others are to be sent.
    kept: VecDeque<Bytes>,
    kept_len: usize,
    next: usize,
    /// True if sent frames stay in `kept`.
    replayable: bool,
    limit: Option<Box<MessageLimit>>,
    meter: MessageMeter,
}

impl RequestStream {
    fn new(rest: Body, message_max: Option<u32>) -> Self {
        let limit = message_max.map(|max| Box::new(MessageLimit::new(max)));
        Self {
            rest,
            ended: false,
            kept: VecDeque::new(),
            kept_len: 0,
            next: 0,
            replayable: true,
            limit,
            meter: MessageMeter::default(),
        }
    }

    /// Returns the next frame that is not empty; `None` at the end.
    pub(super) fn poll_bytes(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Status>>> {
        if self.next == self.kept.len() {
            match ready!(self.poll_rest(cx)) {
                Some(Ok(bytes)) => self.push(bytes),
                other => return Poll::Ready(other),
            }
        }
        let bytes = self.take();
        if let Some(bytes) = &bytes {
            self.meter.pass(bytes);
        }
        Poll::Ready(bytes.map(Ok))
    }

    /// Returns true if every frame was taken, as far as the body announces its end.
    pub(super) fn is_end(&self) -> bool {
        self.next == self.kept.len() && (self.ended || self.rest.is_end_stream())
    }

    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Status>>> {
        while !self.ended {
            match ready!(Pin::new(&mut self.rest).poll_frame(cx)) {
                // A gRPC client sends no trailers, and an empty frame has no content.
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(bytes) if !bytes.is_empty() => {
                        return Poll::Ready(Some(match self.check(&bytes) {
                            Ok(()) => Ok(bytes),
                            Err(error) => Err(self.fail(too_long(error))),
                        }));
                    }
                    _ => {}
                },
                Some(Err(status)) => return Poll::Ready(Some(Err(self.fail(status)))),
                None => self.ended = true,
            }
        }
        Poll::Ready(None)
    }

    fn check(&mut self, bytes: &[u8]) -> Result<(), TooLong> {
        self.limit.as_mut().map_or(Ok(()), |limit| limit.pass(bytes))
    }

    fn fail(&mut self, status: Status) -> Status {
        self.ended = true;
        self.forget();
        status
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
        // Only now: a part that was not sent can be sent elsewhere at any length.
        if self.kept_len > STREAM_REPLAY_LIMIT {
            self.forget();
        }
        bytes
    }

    /// Starts again from the first frame.
    fn rewind(&mut self) {
        self.next = 0;
    }

    /// Drops the sent frames, and keeps none that are sent from now on.
    fn forget(&mut self) {
        self.replayable = false;
        self.kept.drain(..self.next);
        self.next = 0;
    }
}

/// Takes up to two frames from a body. A unary call's body is one frame, and only a poll for a
/// second one shows that there is none (tonic's encoder does not announce its end).
fn look_into(mut stream: RequestStream, cx: &mut Context<'_>) -> OutgoingState {
    let first = match stream.poll_rest(cx) {
        Poll::Ready(Some(Ok(bytes))) => bytes,
        Poll::Ready(Some(Err(status))) => return OutgoingState::Failed(status),
        Poll::Ready(None) => return OutgoingState::Whole(Bytes::new()),
        Poll::Pending => return OutgoingState::Stream(stream),
    };
    if first.len() > WHOLE_MAX {
        stream.push(first);
        return OutgoingState::Stream(stream);
    }
    if stream.is_end() {
        return OutgoingState::Whole(first);
    }
    let second = match stream.poll_rest(cx) {
        Poll::Ready(None) => return OutgoingState::Whole(first),
        Poll::Ready(Some(Err(status))) => return OutgoingState::Failed(status),
        Poll::Ready(Some(Ok(bytes))) => Some(bytes),
        Poll::Pending => None,
    };
    stream.push(first);
    second.into_iter().for_each(|bytes| stream.push(bytes));
    OutgoingState::Stream(stream)
}

fn too_long(TooLong { len, max }: TooLong) -> Status {
    Status::resource_exhausted(format!(
        "a message of {len} bytes is longer than the {max} that the service config allows in a request"
    ))
}

/// Longest body that is passed to h2 in one piece: 1 GiB. Windows in h2 have 31 bits, and it
/// refuses longer bodies.
pub(super) const WHOLE_MAX: usize = 1 << 30;

/// Longest unary request that is kept for another attempt: 4 MiB. It is also the longest that a
/// gRPC server accepts by default. The bytes are shared with h2; only those that h2 has already
/// written cost memory.
pub(crate) const UNARY_REPLAY_LIMIT: usize = 4 << 20;

/// Bytes of a streaming request that are kept for another attempt: 256 KiB, grpc-go's
/// `MaxRetryRPCBufferSize`.
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
    fn a_body_too_long_for_a_window_is_sent_in_parts() {
        // Its pages are never touched.
        let huge = Bytes::from(vec![0; WHOLE_MAX + 1]);
        let mut outgoing = Outgoing::new(http::Request::new(Body::new(http_body_util::Full::new(huge))));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(matches!(outgoing.payload(&mut cx), Payload::Stream));
    }

    #[test]
    fn a_message_above_the_limit_fails_the_request_before_it_is_sent() {
        let message = Bytes::from_static(b"\0\0\0\0\x03abc");
        let request = || http::Request::new(Body::new(http_body_util::Full::new(message.clone())));
        let mut cx = Context::from_waker(Waker::noop());
        let mut outgoing = Outgoing::new(request()).with_message_max(Some(2));
        let Payload::Failed(status) = outgoing.payload(&mut cx) else { panic!("three bytes are too many") };
        assert_eq!(status.code(), tonic::Code::ResourceExhausted);
        assert!(status.message().starts_with("a message of 3 bytes is longer than the 2"), "{status}");
        let mut outgoing = Outgoing::new(request()).with_message_max(Some(3));
        assert!(matches!(outgoing.payload(&mut cx), Payload::Whole(_)));
    }

    #[test]
    fn a_stream_is_replayable_until_more_was_sent_than_is_kept() {
        let mut stream = RequestStream::new(Body::empty(), None);
        stream.push(Bytes::from(vec![7; STREAM_REPLAY_LIMIT + 1]));
        assert!(stream.replayable, "nothing was sent");
        assert!(stream.take().is_some());
        assert!(!stream.replayable);
    }
}
