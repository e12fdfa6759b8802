//! The readers of a response's head and trailers, as functions of bytes: see
//! [`fuzzing`](crate::fuzzing).
//!
//! A response is written as text: lines of `name: value`, an empty line, the body, a line with a
//! dot, and lines of trailers.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use futures_core::Stream as _;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use http_body::{Body, Frame};
use meshless_core::{MessageScanner, Pushback};
use tonic::codec::{Codec as _, Streaming};
use tonic::metadata::{KeyAndValueRef, MetadataMap};
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckResponse;
use tonic_prost::ProstCodec;

use super::response_head::{self, Follows};
use super::{Outgoing, Refusal, grpc_status, not_grpc};
use crate::shared::grpc::grpc_code;
use crate::shared::orca;

/// Headers or trailers: tonic reads what was sent, and nothing else changes.
pub(crate) fn response_headers(data: &[u8]) {
    let sent = fields(data);
    let mut headers = sent.clone();
    let code = grpc_status::repair(&mut headers);
    let status = Status::from_header_map(&headers);
    assert_eq!(status.as_ref().map(Status::code), code);
    let last = sent.get_all(Status::GRPC_STATUS).iter().next_back();
    let number = last.map(|last| last.to_str().ok().and_then(|text| text.trim_ascii().parse::<i128>().ok()));
    assert_eq!(
        code.map(i32::from),
        number.map(|n| n.and_then(|n| i32::try_from(n).ok()).filter(|n| (0..=16).contains(n)).unwrap_or(2))
    );
    let mut again = headers.clone();
    assert_eq!(grpc_status::repair(&mut again), code);
    assert_eq!(again, headers, "what is repaired stays as it is");
    let is_status = |name: &&HeaderName| {
        ["grpc-status", "grpc-message", "grpc-status-details-bin"].contains(&name.as_str())
    };
    for name in sent.keys().filter(|name| !is_status(name)) {
        assert!(sent.get_all(name).iter().eq(headers.get_all(name).iter()), "{name} stays as it was sent");
    }
    assert!(headers.keys().all(|name| is_status(&name) || sent.contains_key(name)));
    if let Some(status) = status {
        assert!(status.message().len() <= (16 << 10) + 3);
        let _ = (format!("{status:?}"), status.details().len());
    }
    assert!(grpc_status::message(&headers).len() <= 10 * 257);
    read_as_callers_do(&headers);
}

/// Reads everything that a caller can read.
fn read_as_callers_do(headers: &HeaderMap) {
    let _ = (orca::read(headers), grpc_code(headers));
    let _ = headers.get(Pushback::METADATA).map(|value| Pushback::parse(value.as_bytes()));
    let mut response = http::Response::new(http_body_util::Empty::<Bytes>::new());
    *response.headers_mut() = headers.clone();
    let _ = Refusal::of(&response).map(|refusal| refusal.describe(headers));
    for entry in MetadataMap::from_headers(headers.clone()).iter() {
        match entry {
            KeyAndValueRef::Ascii(_, value) => drop(value.to_str().map(str::len)),
            KeyAndValueRef::Binary(_, value) => drop(value.to_bytes()),
        }
    }
}

/// A whole response, gRPC or not. The first two bytes are its HTTP status, and if it ends with its
/// head.
pub(crate) fn http_answer(data: &[u8]) {
    let Some(([status, flags], text)) = data.split_first_chunk() else { return };
    let (head, rest) = cut(text, b"\n\n");
    let (body, trailers) = cut(rest, b"\n.\n");
    let ended = flags & 1 != 0;
    let mut response = http::Response::new(());
    // Often 200, since all other statuses take the same path.
    let status = if *status < 128 { 200 } else { 200 + u16::from(status - 128) * 3 };
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or_default();
    *response.headers_mut() = fields(head);
    let request = http::Request::post("http://a/b/c").header("grpc-accept-encoding", "gzip");
    let Ok(request) = request.body(tonic::body::Body::empty()) else { return };
    let (mut parts, ()) = response.into_parts();
    match response_head::read(&mut parts, ended, &Outgoing::new(request)) {
        Follows::NotGrpc => {
            let (code, words) = not_grpc::judge(&parts, body);
            assert_ne!(code, Code::Ok);
            assert!(words.len() < 10_000 && !words.contains(char::is_control), "{words}");
        }
        Follows::Nothing => read_as_callers_do(&parts.headers),
        Follows::Messages => read_messages(&parts, body, (flags & 2 != 0).then(|| fields(trailers))),
    }
}

/// Reads the messages as tonic's clients do. The end is OK only if the response is complete.
fn read_messages(head: &http::response::Parts, body: &[u8], trailers: Option<HeaderMap>) {
    let mut messages = MessageScanner::new(false, None);
    let _ = messages.pass(body);
    let mut frames = vec![Frame::data(Bytes::copy_from_slice(body))];
    let mut is_ok = false;
    if let Some(mut trailers) = trailers
        && let Some(code) = grpc_status::repair(&mut trailers)
    {
        is_ok = code == Code::Ok && messages.is_between_messages();
        if code != Code::Ok || is_ok {
            frames.push(Frame::trailers(trailers));
        }
    }
    frames.reverse();
    let decoder = ProstCodec::<(), HealthCheckResponse>::default().decoder();
    let mut stream = Streaming::new_response(decoder, Frames(frames), head.status, None, None);
    let mut cx = Context::from_waker(Waker::noop());
    while let Poll::Ready(next) = Pin::new(&mut stream).poll_next(&mut cx) {
        match next {
            Some(Ok(_)) => {}
            Some(Err(status)) => return assert_ne!(status.code(), Code::Ok),
            None => return assert!(is_ok, "an OK of what is not complete"),
        }
    }
}

struct Frames(Vec<Frame<Bytes>>);

impl Body for Frames {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        Poll::Ready(self.0.pop().map(Ok))
    }
}

fn fields(text: &[u8]) -> HeaderMap {
    let field = |line: &[u8]| {
        let (name, value) = cut(line, b": ");
        Some((HeaderName::from_bytes(name).ok()?, HeaderValue::from_bytes(value).ok()?))
    };
    let mut headers = HeaderMap::new();
    for (name, value) in text.split(|byte| *byte == b'\n').filter_map(field) {
        headers.append(name, value);
    }
    headers
}

/// Splits at the first `mark`; returns all of it and nothing if there is none.
fn cut<'a>(text: &'a [u8], mark: &[u8]) -> (&'a [u8], &'a [u8]) {
    match text.windows(mark.len()).position(|window| window == mark) {
        Some(at) => (&text[..at], &text[at + mark.len()..]),
        None => (text, &[]),
    }
}
