//! Scans HTTP/2 frame headers in a byte stream as it passes.
//!
//! An HTTP/2 library shows requests, but meshless must also see frames, such as PINGs and GOAWAY.
//! [`FrameScanner`] gets the bytes in any pieces and reports each frame once, when the last byte of
//! its nine-byte header has passed. It copies nothing, keeps no payload, and never fails: the
//! HTTP/2 library refuses malformed frames.
//!
//! The connections of both ends call it, and the lab counts with it what other clients were sent.

/// Length of a frame header in bytes (RFC 9113 §4.1).
pub const FRAME_HEADER_LEN: usize = 9;

/// The client's connection preface, sent before its first frame (RFC 9113 §3.4).
pub const CLIENT_PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The frame types that meshless looks at, by their codes (RFC 9113 §6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FrameKind {
    /// DATA (0x0).
    Data,
    /// HEADERS (0x1).
    Headers,
    /// RST_STREAM (0x3).
    ResetStream,
    /// SETTINGS (0x4).
    Settings,
    /// PING (0x6).
    Ping,
    /// GOAWAY (0x7).
    GoAway,
    /// WINDOW_UPDATE (0x8).
    WindowUpdate,
    /// CONTINUATION (0x9).
    Continuation,
    /// Any other type, by its code.
    Other(u8),
}

impl FrameKind {
    /// Returns the kind of a type code.
    pub fn from_code(code: u8) -> Self {
        match code {
            0x0 => Self::Data,
            0x1 => Self::Headers,
            0x3 => Self::ResetStream,
            0x4 => Self::Settings,
            0x6 => Self::Ping,
            0x7 => Self::GoAway,
            0x8 => Self::WindowUpdate,
            0x9 => Self::Continuation,
            other => Self::Other(other),
        }
    }
}

/// One frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FrameHeader {
    /// Length of the payload in bytes, without the header's nine bytes.
    pub payload_len: u32,
    /// The type of the frame.
    pub kind: FrameKind,
    /// The flags, whose meaning depends on `kind`. For PING and SETTINGS, 0x1 is ACK.
    pub flags: u8,
    /// The stream; 0 is the connection.
    pub stream_id: u32,
}

impl FrameHeader {
    /// Parses the nine bytes of a header (RFC 9113 §4.1). The reserved bit of the stream id is
    /// dropped.
    pub fn parse(bytes: &[u8; FRAME_HEADER_LEN]) -> Self {
        let [l2, l1, l0, code, flags, s3, s2, s1, s0] = *bytes;
        Self {
            payload_len: u32::from_be_bytes([0, l2, l1, l0]),
            kind: FrameKind::from_code(code),
            flags,
            stream_id: u32::from_be_bytes([s3 & 0x7f, s2, s1, s0]),
        }
    }

    /// Returns true if this is the acknowledgement of a PING or of SETTINGS.
    pub fn is_ack(&self) -> bool {
        matches!(self.kind, FrameKind::Ping | FrameKind::Settings) && self.flags & 0x1 != 0
    }

    /// Returns true if this is the sender's last frame of its stream (END_STREAM).
    pub fn is_end_stream(&self) -> bool {
        matches!(self.kind, FrameKind::Data | FrameKind::Headers) && self.flags & 0x1 != 0
    }

    /// Returns true if this is DATA without bytes that does not end its stream.
    pub fn is_empty_data(&self) -> bool {
        self.kind == FrameKind::Data && self.payload_len == 0 && !self.is_end_stream()
    }

    /// Returns how many bytes of the payload padding can take, with its length byte (RFC 9113
    /// §6.1).
    pub(crate) fn padding_max(&self) -> u32 {
        if self.flags & 0x8 != 0 { 256 } else { 0 }
    }

    /// Returns true if the next frame must be a CONTINUATION: this one carries headers without
    /// END_HEADERS.
    fn leaves_header_block_open(&self) -> bool {
        let carries_headers = matches!(
            self.kind,
            FrameKind::Headers | FrameKind::Continuation | FrameKind::Other(PUSH_PROMISE)
        );
        carries_headers && self.flags & 0x4 == 0
    }
}

/// Finds the frames of one direction of one connection.
#[derive(Clone, Debug)]
pub struct FrameScanner {
    /// Bytes to skip before the next header: the rest of a payload or of the preface.
    skip: usize,
    header: [u8; FRAME_HEADER_LEN],
    filled: usize,
    header_block_open: bool,
}

impl FrameScanner {
    /// Scans what a server sends: frames from the first byte on.
    pub fn from_server() -> Self {
        Self { skip: 0, header: [0; FRAME_HEADER_LEN], filled: 0, header_block_open: false }
    }

    /// Scans what a client sends: the preface, then frames.
    pub fn from_client() -> Self {
        Self { skip: CLIENT_PREFACE.len(), ..Self::from_server() }
    }

    /// Scans `bytes`, and calls `on_frame` for each frame whose header ends within them.
    pub fn scan(&mut self, mut bytes: &[u8], mut on_frame: impl FnMut(FrameHeader)) {
        while !bytes.is_empty() {
            let (passed, header) = self.pass_frame(bytes);
            bytes = &bytes[passed..];
            if let Some(header) = header {
                on_frame(header);
            }
        }
    }

    /// Scans the part of `bytes` that belongs to the current frame, or to the next one at a
    /// boundary.
    ///
    /// Returns the length of that part, and the frame's header if it ended within it.
    #[must_use]
    pub fn pass_frame(&mut self, bytes: &[u8]) -> (usize, Option<FrameHeader>) {
        if self.skip > 0 {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            return (skipped, None);
        }
        let (taken, header) = match bytes.first_chunk() {
            // Nearly every header arrives in one piece and needs no copy.
            Some(whole) if self.filled == 0 => (FRAME_HEADER_LEN, FrameHeader::parse(whole)),
            _ => {
                let taken = (FRAME_HEADER_LEN - self.filled).min(bytes.len());
                self.header[self.filled..self.filled + taken].copy_from_slice(&bytes[..taken]);
                self.filled += taken;
                if self.filled < FRAME_HEADER_LEN {
                    return (taken, None);
                }
                self.filled = 0;
                (taken, FrameHeader::parse(&self.header))
            }
        };
        self.header_block_open = header.leaves_header_block_open();
        let payload = (header.payload_len as usize).min(bytes.len() - taken);
        self.skip = header.payload_len as usize - payload;
        (taken + payload, Some(header))
    }

    /// Returns how many bytes of the current frame's payload are still to come.
    pub fn payload_left(&self) -> usize {
        self.skip
    }

    /// Returns true if the stream is between two frames: the next byte begins a header.
    pub fn at_boundary(&self) -> bool {
        self.skip == 0 && self.filled == 0
    }

    /// Returns true if another frame may be inserted here. That is between two frames, but not
    /// between HEADERS and its CONTINUATION: only a CONTINUATION of the same stream may follow (RFC
    /// 9113 §6.10).
    pub fn may_insert(&self) -> bool {
        self.at_boundary() && !self.header_block_open
    }
}

const PUSH_PROMISE: u8 = 0x5;

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        bytes.extend([kind, flags]);
        bytes.extend(stream.to_be_bytes());
        bytes.extend(payload);
        bytes
    }

    #[test]
    fn frames_are_named_however_the_bytes_are_cut() {
        let mut bytes = CLIENT_PREFACE.to_vec();
        bytes.extend(frame(0x4, 0, 0, &[0; 12]));
        bytes.extend(frame(0x1, 0x4, 1, &[7; 40]));
        bytes.extend(frame(0x6, 0x1, 0, &[9; 8]));
        for cut in 1..bytes.len() {
            let mut scanner = FrameScanner::from_client();
            let mut seen = Vec::new();
            for piece in bytes.chunks(cut) {
                scanner.scan(piece, |header| seen.push((header.kind, header.stream_id, header.is_ack())));
            }
            let expected =
                [(FrameKind::Settings, 0, false), (FrameKind::Headers, 1, false), (FrameKind::Ping, 0, true)];
            assert_eq!(seen, expected, "cut every {cut} bytes");
            assert!(scanner.at_boundary());
        }
    }

    #[test]
    fn nothing_may_be_inserted_into_an_open_header_block() {
        let mut scanner = FrameScanner::from_server();
        let mut may_insert_after = |bytes: &[u8]| {
            scanner.scan(bytes, |_| {});
            assert!(scanner.at_boundary());
            scanner.may_insert()
        };
        assert!(!may_insert_after(&frame(0x1, 0, 1, &[7; 10])));
        assert!(!may_insert_after(&frame(0x9, 0, 1, &[7; 10])));
        assert!(may_insert_after(&frame(0x9, 0x4, 1, &[7; 10])));
        assert!(may_insert_after(&frame(0x0, 0, 1, &[7; 10])));
    }
}
