//! Recognises a server by its first bytes.
//!
//! h2 only reports "frame with invalid size" for an HTTP/1 answer. The wire calls it; there is no
//! I/O here.

use meshless_core::{FRAME_HEADER_LEN, FrameHeader, FrameKind};

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Greeting {
    /// Too few bytes to tell.
    Unfinished,
    Http2,
    /// Something else; the text names it.
    Other(&'static str),
}

pub(super) fn judge_greeting(bytes: &[u8], ended: bool) -> Greeting {
    if bytes.starts_with(b"HTTP/") {
        return Greeting::Other(
            "it answers in HTTP/1; a gRPC server, or a proxy with HTTP/2 switched on for this port, is needed",
        );
    }
    // A TLS record: alert (0x15) or handshake (0x16), major version 3.
    if matches!(bytes, [0x15 | 0x16, 0x03, ..]) {
        return Greeting::Other("it answers in TLS; connect with TLS, as for https://");
    }
    if let Ok(header) = <&[u8; FRAME_HEADER_LEN]>::try_from(bytes) {
        let frame = FrameHeader::parse(header);
        let is_settings = frame.kind == FrameKind::Settings && frame.stream_id == 0 && !frame.is_ack();
        return if is_settings {
            Greeting::Http2
        } else {
            Greeting::Other("its first bytes are not HTTP/2's SETTINGS; something else listens there")
        };
    }
    if ended {
        return Greeting::Other("it closed the connection before HTTP/2's SETTINGS");
    }
    Greeting::Unfinished
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_judged_by_its_first_bytes() {
        let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
        assert_eq!(judge_greeting(&settings, false), Greeting::Http2);
        for cut in 0..settings.len() {
            assert_eq!(judge_greeting(&settings[..cut], false), Greeting::Unfinished);
            assert!(matches!(judge_greeting(&settings[..cut], true), Greeting::Other(_)));
        }
        let says = |bytes: &[u8], words: &str| match judge_greeting(bytes, false) {
            Greeting::Other(what) => what.contains(words),
            _ => false,
        };
        assert!(says(b"HTTP/1.1 ", "HTTP/1"));
        assert!(says(&[0x15, 3, 1, 0, 2, 2, 70], "TLS"));
        assert!(says(b"SSH-2.0-O", "something else"));
        let ping = [0, 0, 8, 6, 0, 0, 0, 0, 0];
        assert!(says(&ping, "not HTTP/2's SETTINGS"));
    }
}
