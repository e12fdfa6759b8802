//! The header `grpc-timeout`, which carries a client's deadline (gRPC over HTTP/2, "Timeout").
//!
//! Written by the channel, read by the channel (tonic's `Request::set_timeout` sets it) and by the
//! server.

use std::io::Write;
use std::time::Duration;

use http::{HeaderMap, HeaderValue};

/// The header's name.
pub(crate) const GRPC_TIMEOUT: &str = "grpc-timeout";

/// Returns the timeout in the headers; `None` without the header, or if it cannot be parsed (as in
/// tonic).
pub(crate) fn read(headers: &HeaderMap) -> Option<Duration> {
    headers.get(GRPC_TIMEOUT).and_then(|value| parse(value.as_bytes()))
}

/// Returns `timeout` as a header value: in the finest unit that needs at most eight digits, rounded
/// down.
pub(crate) fn header(timeout: Duration) -> HeaderValue {
    let units = [
        (timeout.as_nanos(), 'n'),
        (timeout.as_micros(), 'u'),
        (timeout.as_millis(), 'm'),
        (u128::from(timeout.as_secs()), 'S'),
        (u128::from(timeout.as_secs() / 60), 'M'),
        (u128::from(timeout.as_secs() / 3600), 'H'),
    ];
    let (number, unit) =
        units.into_iter().find(|(number, _)| *number <= EIGHT_DIGITS).unwrap_or((EIGHT_DIGITS, 'H'));
    let mut text = [0; 9];
    let mut rest = &mut text[..];
    write!(rest, "{number}{unit}").expect("eight digits and a letter are nine bytes");
    let unused = rest.len();
    HeaderValue::from_bytes(&text[..text.len() - unused]).expect("digits and a letter are a header value")
}

/// Parses `TimeoutValue TimeoutUnit`: "positive integer as ASCII string of at most 8 digits".
fn parse(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = digits.iter().fold(0u64, |number, digit| number * 10 + u64::from(digit - b'0'));
    Some(match unit {
        b'H' => Duration::from_secs(number * 3600),
        b'M' => Duration::from_secs(number * 60),
        b'S' => Duration::from_secs(number),
        b'm' => Duration::from_millis(number),
        b'u' => Duration::from_micros(number),
        b'n' => Duration::from_nanos(number),
        _ => return None,
    })
}

const EIGHT_DIGITS: u128 = 99_999_999;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_parse_by_the_specification() {
        assert_eq!(parse(b"300m"), Some(Duration::from_millis(300)));
        assert_eq!(parse(b"99999999H"), Some(Duration::from_secs(99_999_999 * 3600)));
        assert_eq!(parse(b"1u"), Some(Duration::from_micros(1)));
        for malformed in ["", "m", "5", "-1S", "1.5S", "123456789S", "1s", "+1S"] {
            assert_eq!(parse(malformed.as_bytes()), None, "{malformed}");
        }
    }

    #[test]
    fn what_is_written_reads_back_without_growing() {
        for timeout in [0, 1, 999, 99_999_999, 100_000_000, 300_000_000, u64::MAX / 3] {
            let timeout = Duration::from_nanos(timeout);
            let read = parse(header(timeout).as_bytes()).unwrap();
            assert!(read <= timeout && timeout - read <= timeout / 1000, "{timeout:?} became {read:?}");
        }
        assert_eq!(header(Duration::MAX), "99999999H");
    }
}
