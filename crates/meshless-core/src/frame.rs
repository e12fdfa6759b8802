//! HTTP/2 frame headers, read off a byte stream as it passes.
//!
//! A library on top of a connection sees requests; what meshless must also see (PINGs to count, a
//! GOAWAY to notice) lies below, in the frames. [`FrameScanner`] is fed the bytes in whatever
//! pieces they arrive and names each frame once, when the last byte of its nine-byte header has
//! passed. It copies nothing, keeps no payload, and never fails: what is malformed is for the
//! HTTP/2 library to refuse.
//!
//! Called by the server's connection, and by the lab to count what a foreign client was told.

/// Length of a frame header in bytes (RFC 9113 §4.1).
pub const FRAME_HEADER_LEN: usize = 9;

/// The client's connection preface, which precedes its first frame (RFC 9113 §3.4).
pub const CLIENT_PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The types of frames that meshless looks at, by their codes (RFC 9113 §6).
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
    /// The kind that a type code stands for.
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
    /// Length of the payload in bytes; the header's own nine are not counted.
    pub payload_len: u32,
    /// What the frame is.
    pub kind: FrameKind,
    /// The flags, whose meaning depends on `kind`. For PING and SETTINGS, 0x1 is ACK.
    pub flags: u8,
    /// The stream; 0 is the connection itself.
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

    /// Whether this is the acknowledgement of a PING or of SETTINGS.
    pub fn is_ack(&self) -> bool {
        matches!(self.kind, FrameKind::Ping | FrameKind::Settings) && self.flags & 0x1 != 0
    }

    /// Whether this is the sender's last frame of its stream (END_STREAM).
    pub fn is_end_stream(&self) -> bool {
        matches!(self.kind, FrameKind::Data | FrameKind::Headers) && self.flags & 0x1 != 0
    }

    /// Whether this is DATA that says nothing and ends nothing.
    pub fn is_empty_data(&self) -> bool {
        self.kind == FrameKind::Data && self.payload_len == 0 && !self.is_end_stream()
    }

    /// How many bytes of the payload padding can take, its length among them (RFC 9113 §6.1).
    pub(crate) fn padding_max(&self) -> u32 {
        if self.flags & 0x8 != 0 { 256 } else { 0 }
    }

    /// Whether the next frame must be a CONTINUATION: this one carries headers, and not the last of
    /// them (END_HEADERS).
    fn leaves_header_block_open(&self) -> bool {
        let carries_headers = matches!(
            self.kind,
            FrameKind::Headers | FrameKind::Continuation | FrameKind::Other(PUSH_PROMISE)
        );
        carries_headers && self.flags & 0x4 == 0
    }
}

/// Names the frames of one direction of one connection.
#[derive(Clone, Debug)]
pub struct FrameScanner {
    /// Bytes to pass over before the next header: rest of a payload, or of the preface.
    skip: usize,
    header: [u8; FRAME_HEADER_LEN],
    filled: usize,
    header_block_open: bool,
}

impl FrameScanner {
    /// For what a server sends: frames from the first byte on.
    pub fn from_server() -> Self {
        Self { skip: 0, header: [0; FRAME_HEADER_LEN], filled: 0, header_block_open: false }
    }

    /// For what a client sends: the preface, then frames.
    pub fn from_client() -> Self {
        Self { skip: CLIENT_PREFACE.len(), ..Self::from_server() }
    }

    /// Passes `bytes` by, and calls `on_frame` for each frame whose header ends within them.
    pub fn scan(&mut self, mut bytes: &[u8], mut on_frame: impl FnMut(FrameHeader)) {
        while !bytes.is_empty() {
            let (passed, header) = self.pass_frame(bytes);
            bytes = &bytes[passed..];
            if let Some(header) = header {
                on_frame(header);
            }
        }
    }

    /// Passes by what `bytes` hold of the current frame, or of the next one at a boundary, and not
    /// a byte more.
    ///
    /// Returns how many bytes that was, and the frame's header if it ended within them.
    #[must_use]
    pub fn pass_frame(&mut self, bytes: &[u8]) -> (usize, Option<FrameHeader>) {
        if self.skip > 0 {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            return (skipped, None);
        }
        let (taken, header) = match bytes.first_chunk() {
            // Nearly every header arrives whole, and need not be put together.
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

    /// How many bytes of the current frame's payload are still to pass.
    pub fn payload_left(&self) -> usize {
        self.skip
    }

    /// Whether the stream stands between two frames: what comes next is a header's first byte.
    pub fn at_boundary(&self) -> bool {
        self.skip == 0 && self.filled == 0
    }

    /// Whether another frame may be put in here: between two frames, but not between HEADERS and
    /// its CONTINUATION, where only a CONTINUATION of the same stream may stand (RFC 9113 §6.10).
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
