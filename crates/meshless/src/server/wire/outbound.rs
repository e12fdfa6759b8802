//! The HTTP/2 library's bytes, on their way to the client.
//!
//! Normally this only parses what was written. Between the order to go away and the second GOAWAY
//! it looks ahead for h2's GOAWAYs, which carry no debug data (h2 `Connection::graceful_shutdown`
//! takes none), and replaces them by others with debug data. The second one also tells which
//! streams are excluded. It also finds the places where a keepalive PING may be inserted.
//!
//! Called by the wire. No I/O here.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use meshless_core::{FRAME_HEADER_LEN, FrameHeader, FrameKind, FrameScanner};

/// The server-to-client direction of one connection.
#[derive(Debug)]
pub(super) struct Outbound {
    scanner: FrameScanner,
    sent: Sent,
    debug_data: Option<&'static str>,
    last_accepted: Option<u32>,
    ping_ordered: bool,
    /// The resets since the last [`Outbound::take_resets`].
    resets: Vec<SentReset>,
}

/// What was sent since it was last read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sent {
    /// HEADERS or DATA were sent.
    pub(super) response: bool,
    /// DATA that is not empty was sent: the client has taken bytes.
    pub(super) data: bool,
    /// How many streams ended with their response.
    pub(super) ended: u32,
    /// How many DATA frames were sent. The client may answer each with WINDOW_UPDATEs.
    pub(super) data_frames: u32,
}

/// A stream that was reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SentReset {
    pub(super) stream: u32,
    /// The library reset it because of a client's error.
    pub(super) for_error: bool,
}

/// What to do with the library's next bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum WritePlan {
    /// Write this many of them, then call [`Outbound::plan`] again.
    Write(usize),
    /// Drop this many, and write `frame` in their place.
    Replace {
        /// The length of the library's frame.
        length: usize,
        /// Our frame.
        frame: Bytes,
    },
}

impl Outbound {
    pub(super) fn new() -> Self {
        Self {
            scanner: FrameScanner::from_server(),
            sent: Sent::default(),
            debug_data: None,
            last_accepted: None,
            ping_ordered: false,
            resets: Vec::new(),
        }
    }

    /// Orders a keepalive PING between two frames.
    pub(super) fn order_ping(&mut self) {
        self.ping_ordered = true;
    }

    /// Returns that PING, if it may be inserted here.
    pub(super) fn take_ping(&mut self) -> Option<Bytes> {
        let ping = (self.ping_ordered && self.may_insert()).then(|| Bytes::from_static(&KEEPALIVE_PING))?;
        self.ping_ordered = false;
        Some(ping)
    }

    /// From now on GOAWAYs carry `debug_data`.
    pub(super) fn start_going_away(&mut self, debug_data: &'static str) {
        self.debug_data = Some(debug_data);
    }

    /// Returns true if [`Outbound::plan`] must be called before each write.
    pub(super) fn looks_ahead(&self) -> bool {
        self.ping_ordered || (self.debug_data.is_some() && self.last_accepted.is_none())
    }

    /// Returns what to do with `bytes`, which are not empty, when [`Outbound::take_ping`] returns
    /// `None`.
    pub(super) fn plan(&mut self, bytes: &[u8]) -> WritePlan {
        if !self.looks_ahead() {
            return WritePlan::Write(bytes.len());
        }
        let debug_data = self.debug_data.filter(|_| self.last_accepted.is_none());
        let mut ahead = self.scanner.clone();
        let mut offset = 0;
        while offset < bytes.len() {
            if self.ping_ordered && offset > 0 && ahead.may_insert() {
                return WritePlan::Write(offset);
            }
            if let Some(debug_data) = debug_data.filter(|_| ahead.at_boundary())
                && let Some(last_stream) = bare_go_away(&bytes[offset..])
            {
                if offset > 0 {
                    return WritePlan::Write(offset);
                }
                if last_stream != LAST_STREAM_OF_FIRST_GO_AWAY {
                    self.last_accepted = Some(last_stream);
                }
                return WritePlan::Replace {
                    length: GO_AWAY_LEN,
                    frame: go_away(last_stream, NO_ERROR, debug_data),
                };
            }
            offset += ahead.pass_frame(&bytes[offset..]).0;
        }
        WritePlan::Write(bytes.len())
    }

    /// Called when these bytes were written.
    pub(super) fn written(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let (passed, header) = self.scanner.pass_frame(rest);
            let (frame, behind) = rest.split_at(passed);
            rest = behind;
            let Some(header) = header else { continue };
            let sent = &mut self.sent;
            sent.response |= matches!(header.kind, FrameKind::Headers | FrameKind::Data);
            sent.data |= header.kind == FrameKind::Data && header.payload_len > 0;
            sent.data_frames = sent.data_frames.saturating_add((header.kind == FrameKind::Data).into());
            sent.ended = sent.ended.saturating_add(header.is_end_stream().into());
            if header.kind == FrameKind::ResetStream {
                // If the socket takes the header without the code, it does not count as an error.
                let code = frame.last_chunk().map(|code| u32::from_be_bytes(*code));
                let for_error =
                    passed > FRAME_HEADER_LEN && code.is_some_and(|code| CLIENT_ERRORS.contains(&code));
                self.resets.push(SentReset { stream: header.stream_id, for_error });
            }
        }
    }

    /// Returns what was sent since it was last read.
    pub(super) fn sent(&mut self) -> &mut Sent {
        &mut self.sent
    }

    /// Returns the streams that were reset since the last call.
    pub(super) fn take_resets(&mut self) -> impl Iterator<Item = SentReset> {
        self.resets.drain(..)
    }

    /// Returns the last stream of the second GOAWAY, once that is sent.
    pub(super) fn last_accepted(&self) -> Option<u32> {
        self.last_accepted
    }

    /// Returns true if a frame may be inserted here.
    pub(super) fn may_insert(&self) -> bool {
        self.scanner.may_insert()
    }
}

/// A GOAWAY frame (RFC 9113 §6.8).
pub(crate) fn go_away(last_stream: u32, error_code: u32, debug_data: &'static str) -> Bytes {
    let mut frame = BytesMut::with_capacity(GO_AWAY_LEN + debug_data.len());
    frame.put_uint((GO_AWAY_LEN - FRAME_HEADER_LEN + debug_data.len()) as u64, 3);
    frame.put_slice(&[GO_AWAY_CODE, 0, 0, 0, 0, 0]);
    frame.put_u32(last_stream);
    frame.put_u32(error_code);
    frame.put_slice(debug_data.as_bytes());
    frame.freeze()
}

/// Returns the last stream of a complete GOAWAY(NO_ERROR) without debug data at the start of
/// `bytes`. h2 writes it in one piece.
fn bare_go_away(bytes: &[u8]) -> Option<u32> {
    let mut frame = &bytes.first_chunk::<GO_AWAY_LEN>()?[..];
    let header = FrameHeader::parse(frame.first_chunk()?);
    frame.advance(FRAME_HEADER_LEN);
    let last_stream = frame.get_u32() & LAST_STREAM_OF_FIRST_GO_AWAY;
    let bare = header.payload_len as usize == GO_AWAY_LEN - FRAME_HEADER_LEN && frame.get_u32() == NO_ERROR;
    (header.kind == FrameKind::GoAway && bare).then_some(last_stream)
}

/// A payload that h2 uses for none of its own PINGs.
pub(super) const KEEPALIVE_PING: [u8; FRAME_HEADER_LEN + 8] = *b"\0\0\x08\x06\0\0\0\0\0meshless";

const NO_ERROR: u32 = 0;

/// PROTOCOL_ERROR, FLOW_CONTROL_ERROR and STREAM_CLOSED (RFC 9113 §7): the codes with which h2
/// resets a stream on its own. Handlers and overloaded servers use other codes.
const CLIENT_ERRORS: [u32; 3] = [0x1, 0x3, 0x5];

const GO_AWAY_CODE: u8 = 0x7;
/// Header, last stream, error code.
const GO_AWAY_LEN: usize = FRAME_HEADER_LEN + 8;
/// "the last stream identifier set to 2^31-1" (RFC 9113 §6.8).
const LAST_STREAM_OF_FIRST_GO_AWAY: u32 = 0x7fff_ffff;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_go_away_among_other_frames_is_replaced_and_the_others_are_not_touched() {
        let ping = [0, 0, 8, 0x6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
        let bytes = [&ping[..], &go_away(0x7fff_ffff, 0, ""), &ping, &go_away(5, 0, ""), &ping].concat();
        let mut outbound = Outbound::new();
        outbound.start_going_away("max_age");
        let (mut rest, mut sent) = (&bytes[..], Vec::<u8>::new());
        while !rest.is_empty() {
            match outbound.plan(rest) {
                WritePlan::Write(length) => {
                    // A socket that takes few bytes at a time.
                    let length = length.min(3);
                    outbound.written(&rest[..length]);
                    sent.extend_from_slice(&rest[..length]);
                    rest = &rest[length..];
                }
                WritePlan::Replace { length, frame } => {
                    sent.extend_from_slice(&frame);
                    rest = &rest[length..];
                }
            }
        }
        let expected =
            [&ping[..], &go_away(0x7fff_ffff, 0, "max_age"), &ping, &go_away(5, 0, "max_age"), &ping]
                .concat();
        assert_eq!(sent, expected);
        assert_eq!(outbound.last_accepted(), Some(5));
        assert!(outbound.may_insert() && !outbound.looks_ahead());
    }

    #[test]
    fn a_go_away_that_reports_an_error_stays_as_it_is() {
        let bytes = go_away(5, 1, "");
        let mut outbound = Outbound::new();
        outbound.start_going_away("max_age");
        assert_eq!(outbound.plan(&bytes), WritePlan::Write(bytes.len()));
    }

    /// Returns what the client gets if a PING is ordered when `before` of `bytes` are written.
    fn with_ping(bytes: &[u8], before: usize, at_once: usize) -> Vec<u8> {
        let mut outbound = Outbound::new();
        outbound.written(&bytes[..before]);
        outbound.order_ping();
        let (mut rest, mut sent) = (&bytes[before..], bytes[..before].to_vec());
        while !rest.is_empty() {
            sent.extend(outbound.take_ping().unwrap_or_default());
            let WritePlan::Write(length) = outbound.plan(rest) else { panic!("nothing is to be replaced") };
            let length = length.min(at_once);
            outbound.written(&rest[..length]);
            sent.extend_from_slice(&rest[..length]);
            rest = &rest[length..];
        }
        sent.extend(outbound.take_ping().unwrap_or_default());
        assert!(outbound.take_ping().is_none() && !outbound.looks_ahead(), "there is one");
        sent
    }

    #[test]
    fn a_ping_goes_out_at_the_next_end_of_a_frame_and_never_within_a_header_block() {
        let (data, headers) = ([0, 0, 3, 0x0, 0, 0, 0, 0, 1, 7, 7, 7], [0, 0, 1, 0x1, 0, 0, 0, 0, 3, 9]);
        let continuation = [0, 0, 2, 0x9, 0x4, 0, 0, 0, 3, 9, 9];
        let bytes = [&data[..], &headers, &continuation, &data].concat();
        let block_end = data.len() + headers.len() + continuation.len();
        for before in 0..=bytes.len() {
            let place = [0, data.len(), block_end, bytes.len()].into_iter().find(|place| *place >= before);
            let place = place.expect("the last is the end");
            let expected = [&bytes[..place], &KEEPALIVE_PING, &bytes[place..]].concat();
            for at_once in [1, 5, usize::MAX] {
                assert_eq!(
                    with_ping(&bytes, before, at_once),
                    expected,
                    "{before} before, {at_once} at once"
                );
            }
        }
    }

    #[test]
    fn resets_for_the_clients_errors_are_told_from_others() {
        let mut outbound = Outbound::new();
        for code in 0..=13 {
            let reset = [0, 0, 4, 0x3, 0, 0, 0, 0, 1, 0, 0, 0, code];
            outbound.written(&reset);
            let sent: Vec<_> = outbound.take_resets().collect();
            assert_eq!(sent, [SentReset { stream: 1, for_error: [1, 3, 5].contains(&code) }], "{code}");
        }
    }

    #[test]
    fn a_ping_and_a_go_away_stand_beside_each_other() {
        let bytes = go_away(5, 0, "");
        let mut outbound = Outbound::new();
        outbound.start_going_away("max_age");
        outbound.order_ping();
        assert_eq!(outbound.take_ping().as_deref(), Some(&KEEPALIVE_PING[..]));
        assert!(matches!(outbound.plan(&bytes), WritePlan::Replace { length: 17, .. }));
    }
}
