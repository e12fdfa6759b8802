//! Reads the head of a response: messages follow, or the call has ended, or it is not gRPC.
//!
//! [`attempt`](super::attempt()) calls it for every response. It changes the head where tonic would
//! read something that the server did not say.

use http::StatusCode;
use http::header::HeaderName;
use http::response::Parts;
use tonic::Code;

use super::grpc_status;
use super::outgoing::Outgoing;
use crate::shared::grpc::content_type::is_grpc;

/// What comes after the head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Follows {
    /// Messages, and then trailers with the status.
    Messages,
    /// Nothing more: the head has the status ("Trailers-Only").
    Nothing,
    /// Any content of a server that does not speak gRPC.
    NotGrpc,
}

/// Reads a head, and repairs it.
pub(super) fn read(head: &mut Parts, is_end_stream: bool, request: &Outgoing) -> Follows {
    match grpc_status::repair(&mut head.headers) {
        // "If grpc-status was provided, it must be used" (http-grpc-status-mapping.md), with any
        // HTTP status. An error ends the call with the head even if END_STREAM comes later: some
        // HTTP/2 libraries cannot end a stream with headers, and send an empty DATA.
        Some(code) if is_end_stream || code != Code::Ok => {
            // tonic fails the call because of an unknown encoding before it reads the status.
            head.headers.remove(ENCODING);
            return Follows::Nothing;
        }
        // Only the trailers can say OK: messages are still to come.
        Some(_) => grpc_status::remove(&mut head.headers),
        None => {}
    }
    if is_end_stream || head.status != StatusCode::OK || !is_grpc(&head.headers) {
        return Follows::NotGrpc;
    }
    check_encoding(head, request);
    Follows::Messages
}

/// The response names an encoding that the request did not offer. A message that uses it cannot be
/// read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UnofferedEncoding;

/// Removes an encoding that was not offered. With it, tonic would end the call with UNIMPLEMENTED,
/// as if the method did not exist. As in grpc-go, the call goes on until a message is compressed.
fn check_encoding(head: &mut Parts, request: &Outgoing) {
    let Some(encoding) = head.headers.get(ENCODING) else { return };
    if encoding != "identity" && !request.offers(encoding) {
        head.headers.remove(ENCODING);
        head.extensions.insert(UnofferedEncoding);
    }
}

const ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");

#[cfg(test)]
mod tests {
    use super::*;

    use tonic::body::Body;

    fn head(status: u16, headers: &[(&str, &str)]) -> Parts {
        let builder = http::Response::builder().status(status);
        let builder = headers.iter().fold(builder, |builder, (name, value)| builder.header(*name, *value));
        builder.body(()).unwrap().into_parts().0
    }

    fn request() -> Outgoing {
        let request = http::Request::post("http://shop/orders.Orders/Get");
        Outgoing::new(request.header("grpc-accept-encoding", "gzip, zstd").body(Body::empty()).unwrap())
    }

    const OK: (&str, &str) = ("grpc-status", "0");
    const FULL: (&str, &str) = ("grpc-status", "14");
    const TYPE: (&str, &str) = ("content-type", "application/grpc");

    #[test]
    fn the_rest_follows_from_the_status_and_the_content_type() {
        for (status, headers, ended, follows) in [
            (200, &[TYPE][..], false, Follows::Messages),
            (200, &[TYPE, OK], false, Follows::Messages),
            (200, &[TYPE, OK], true, Follows::Nothing),
            (200, &[TYPE, FULL], true, Follows::Nothing),
            (200, &[TYPE, FULL], false, Follows::Nothing),
            // nginx's response in place of a gRPC server.
            (204, &[TYPE, FULL], true, Follows::Nothing),
            (503, &[("content-type", "text/html"), FULL], false, Follows::Nothing),
            (200, &[TYPE], true, Follows::NotGrpc),
            (200, &[], false, Follows::NotGrpc),
            (200, &[("content-type", "text/html")], false, Follows::NotGrpc),
            (200, &[("content-type", "text/html"), OK], false, Follows::NotGrpc),
            (502, &[TYPE], false, Follows::NotGrpc),
            (502, &[], true, Follows::NotGrpc),
            (302, &[("location", "/login")], true, Follows::NotGrpc),
        ] {
            let mut head = head(status, headers);
            assert_eq!(read(&mut head, ended, &request()), follows, "{status} {headers:?} {ended}");
        }
    }

    #[test]
    fn an_ok_before_the_messages_is_taken_out() {
        let mut head = head(200, &[TYPE, OK, ("grpc-message", "fine"), ("x-tag", "one")]);
        read(&mut head, false, &request());
        assert_eq!(head.headers, super::tests::head(200, &[TYPE, ("x-tag", "one")]).headers);
    }

    #[test]
    fn an_encoding_that_was_not_offered_is_taken_out() {
        for (encoding, offered) in
            [("gzip", true), ("zstd", true), ("identity", true), ("br", false), ("", false)]
        {
            let mut head = head(200, &[TYPE, ("grpc-encoding", encoding)]);
            read(&mut head, false, &request());
            assert_eq!(head.headers.contains_key(ENCODING), offered, "{encoding}");
            assert_eq!(head.extensions.get::<UnofferedEncoding>().is_none(), offered, "{encoding}");
        }
        let mut ended = head(200, &[TYPE, FULL, ("grpc-encoding", "br")]);
        read(&mut ended, true, &request());
        assert!(!ended.headers.contains_key(ENCODING), "tonic sees the status and nothing else");
    }
}
