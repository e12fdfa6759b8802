//! The client's bytes, on their way to the HTTP/2 library.
//!
//! Normally this only parses frame headers, and copies nothing. Six kinds of frames need more; the
//! bytes then pass through a buffer. This is so up to the first header block, from the GOAWAY on,
//! and while a keepalive PING is unanswered. It is also so for an incomplete header after a stream
//! was reset: short DATA for such streams is marked ([`ResetStreams`]).
//!
//! - The client's acknowledgement of h2's shutdown PING is withheld, and reported. h2 would answer
//!   with the second GOAWAY at once, and name the last stream that it has read by then
//!   (`proto/connection.rs`, `recv_frame`, `last_processed_id`). But calls that the client had
//!   queued when it acknowledged come after the acknowledgement.
//! - An acknowledgement is inserted when the lifetime machine orders it, even if the client's did
//!   not arrive (h2 waits for it without limit). It is the last frame that h2 reads until its
//!   second GOAWAY is written: later frames may belong to streams that this GOAWAY excludes.
//! - A WINDOW_UPDATE for a stream that the second GOAWAY excluded is withheld. h2 ignores HEADERS,
//!   DATA and RST_STREAM for it, but not this: `recv_window_update` → `ensure_not_idle` treats the
//!   stream as never opened, sends GOAWAY(PROTOCOL_ERROR), and every call in flight fails.
//! - The acknowledgement of a keepalive PING is withheld: h2 did not send that PING, and would log
//!   a warning for each (`proto/ping_pong.rs`, `recv_ping`).
//! - Empty DATA without END_STREAM is withheld, from the second frame on. h2 allows a hundred in a
//!   connection's life (`proto/streams/counts.rs`, `record_data_frame`); here they are idle frames,
//!   with a bound on their rate.
//! - HEADERS and CONTINUATION of a client whose `:authority` h2 refuses are rewritten: see
//!   [`RequestBlocks`].
//!
//! Called by the wire. No I/O here.

use std::time::Instant;

use bytes::{BufMut, BytesMut};
use meshless_core::{ControlFrames, FRAME_HEADER_LEN, FrameHeader, FrameKind, FrameScanner, ReadTurn};

use super::outbound::KEEPALIVE_PING;
use super::request_blocks::{Next, RequestBlocks};
use crate::shared::peer_settings::{MAX_HEADER_LIST_SIZE, SettingsReader};
use crate::shared::reset_streams::ResetStreams;

/// The client-to-server direction of one connection.
#[derive(Debug)]
pub(super) struct Inbound {
    scanner: FrameScanner,
    noted: Noted,
    filter: Option<Filter>,
    resets: ResetStreams,
}

/// The frames that passed, as far as the lifetime of the connection needs them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct FrameSummary {
    /// The preface and the header of the first frame have passed.
    pub(super) opened: bool,
    /// Frames that cost the client nothing. Resets are early if their streams were opened in the
    /// same turn.
    pub(super) frames: ControlFrames,
    /// The acknowledgement of the shutdown PING has arrived.
    pub(super) acknowledged: bool,
    /// The longest header list that the client accepts, if its SETTINGS contain it.
    pub(super) header_list_max: Option<u32>,
}

impl Inbound {
    /// `max_header_list_size` limits the headers of a request, as HTTP/2 counts them.
    pub(super) fn new(max_header_list_size: u32) -> Self {
        let blocks = Some(Box::new(RequestBlocks::new(max_header_list_size)));
        let filter = Some(Filter { blocks, ..Filter::default() });
        Self {
            scanner: FrameScanner::from_client(),
            noted: Noted::default(),
            filter,
            resets: ResetStreams::default(),
        }
    }

    /// Reads bytes that go straight to the library. Returns how many may pass; if that is not all,
    /// no more may pass in this turn.
    pub(super) fn watch(&mut self, bytes: &mut [u8]) -> (usize, FrameSummary) {
        let mut seen = FrameSummary::default();
        let mut length = 0;
        while length < bytes.len() && !self.noted.turn.is_over() {
            if !self.resets.is_empty() && self.scanner.at_boundary() {
                let Some(header) = bytes[length..].first_chunk_mut() else {
                    // The flags must not pass before the stream id is known.
                    self.filter.get_or_insert_default();
                    break;
                };
                seen.frames.late_data += u32::from(self.resets.end_late_data(header));
            }
            let (passed, header) = self.scanner.pass_frame(&bytes[length..]);
            self.noted.read_settings(&bytes[length..length + passed], header, &self.scanner, &mut seen);
            length += passed;
            if let Some(header) = header {
                self.noted.note(header, &mut seen);
                if header.is_empty_data() {
                    // This one has passed, but this client sends such frames.
                    self.filter.get_or_insert_default().has_empty_data = true;
                    break;
                }
            }
        }
        (length, seen)
    }

    /// Called when the library has reset this stream. Returns true for its first reset.
    pub(super) fn note_reset(&mut self, stream: u32, now: Instant) -> bool {
        self.resets.note(stream, now)
    }

    /// Forgets the streams that the library has forgotten.
    pub(super) fn forget_old_resets(&mut self) {
        if !self.resets.is_empty() {
            self.resets.forget_old(Instant::now());
        }
    }

    /// Called before the GOAWAY: from now on the bytes go through [`Inbound::filter`].
    pub(super) fn start_filter(&mut self) {
        self.filter.get_or_insert_default().stays = true;
    }

    /// Called when a keepalive PING is sent: until its acknowledgement arrives, the bytes go
    /// through [`Inbound::filter`].
    pub(super) fn expect_keepalive_ack(&mut self) {
        self.filter.get_or_insert_default().keepalive_acks += 1;
    }

    /// Returns true if the bytes go through [`Inbound::filter`], and not through
    /// [`Inbound::watch`].
    pub(super) fn filters(&mut self) -> bool {
        self.filter.take_if(|filter| filter.is_done());
        self.filter.is_some()
    }

    /// Inserts an acknowledgement of the shutdown PING at the next frame boundary.
    pub(super) fn answer_ping(&mut self) {
        if let Some(filter) = self.filter.as_mut().filter(|filter| !filter.answered) {
            filter.answer = true;
        }
    }

    /// Called when the second GOAWAY, with `last_stream`, is sent.
    pub(super) fn release(&mut self, last_stream: u32) {
        if let Some(filter) = &mut self.filter {
            filter.last_accepted = Some(last_stream);
            filter.held = false;
        }
    }

    /// Takes the client's bytes, and moves those that the library may read to [`Inbound::passed`]:
    /// only those of this turn, unless the connection is going away.
    pub(super) fn filter(&mut self, bytes: &[u8]) -> FrameSummary {
        let mut seen = FrameSummary::default();
        let Self { scanner, noted, filter, resets } = self;
        let Some(filter) = filter else { return seen };
        filter.raw.extend_from_slice(bytes);
        loop {
            // A connection that is going away has few turns left, and its second GOAWAY waits for
            // the frames that were sent before.
            if !filter.stays && noted.turn.is_over() {
                return seen;
            }
            if filter.answer && scanner.may_insert() {
                filter.passed.put_slice(&SHUTDOWN_ACK);
                filter.answer = false;
                filter.answered = true;
                filter.held = true;
            }
            if scanner.at_boundary() {
                match filter.next_frame(resets, &mut seen) {
                    Some(verdict) => filter.verdict = verdict,
                    None => return seen,
                }
            }
            if filter.raw.is_empty() {
                return seen;
            }
            let (length, header) = scanner.pass_frame(&filter.raw);
            if let Some(header) = header {
                noted.note(header, &mut seen);
            }
            let piece = filter.raw.split_to(length);
            noted.read_settings(&piece, header, scanner, &mut seen);
            match (filter.verdict, header) {
                (Verdict::Pass, _) => filter.passed.extend_from_slice(&piece),
                // The frame is whole.
                (Verdict::TakeBlock, Some(header)) => filter.take_block(&header, piece),
                (Verdict::TakeBlock, None) | (Verdict::Withhold, _) => {}
            }
        }
    }

    /// Returns the bytes that the library may read; `None` if the filter is not in use.
    pub(super) fn passed(&mut self) -> Option<&mut BytesMut> {
        self.filter.as_mut().map(|filter| &mut filter.passed)
    }

    /// Returns true if the library must read nothing until its second GOAWAY is written.
    pub(super) fn is_held(&self) -> bool {
        self.filter.as_ref().is_some_and(|filter| filter.held)
    }

    /// The highest stream that the client opened.
    pub(super) fn last_stream(&self) -> u32 {
        self.noted.last_stream
    }

    /// Begins a new turn for the next bytes.
    pub(super) fn begin_turn(&mut self) {
        self.noted.turn = ReadTurn::default();
        self.noted.last_stream_before_turn = self.noted.last_stream;
    }

    /// What has come in this turn.
    pub(super) fn turn(&self) -> &ReadTurn {
        &self.noted.turn
    }
}

#[derive(Debug, Default)]
struct Filter {
    /// Keeps the filter even when all acknowledgements have arrived.
    stays: bool,
    /// How many keepalive acknowledgements are outstanding. A client that sends none keeps the
    /// filter, which costs a copy.
    keepalive_acks: u32,
    /// Bytes that were not parsed yet: an incomplete header, or everything after the inserted
    /// acknowledgement.
    raw: BytesMut,
    passed: BytesMut,
    /// The decision about the frame that is passing.
    verdict: Verdict,
    /// The client sends empty DATA, so the filter stays for the rest of the connection.
    has_empty_data: bool,
    /// Set until the first header block has been accepted.
    blocks: Option<Box<RequestBlocks>>,
    answer: bool,
    answered: bool,
    held: bool,
    last_accepted: Option<u32>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Verdict {
    #[default]
    Pass,
    Withhold,
    TakeBlock,
}

impl Filter {
    fn is_done(&self) -> bool {
        let is_empty = self.raw.is_empty() && self.passed.is_empty();
        let is_needed = self.stays || self.has_empty_data || self.keepalive_acks > 0 || self.blocks.is_some();
        !is_needed && is_empty
    }

    /// Decides about the next frame; `None` if it must wait, or more of it must arrive.
    fn next_frame(&mut self, resets: &ResetStreams, seen: &mut FrameSummary) -> Option<Verdict> {
        if self.held {
            return None;
        }
        let bytes = self.raw.first_chunk_mut::<FRAME_HEADER_LEN>()?;
        seen.frames.late_data += u32::from(resets.end_late_data(bytes));
        let header = FrameHeader::parse(bytes);
        if let Some(blocks) =
            self.blocks.take_if(|blocks| blocks.wants(&header) && blocks.is_broken_by(&header))
        {
            self.passed.extend_from_slice(&blocks.into_open());
        }
        if self.blocks.as_ref().is_some_and(|blocks| blocks.wants(&header)) {
            let is_whole = self.raw.len() >= FRAME_HEADER_LEN + header.payload_len as usize;
            return is_whole.then_some(Verdict::TakeBlock);
        }
        if header.is_empty_data() {
            self.has_empty_data = true;
            return Some(Verdict::Withhold);
        }
        match header.kind {
            FrameKind::WindowUpdate if self.last_accepted.is_some_and(|last| header.stream_id > last) => {
                Some(Verdict::Withhold)
            }
            FrameKind::Ping if header.is_ack() && header.payload_len == 8 => {
                match *self.raw.first_chunk()? {
                    SHUTDOWN_ACK => seen.acknowledged |= !self.answered,
                    KEEPALIVE_ACK => self.keepalive_acks = self.keepalive_acks.saturating_sub(1),
                    _ => return Some(Verdict::Pass),
                }
                Some(Verdict::Withhold)
            }
            _ => Some(Verdict::Pass),
        }
    }

    fn take_block(&mut self, header: &FrameHeader, frame: BytesMut) {
        let Some(blocks) = &mut self.blocks else { return };
        match blocks.take(header, frame) {
            Next::More => {}
            Next::Pass(frames) => self.passed.unsplit(frames),
            Next::PassAndEnd(frames) => {
                self.passed.unsplit(frames);
                self.blocks = None;
            }
        }
    }
}

/// The state from the headers of all frames so far.
#[derive(Debug, Default)]
struct Noted {
    opened: bool,
    last_stream: u32,
    last_stream_before_turn: u32,
    turn: ReadTurn,
    /// Of the SETTINGS that are passing.
    settings: Option<SettingsReader>,
}

impl Noted {
    /// Looks for the client's header list limit in bytes that the scanner has just passed. They
    /// belong to one frame, with or after its header.
    fn read_settings(
        &mut self,
        piece: &[u8],
        header: Option<FrameHeader>,
        scanner: &FrameScanner,
        seen: &mut FrameSummary,
    ) {
        if let Some(header) = header {
            let is_settings = header.kind == FrameKind::Settings && !header.is_ack();
            self.settings = is_settings.then(SettingsReader::default);
        }
        let Some(reader) = &mut self.settings else { return };
        let payload_len = match header {
            Some(header) => header.payload_len as usize - scanner.payload_left(),
            None => piece.len(),
        };
        reader.pass(&piece[piece.len() - payload_len..], |id, value| {
            if id == MAX_HEADER_LIST_SIZE {
                seen.header_list_max = Some(value);
            }
        });
        if scanner.payload_left() == 0 {
            self.settings = None;
        }
    }

    fn note(&mut self, header: FrameHeader, seen: &mut FrameSummary) {
        seen.opened |= !std::mem::replace(&mut self.opened, true);
        self.turn.note(&header);
        seen.frames.note(&header);
        match header.kind {
            FrameKind::ResetStream if header.stream_id > self.last_stream_before_turn => {
                seen.frames.early_resets += 1;
                self.turn.note_early_reset();
            }
            FrameKind::Headers => self.last_stream = header.stream_id.max(self.last_stream),
            _ => {}
        }
    }
}

/// PING with ACK and the payload of h2's graceful shutdown (h2, `frame/ping.rs`, `Ping::SHUTDOWN`).
const SHUTDOWN_ACK: [u8; FRAME_HEADER_LEN + 8] =
    [0, 0, 8, 0x6, 0x1, 0, 0, 0, 0, 0x0b, 0x7b, 0xa2, 0xf0, 0x8b, 0x9b, 0xfe, 0x54];

/// The acknowledgement of our keepalive PING.
const KEEPALIVE_ACK: [u8; KEEPALIVE_PING.len()] = {
    let mut ack = KEEPALIVE_PING;
    ack[4] = 0x1;
    ack
};

#[cfg(test)]
mod tests {
    use super::*;
    use meshless_core::CLIENT_PREFACE;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        bytes.extend([kind, flags]);
        bytes.extend(stream.to_be_bytes());
        bytes.extend(payload);
        bytes
    }

    fn watch(inbound: &mut Inbound, bytes: &[u8]) -> (usize, FrameSummary) {
        inbound.watch(&mut bytes.to_vec())
    }

    fn window_update(stream: u32) -> Vec<u8> {
        frame(0x8, 0, stream, &[0, 0, 1, 0])
    }

    #[test]
    fn only_updates_of_ruled_out_streams_are_withheld_however_the_bytes_are_cut() {
        let early = [CLIENT_PREFACE.to_vec(), window_update(7), frame(0x0, 0, 5, &[9; 30])].concat();
        let late = [window_update(5), frame(0x1, 0x4, 7, &[1; 20]), window_update(0)].concat();
        for cut in 1..100 {
            let mut inbound = Inbound::new(1 << 14);
            inbound.start_filter();
            let mut acknowledged = false;
            for piece in early.chunks(cut).chain(SHUTDOWN_ACK.chunks(cut)) {
                acknowledged |= inbound.filter(piece).acknowledged;
            }
            assert!(acknowledged && !inbound.is_held(), "cut every {cut} bytes");
            inbound.answer_ping();
            assert_eq!(inbound.filter(&[]), FrameSummary::default());
            assert!(inbound.is_held());
            inbound.release(5);
            let rest = [late.clone(), window_update(7), SHUTDOWN_ACK.to_vec()].concat();
            for piece in rest.chunks(cut) {
                assert!(!inbound.filter(piece).acknowledged);
            }
            let passed = [early.clone(), SHUTDOWN_ACK.to_vec(), late.clone()].concat();
            assert_eq!(inbound.passed().unwrap().to_vec(), passed, "cut every {cut} bytes");
        }
    }

    #[test]
    fn what_a_client_says_of_header_lists_is_read_watched_or_filtered_however_it_is_cut() {
        let settings = frame(0x4, 0, 0, &[0, 3, 0, 0, 0, 9, 0, 6, 0, 0, 0x20, 0]);
        let bytes = [&CLIENT_PREFACE[..], &settings, &frame(0x0, 0, 1, &[0, 6, 0, 0, 0, 1])].concat();
        for cut in 1..bytes.len() {
            let mut inbound = Inbound::new(1 << 14);
            let read: Vec<_> =
                bytes.chunks(cut).filter_map(|piece| inbound.filter(piece).header_list_max).collect();
            assert_eq!(read, [8192], "cut every {cut} bytes");
            let mut inbound = Inbound::new(1 << 14);
            let read: Vec<_> =
                bytes.chunks(cut).filter_map(|piece| watch(&mut inbound, piece).1.header_list_max).collect();
            assert_eq!(read, [8192], "cut every {cut} bytes");
        }
    }

    #[test]
    fn an_answer_waits_for_the_end_of_a_frame() {
        let mut inbound = Inbound::new(1 << 14);
        watch(&mut inbound, &[&CLIENT_PREFACE[..], &frame(0x0, 0, 1, &[9; 30])[..20]].concat());
        inbound.start_filter();
        inbound.answer_ping();
        inbound.filter(&[9; 10]);
        assert_eq!(inbound.passed().unwrap().to_vec(), [9; 10]);
        inbound.filter(&[9; 9]);
        assert_eq!(inbound.passed().unwrap().to_vec(), [&[9; 19][..], &SHUTDOWN_ACK].concat());
        assert!(inbound.is_held());
    }

    /// Between HEADERS and CONTINUATION any other frame is an error of the connection (RFC 9113
    /// §6.10).
    #[test]
    fn an_answer_waits_for_the_end_of_a_header_block_however_the_bytes_are_cut() {
        let (headers, continuation) = (frame(0x1, 0, 1, &[7; 20]), frame(0x9, 0, 1, &[8; 20]));
        let (last, data) = (frame(0x9, 0x4, 1, &[9; 20]), frame(0x0, 0, 1, &[6; 5]));
        let block = [&headers[..], &continuation, &last].concat();
        for watched in 1..block.len() {
            let mut inbound = Inbound::new(1 << 14);
            watch(&mut inbound, &[&CLIENT_PREFACE[..], &block[..watched]].concat());
            inbound.start_filter();
            inbound.answer_ping();
            for byte in &block[watched..] {
                inbound.filter(std::slice::from_ref(byte));
            }
            let passed = [&block[watched..], &SHUTDOWN_ACK].concat();
            assert_eq!(inbound.passed().unwrap().to_vec(), passed, "{watched} bytes watched");
            inbound.release(1);
            inbound.filter(&data);
            assert!(inbound.passed().unwrap().ends_with(&data));
        }
    }

    #[test]
    fn pings_are_counted_watched_or_filtered_and_acknowledgements_are_not() {
        let pings =
            [frame(0x6, 0, 0, &[1; 8]), frame(0x6, 1, 0, &[2; 8]), frame(0x6, 0, 0, &[3; 8])].concat();
        let mut inbound = Inbound::new(1 << 14);
        assert_eq!(watch(&mut inbound, CLIENT_PREFACE).1, FrameSummary::default());
        let frames = ControlFrames { pings: 2, idle: 1, ..ControlFrames::default() };
        let summary = FrameSummary { opened: true, frames, ..FrameSummary::default() };
        assert_eq!(watch(&mut inbound, &pings).1, summary);
        inbound.start_filter();
        assert_eq!(inbound.filter(&pings), FrameSummary { frames, ..FrameSummary::default() });
    }

    #[test]
    fn the_acknowledgement_of_a_keepalive_is_withheld_and_all_else_passes_however_the_bytes_are_cut() {
        let (data, other_ack) = (frame(0x0, 0, 1, &[9; 30]), frame(0x6, 1, 0, &[1; 8]));
        let before = [&CLIENT_PREFACE[..], &data, &other_ack].concat();
        for (cut, watched) in (1..60).flat_map(|cut| (0..before.len()).map(move |watched| (cut, watched))) {
            // As after an accepted first header block.
            let mut inbound = Inbound { filter: None, ..Inbound::new(1 << 14) };
            watch(&mut inbound, &before[..watched]);
            inbound.expect_keepalive_ack();
            inbound.expect_keepalive_ack();
            let mut passed = before[..watched].to_vec();
            let rest = [&before[watched..], &KEEPALIVE_ACK, &data, &KEEPALIVE_ACK, &data].concat();
            for piece in rest.chunks(cut) {
                if !inbound.filters() {
                    assert_eq!(watch(&mut inbound, piece).0, piece.len());
                    passed.extend_from_slice(piece);
                    continue;
                }
                assert!(!inbound.filter(piece).acknowledged);
                passed.extend(inbound.passed().unwrap().split());
            }
            assert_eq!(passed, [&before[..], &data, &data].concat(), "{watched} watched, cut every {cut}");
            assert!(!inbound.filters(), "it ends with the acknowledgements");
        }
    }

    #[test]
    fn empty_data_is_withheld_after_the_first_however_the_bytes_are_cut() {
        let (data, empty, end) = (frame(0x0, 0, 1, &[9; 30]), frame(0x0, 0, 1, &[]), frame(0x0, 1, 1, &[]));
        let call = frame(0x1, 0x4, 1, &[0x83, 0x86, 0x84]);
        let bytes = [&CLIENT_PREFACE[..], &call, &data, &empty, &data, &empty, &empty, &end].concat();
        for cut in 1..80 {
            let mut inbound = Inbound::new(1 << 14);
            let mut passed = Vec::new();
            for piece in bytes.chunks(cut) {
                let mut rest = piece;
                while !rest.is_empty() {
                    if inbound.filters() {
                        inbound.filter(rest);
                        passed.extend(inbound.passed().unwrap().split());
                        break;
                    }
                    let length = watch(&mut inbound, rest).0;
                    passed.extend_from_slice(&rest[..length]);
                    rest = &rest[length..];
                }
            }
            let without = [&CLIENT_PREFACE[..], &call, &data, &data, &end].concat();
            let with_one = [&CLIENT_PREFACE[..], &call, &data, &empty, &data, &end].concat();
            assert!(passed == without || passed == with_one, "cut every {cut} bytes");
        }
    }

    #[test]
    fn a_connection_that_is_sent_away_keeps_the_filter_and_the_acknowledgements_apart() {
        let mut inbound = Inbound::new(1 << 14);
        watch(&mut inbound, CLIENT_PREFACE);
        inbound.expect_keepalive_ack();
        inbound.start_filter();
        assert!(inbound.filter(&[KEEPALIVE_ACK, SHUTDOWN_ACK].concat()).acknowledged);
        assert!(inbound.passed().unwrap().is_empty());
        inbound.answer_ping();
        inbound.filter(&[]);
        assert!(inbound.is_held() && inbound.filters());
    }
}
