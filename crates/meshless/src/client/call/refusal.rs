//! A response that consists of an error only: a retry policy may send its call again.
//!
//! gRFC A6: a call is committed when "the client receives Response-Headers". A Trailers-Only
//! response has none: its one block of headers is the trailers.

use http::HeaderMap;
use http_body::Body;
use meshless_core::{Code, Pushback};

use super::grpc_status;
use crate::shared::grpc::{core_code, grpc_code};

/// The status of a response that ends its call at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refusal {
    pub(crate) code: Code,
    /// The server's instruction about another attempt.
    pub(crate) pushback: Option<Pushback>,
}

impl Refusal {
    /// Returns `None` if the response is no refusal: it succeeded, or more follows.
    pub(crate) fn of<B: Body>(response: &http::Response<B>) -> Option<Self> {
        if !response.body().is_end_stream() {
            return None;
        }
        let headers = response.headers();
        let code = core_code(grpc_code(headers));
        let pushback = headers.get(Pushback::METADATA).map(|value| Pushback::parse(value.as_bytes()));
        (code != Code::Ok).then_some(Self { code, pushback })
    }

    /// Returns the code and the server's message, for the status of a call that finally fails
    /// elsewhere.
    pub(crate) fn describe(self, headers: &HeaderMap) -> String {
        let code = self.code;
        match grpc_status::message(headers) {
            message if message.is_empty() => code.to_string(),
            message => format!("{code}: {message}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use http_body_util::{Empty, Full};

    fn trailers_only(headers: &[(&'static str, &'static str)]) -> http::Response<Empty<bytes::Bytes>> {
        let builder = http::Response::builder();
        let builder = headers.iter().fold(builder, |builder, (name, value)| builder.header(*name, *value));
        builder.body(Empty::new()).unwrap()
    }

    #[test]
    fn trailers_without_headers_are_a_refusal() {
        let headers =
            [("grpc-status", "14"), ("grpc-message", "full%20up"), ("grpc-retry-pushback-ms", "20")];
        let response = trailers_only(&headers);
        let refusal = Refusal::of(&response).unwrap();
        assert_eq!(refusal.code, Code::Unavailable);
        assert_eq!(refusal.pushback, Some(Pushback::After(Duration::from_millis(20))));
        assert_eq!(refusal.describe(response.headers()), "UNAVAILABLE: full up");
        assert!(Refusal::of(&trailers_only(&[("grpc-status", "0")])).is_none(), "a success");
    }

    #[test]
    fn headers_commit_whatever_they_say() {
        let response = http::Response::builder().header("grpc-status", "14");
        let response = response.body(Full::new(bytes::Bytes::from_static(b"message"))).unwrap();
        assert!(Refusal::of(&response).is_none());
    }
}
