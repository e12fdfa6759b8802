//! A response that is not gRPC: from a proxy, a load balancer, or a web server on the wrong port.
//!
//! The code depends only on the HTTP status, by gRPC's table, and not on the body. The message
//! tells the HTTP status, the content type, and the start of the body, which often names the proxy
//! and its reason.

use std::fmt::Write as _;
use std::time::Duration;

use h2::RecvStream;
use http::header::{CONTENT_TYPE, LOCATION};
use http::response::Parts;
use http::{HeaderMap, StatusCode};
use tonic::Code;

use super::grpc_status;
use crate::shared::peer_text::{PEER_TEXT_BYTES_MAX, peer_text};

/// Reads the start of the body, and returns the code of the call and what came.
pub(super) async fn describe(head: Parts, stream: &mut RecvStream) -> (Code, String) {
    let (body, trailers) = read_start(stream).await;
    if let Some(mut trailers) = trailers
        && let Some(code) = grpc_status::repair(&mut trailers)
        && code != Code::Ok
    {
        // "If grpc-status was provided, it must be used."
        return (code, grpc_status::message(&trailers));
    }
    judge(&head, &body)
}

/// Returns the code of the call and a description, from what was read.
pub(super) fn judge(head: &Parts, body: &[u8]) -> (Code, String) {
    (code(head.status), words(head.status, &head.headers, body))
}

fn words(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> String {
    let mut words = format!("HTTP status {status}");
    for name in [CONTENT_TYPE, LOCATION] {
        match headers.get(&name) {
            Some(value) => quote(&mut words, &name, value.as_bytes()),
            None if name == CONTENT_TYPE => words.push_str(", no content-type"),
            None => {}
        }
    }
    match body {
        [] => words.push_str(", no body"),
        body => quote(&mut words, "body", body),
    }
    words
}

fn quote(words: &mut String, name: impl AsRef<str>, value: &[u8]) {
    // Writing to a `String` cannot fail.
    let _ = write!(words, ", {} \"{}\"", name.as_ref(), peer_text(value));
}

/// Reads as much of the body as is quoted. Returns also the trailers if they come before that.
async fn read_start(stream: &mut RecvStream) -> (Vec<u8>, Option<HeaderMap>) {
    let (mut body, mut trailers) = (Vec::new(), None);
    let read = async {
        while let Some(bytes) = stream.data().await {
            // If a body breaks off, the part that came is quoted.
            let Ok(bytes) = bytes else { return };
            // Fails only for a stream that has ended.
            let _ = stream.flow_control().release_capacity(bytes.len());
            let rest = BODY_START_MAX - body.len();
            body.extend_from_slice(&bytes[..bytes.len().min(rest)]);
            if body.len() == BODY_START_MAX {
                return;
            }
        }
        trailers = stream.trailers().await.ok().flatten();
    };
    let _ = tokio::time::timeout(BODY_WAIT, read).await;
    (body, trailers)
}

/// Returns the code that the HTTP status means without `grpc-status` (gRPC's
/// http-grpc-status-mapping.md).
fn code(status: StatusCode) -> Code {
    match status {
        StatusCode::BAD_REQUEST => Code::Internal,
        StatusCode::UNAUTHORIZED => Code::Unauthenticated,
        StatusCode::FORBIDDEN => Code::PermissionDenied,
        StatusCode::NOT_FOUND => Code::Unimplemented,
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => Code::Unavailable,
        _ => Code::Unknown,
    }
}

/// Bytes of the body that are read: those that are quoted, and one more to see if it goes on.
const BODY_START_MAX: usize = PEER_TEXT_BYTES_MAX + 1;

/// How long to wait for the start of the body. Longer than a round trip, and short for a caller
/// whose call has already failed: a page that never ends must not hold the call until its deadline.
const BODY_WAIT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_say_what_came() {
        let headers = |list: &[(http::HeaderName, &'static str)]| -> HeaderMap {
            list.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect()
        };
        let html = headers(&[(CONTENT_TYPE, "text/html")]);
        let page = b"<html>\r\n<h1>502 Bad Gateway</h1>";
        let expected = "HTTP status 502 Bad Gateway, content-type \"text/html\", body \"<html>\\r\\n<h1>502 Bad Gateway</h1>\"";
        assert_eq!(words(StatusCode::BAD_GATEWAY, &html, page), expected);
        let moved = headers(&[(LOCATION, "https://login/")]);
        let expected = "HTTP status 302 Found, no content-type, location \"https://login/\", no body";
        assert_eq!(words(StatusCode::FOUND, &moved, b""), expected);
    }

    #[test]
    fn each_http_status_has_its_code() {
        for (status, expected) in [
            (400, Code::Internal),
            (401, Code::Unauthenticated),
            (403, Code::PermissionDenied),
            (404, Code::Unimplemented),
            (429, Code::Unavailable),
            (502, Code::Unavailable),
            (503, Code::Unavailable),
            (504, Code::Unavailable),
            (200, Code::Unknown),
            (302, Code::Unknown),
            (413, Code::Unknown),
            (500, Code::Unknown),
            (999, Code::Unknown),
        ] {
            assert_eq!(code(StatusCode::from_u16(status).unwrap()), expected, "{status}");
        }
    }
}
