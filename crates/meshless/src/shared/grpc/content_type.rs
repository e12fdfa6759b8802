//! Which content types are gRPC.

use http::HeaderMap;
use http::header::CONTENT_TYPE;

/// Returns true for `application/grpc`, alone or with a subtype or parameters (PROTOCOL-HTTP2.md,
/// "Content-Type").
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    rest_after(GRPC, headers).is_some_and(ends_type)
}

/// Returns true for `application/grpc-web` and `application/grpc-web-text`, alone or with a subtype
/// or parameters (PROTOCOL-WEB.md).
pub(crate) fn is_grpc_web(headers: &HeaderMap) -> bool {
    [GRPC_WEB_TEXT, GRPC_WEB].iter().any(|name| rest_after(name, headers).is_some_and(ends_type))
}

fn rest_after<'a>(name: &[u8], headers: &'a HeaderMap) -> Option<&'a [u8]> {
    let (start, rest) = headers.get(CONTENT_TYPE)?.as_bytes().split_at_checked(name.len())?;
    start.eq_ignore_ascii_case(name).then_some(rest)
}

fn ends_type(rest: &[u8]) -> bool {
    matches!(rest, [] | [b'+' | b';' | b' ', ..])
}

const GRPC: &[u8] = b"application/grpc";
const GRPC_WEB: &[u8] = b"application/grpc-web";
const GRPC_WEB_TEXT: &[u8] = b"application/grpc-web-text";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_its_whole_name() {
        for (content_type, grpc, web) in [
            ("application/grpc", true, false),
            ("Application/gRPC", true, false),
            ("application/grpc+proto", true, false),
            ("application/grpc+json; charset=utf-8", true, false),
            ("application/grpc;charset=utf-8", true, false),
            ("application/grpc ; x", true, false),
            ("application/grpc-web", false, true),
            ("application/grpc-web+proto", false, true),
            ("application/grpc-web-text;x", false, true),
            ("application/grpc-webby", false, false),
            ("application/grpcx", false, false),
            ("application/json", false, false),
            ("", false, false),
        ] {
            let headers = HeaderMap::from_iter([(CONTENT_TYPE, content_type.parse().unwrap())]);
            assert_eq!((is_grpc(&headers), is_grpc_web(&headers)), (grpc, web), "{content_type}");
        }
        assert!(!is_grpc(&HeaderMap::new()));
    }
}
