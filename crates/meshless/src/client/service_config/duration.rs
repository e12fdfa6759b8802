//! Durations in a service config: protobuf's JSON form, seconds as a decimal number with an `s`.

use std::time::Duration;

/// Parses "1.5s". gRFC A6 omits the zero before the point (".1s"), so that is read too. Returns
/// `None` if it is not a duration, or negative.
pub(super) fn parse_duration(text: &str) -> Option<Duration> {
    let number = text.strip_suffix('s')?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !is_digits(whole) || !is_digits(fraction) {
        return None;
    }
    if fraction.len() > NANOSECOND_DIGITS {
        return None;
    }
    let seconds = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let nanoseconds = format!("{fraction:0<NANOSECOND_DIGITS$}").parse().ok()?;
    (seconds <= SECONDS_MAX).then(|| Duration::new(seconds, nanoseconds))
}

const NANOSECOND_DIGITS: usize = 9;

/// protobuf's `Duration`: ten thousand years.
const SECONDS_MAX: u64 = 315_576_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_parse_by_protobuf_s_json_mapping() {
        for (text, ms) in
            [("1.5s", 1500), ("2s", 2000), (".1s", 100), ("0.050s", 50), ("0s", 0), ("3.s", 3000)]
        {
            assert_eq!(parse_duration(text), Some(Duration::from_millis(ms)), "{text}");
        }
        assert_eq!(parse_duration("0.000000001s"), Some(Duration::from_nanos(1)));
        for malformed in [
            "",
            "s",
            ".s",
            "1",
            "-1s",
            "+1s",
            "1e3s",
            "1.0000000001s",
            "1 s",
            "1ms",
            "315576000001s",
            "9e99s",
        ] {
            assert_eq!(parse_duration(malformed), None, "{malformed}");
        }
    }
}
