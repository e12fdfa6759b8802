//! The server's instruction about sending a failed call again: the trailer `grpc-retry-pushback-ms`
//! (gRFC A6, "Pushback").

use std::time::Duration;

/// A server's instruction about another attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushback {
    /// Retry not before this time from now.
    After(Duration),
    /// Do not retry.
    Stop,
}

impl Pushback {
    /// The metadata's name.
    pub const METADATA: &'static str = "grpc-retry-pushback-ms";

    /// Reads the metadata's value: an ASCII-encoded signed 32-bit integer. "If the value for
    /// pushback is negative or unparseable, then it will be seen as the server asking the client
    /// not to retry at all."
    pub fn parse(value: &[u8]) -> Self {
        let ms = std::str::from_utf8(value).ok().and_then(|text| text.parse::<i32>().ok());
        match ms.and_then(|ms| u64::try_from(ms).ok()) {
            Some(ms) => Self::After(Duration::from_millis(ms)),
            None => Self::Stop,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_negative_or_unreadable_asks_not_to_retry() {
        assert_eq!(Pushback::parse(b"0"), Pushback::After(Duration::ZERO));
        assert_eq!(Pushback::parse(b"1500"), Pushback::After(Duration::from_millis(1500)));
        for stop in [&b"-1"[..], b"", b"soon", b"1.5", b" 5", b"\xff", b"2147483648"] {
            assert_eq!(Pushback::parse(stop), Pushback::Stop, "{stop:?}");
        }
    }
}
