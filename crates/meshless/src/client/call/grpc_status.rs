//! Repairs the status of a response before tonic reads it: `grpc-status`, `grpc-message`,
//! `grpc-status-details-bin`.
//!
//! tonic panics if the details are not base64, replaces the code by UNKNOWN if the message is not
//! UTF-8, and accepts only one spelling of each code. So all heads and trailers pass here first. No
//! input of a peer then causes a panic or changes the code:
//!
//! | header | what other implementations do | here |
//! |---|---|---|
//! | `grpc-status: 007`, `+7`, ` 7` | grpc-go and C-core parse an integer | 7 |
//! | `grpc-status: 17`, `-1`, `x`, empty | C-core: UNKNOWN | UNKNOWN, and the message quotes it |
//! | several `grpc-status` or `grpc-message` | grpc-go, grpc-java and C-core: the last one counts | the last one |
//! | `grpc-message` that is not UTF-8 | "implementations MUST NOT error or throw away the message" | U+FFFD for each bad byte |
//! | `grpc-status-details-bin` that is not base64 | grpc-go logs it and goes on | left out |

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, CONTROLS, percent_decode, utf8_percent_encode};
use tonic::metadata::MetadataMap;
use tonic::{Code, Status};

use crate::shared::peer_text::peer_text;

/// Rewrites the status in `headers` as tonic reads it, and returns its code. `None` if there is no
/// status.
pub(super) fn repair(headers: &mut HeaderMap) -> Option<Code> {
    let code = repair_code(headers)?;
    repair_message(headers);
    repair_details(headers);
    Some(code)
}

/// Removes a status that does not count.
pub(super) fn remove(headers: &mut HeaderMap) {
    headers.remove(Status::GRPC_STATUS);
    headers.remove(Status::GRPC_MESSAGE);
    headers.remove(DETAILS);
}

/// Returns the message of a status, cut and escaped for one of our own texts; empty if there is
/// none.
pub(super) fn message(headers: &HeaderMap) -> String {
    headers.get(Status::GRPC_MESSAGE).map(|value| peer_text(&*decode(value))).unwrap_or_default()
}

fn repair_code(headers: &mut HeaderMap) -> Option<Code> {
    let (last, is_only) = last(headers, Status::GRPC_STATUS)?;
    let parsed = parse_code(last.as_bytes());
    let code = parsed.unwrap_or(Code::Unknown);
    if is_only && matches!(last.as_bytes(), [b'0'..=b'9'] | [b'1', b'0'..=b'6']) {
        return Some(code);
    }
    if parsed.is_none() && !headers.contains_key(Status::GRPC_MESSAGE) {
        let message =
            format!("the server's grpc-status is \"{}\", which is no code", peer_text(last.as_bytes()));
        set_message(headers, &message);
    }
    headers.insert(Status::GRPC_STATUS, HeaderValue::from(i32::from(code)));
    Some(code)
}

fn parse_code(value: &[u8]) -> Option<Code> {
    let number: i64 = std::str::from_utf8(value).ok()?.trim_ascii().parse().ok()?;
    let number = i32::try_from(number).ok().filter(|number| (0..=CODE_MAX).contains(number))?;
    Some(Code::from_i32(number))
}

fn repair_message(headers: &mut HeaderMap) {
    let Some((last, is_only)) = last(headers, Status::GRPC_MESSAGE) else { return };
    let decoded = percent_decode(last.as_bytes()).decode_utf8();
    if is_only && decoded.is_ok_and(|text| text.len() <= STATUS_MESSAGE_MAX) {
        return;
    }
    let text = decode(&last);
    let message = if text.len() > STATUS_MESSAGE_MAX { cut(&text) } else { text.into_owned() };
    set_message(headers, &message);
}

fn cut(text: &str) -> String {
    // A character has at most four bytes.
    let kept = (STATUS_MESSAGE_MAX - 3..=STATUS_MESSAGE_MAX).rev().find(|at| text.is_char_boundary(*at));
    format!("{}…", &text[..kept.unwrap_or(0)])
}

fn repair_details(headers: &mut HeaderMap) {
    let Some((last, is_only)) = last(headers, DETAILS) else { return };
    if !is_base64(&last) {
        headers.remove(DETAILS);
    } else if !is_only {
        headers.insert(DETAILS, last);
    }
}

/// Returns true if tonic can decode this value. It asks tonic itself, so both agree.
fn is_base64(value: &HeaderValue) -> bool {
    let mut alone = HeaderMap::with_capacity(1);
    alone.insert(DETAILS, value.clone());
    let metadata = MetadataMap::from_headers(alone);
    metadata.get_bin(DETAILS.as_str()).is_some_and(|value| value.to_bytes().is_ok())
}

fn decode(value: &HeaderValue) -> Cow<'_, str> {
    percent_decode(value.as_bytes()).decode_utf8_lossy()
}

fn set_message(headers: &mut HeaderMap, message: &str) {
    let encoded = utf8_percent_encode(message, ENCODED).to_string();
    match HeaderValue::try_from(encoded) {
        Ok(value) => drop(headers.insert(Status::GRPC_MESSAGE, value)),
        // This does not happen: percent-encoded text is ASCII without control characters.
        Err(_) => drop(headers.remove(Status::GRPC_MESSAGE)),
    }
}

/// Returns the last value of a header, and true if it is the only one.
fn last(headers: &HeaderMap, name: impl http::header::AsHeaderName) -> Option<(HeaderValue, bool)> {
    let mut values = headers.get_all(name).iter();
    let last = values.next_back()?.clone();
    Some((last, values.next().is_none()))
}

const DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");

/// UNAUTHENTICATED, gRPC's last code.
const CODE_MAX: i32 = 16;

/// Bytes of a server's message that the caller gets: 16 KiB. The application wrote the message, so
/// it is neither escaped nor cut to a line. C-core refuses responses with more than 16 KiB of
/// metadata, so a longer message would not reach every client anyway.
const STATUS_MESSAGE_MAX: usize = 16 << 10;

/// ASCII characters that are percent-encoded in `grpc-message` (PROTOCOL-HTTP2.md,
/// "Percent-Byte-Unencoded").
const ENCODED: &AsciiSet = &CONTROLS.add(b'%');

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(list: &[(&'static str, &[u8])]) -> HeaderMap {
        let value = |value: &[u8]| HeaderValue::from_bytes(value).unwrap();
        list.iter().map(|(name, bytes)| (HeaderName::from_static(name), value(bytes))).collect()
    }

    /// Returns the status that tonic reads from the repaired headers.
    fn status(list: &[(&'static str, &[u8])]) -> Status {
        let mut headers = headers(list);
        let code = repair(&mut headers).unwrap();
        let status = Status::from_header_map(&headers).unwrap();
        assert_eq!(status.code(), code, "the channel and the caller see the same code");
        status
    }

    #[test]
    fn codes_are_integers_in_any_spelling() {
        for (written, code) in [
            (&b"0"[..], Code::Ok),
            (b"00", Code::Ok),
            (b"007", Code::PermissionDenied),
            (b"+1", Code::Cancelled),
            (b" 14 ", Code::Unavailable),
            (b"16", Code::Unauthenticated),
        ] {
            let status = status(&[("grpc-status", written), ("grpc-message", b"why")]);
            assert_eq!((status.code(), status.message()), (code, "why"), "{written:?}");
        }
    }

    #[test]
    fn what_is_no_code_is_unknown_and_is_quoted() {
        for written in
            [&b"17"[..], b"-1", b"", b"OK", b"0x1", b"99999999999999999999", b"1.0", b"\xff", b"0,0"]
        {
            let status = status(&[("grpc-status", written)]);
            assert_eq!(status.code(), Code::Unknown, "{written:?}");
            assert!(status.message().contains("which is no code"), "{status}");
        }
        assert_eq!(status(&[("grpc-status", b"99"), ("grpc-message", b"why")]).message(), "why");
    }

    #[test]
    fn the_last_of_several_counts() {
        let status = status(&[
            ("grpc-status", b"0"),
            ("grpc-status", b"5"),
            ("grpc-message", b"first"),
            ("grpc-message", b"second"),
            ("grpc-status-details-bin", b"%%%"),
            ("grpc-status-details-bin", b"aGk"),
        ]);
        assert_eq!(
            (status.code(), status.message(), status.details()),
            (Code::NotFound, "second", &b"hi"[..])
        );
    }

    #[test]
    fn details_that_cannot_be_read_are_left_out() {
        for (details, read) in [
            (&b"aGk="[..], &b"hi"[..]),
            (b"aGk", b"hi"),
            (b"", b""),
            (b"not base64!", b""),
            (b"aGk===", b""),
            (b"aGk=,aGk=", b""),
            (b"a", b""),
            (b"_-8", b""),
            (b"\xff\xfe", b""),
        ] {
            let status = status(&[
                ("grpc-status", b"9"),
                ("grpc-message", b"why"),
                ("grpc-status-details-bin", details),
            ]);
            let seen = (status.code(), status.message(), status.details());
            assert_eq!(seen, (Code::FailedPrecondition, "why", read), "{details:?}");
        }
    }

    #[test]
    fn a_message_never_changes_the_code() {
        for (message, read) in [
            (&b"100%"[..], "100%"),
            (b"%", "%"),
            (b"%zz%4", "%zz%4"),
            (b"a%20b", "a b"),
            (b"%ff%fe", "\u{fffd}\u{fffd}"),
            (b"\xc3\xbc", "ü"),
            (b"\xff", "\u{fffd}"),
            (b"%c3%bc\xff%0a", "ü\u{fffd}\n"),
        ] {
            let status = status(&[("grpc-status", b"13"), ("grpc-message", message)]);
            assert_eq!((status.code(), status.message()), (Code::Internal, read), "{message:?}");
        }
    }

    #[test]
    fn a_message_is_cut_at_its_limit() {
        let long = "ü".repeat(STATUS_MESSAGE_MAX);
        let status = status(&[("grpc-status", b"2"), ("grpc-message", long.as_bytes())]);
        assert_eq!(status.message(), format!("{}…", &long[..STATUS_MESSAGE_MAX]));
        let whole = "x".repeat(STATUS_MESSAGE_MAX);
        let kept = self::status(&[("grpc-status", b"2"), ("grpc-message", whole.as_bytes())]);
        assert_eq!(kept.message(), whole);
    }

    #[test]
    fn a_status_that_is_right_is_not_touched() {
        let list: &[(&'static str, &[u8])] = &[
            ("grpc-status", b"5"),
            ("grpc-message", b"not%20here"),
            ("grpc-status-details-bin", b"aGk"),
            ("x-tag", b"one"),
        ];
        let mut repaired = headers(list);
        assert_eq!(repair(&mut repaired), Some(Code::NotFound));
        assert_eq!(repaired, headers(list));
        assert_eq!(repair(&mut HeaderMap::new()), None);
    }
}
