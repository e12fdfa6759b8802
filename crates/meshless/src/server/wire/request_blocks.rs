//! Rewrites the header blocks of a client whose `:authority` the HTTP/2 library refuses.
//!
//! Over a Unix socket C-core sends the percent-encoded path of the socket as `:authority`; for a
//! list of addresses it sends the list with `%2C`; others send an empty one. h2 parses `:authority`
//! as a part of a URI, which none of these is, and resets every call with PROTOCOL_ERROR
//! (`server.rs`, `convert_poll_message`). No service needs it. So it is removed here and sent on as
//! `host`, as a gateway to HTTP/1 would do.
//!
//! A single block cannot be changed: client and library keep a table of earlier fields (HPACK). So
//! if the first block of a connection is acceptable, later ones are not read. Otherwise every block
//! is rewritten without the table. A client that changes to such an authority later, as only a
//! proxy would, still gets PROTOCOL_ERROR.
//!
//! Called by the inbound side of the wire, with whole frames. No I/O here.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::uri::Authority;
use meshless_core::{FRAME_HEADER_LEN, FrameHeader, FrameKind};

use super::hpack::{self, Field, Name, Reader, Unreadable};

/// The header blocks of one connection, from the first one on.
#[derive(Debug)]
pub(super) struct RequestBlocks {
    reader: Reader,
    /// True if blocks are rewritten.
    rewrites: bool,
    block_len_max: usize,
    /// The frames of an incomplete block, as they arrived.
    open: BytesMut,
}

/// What to do after a frame.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// The block is incomplete: pass nothing on.
    More,
    /// Pass these bytes on.
    Pass(BytesMut),
    /// Pass these bytes on, and read no further block.
    PassAndEnd(BytesMut),
}

impl RequestBlocks {
    /// `max_header_list_size` limits a list, as HTTP/2 counts it.
    pub(super) fn new(max_header_list_size: u32) -> Self {
        // h2 answers lists of up to four times the limit, and ends the connection over longer ones.
        let list_size_max = (max_header_list_size as usize).saturating_mul(4);
        Self {
            reader: Reader::new(list_size_max),
            rewrites: false,
            block_len_max: list_size_max.saturating_add(FRAME_LEN_MAX),
            open: BytesMut::new(),
        }
    }

    /// Returns true if [`RequestBlocks::take`] must get the frame when it is complete.
    pub(super) fn wants(&self, frame: &FrameHeader) -> bool {
        frame.kind == FrameKind::Headers || !self.open.is_empty()
    }

    /// Returns true if the frame breaks a header block: the library then sees it, and reports the
    /// error.
    pub(super) fn is_broken_by(&self, frame: &FrameHeader) -> bool {
        let goes_on = match self.open.first_chunk() {
            Some(first) => {
                let first = FrameHeader::parse(first);
                frame.kind == FrameKind::Continuation && frame.stream_id == first.stream_id
            }
            None => true,
        };
        let len = self.open.len() + frame.payload_len as usize;
        !goes_on || frame.payload_len as usize > FRAME_LEN_MAX || len > self.block_len_max
    }

    /// Takes a complete frame.
    pub(super) fn take(&mut self, frame: &FrameHeader, bytes: BytesMut) -> Next {
        if self.open.is_empty() {
            self.open = bytes;
        } else {
            self.open.unsplit(bytes);
        }
        if frame.flags & END_HEADERS == 0 {
            return Next::More;
        }
        let frames = std::mem::take(&mut self.open);
        match self.rewrite(&frames) {
            Ok(Some(rewritten)) => Next::Pass(rewritten),
            Ok(None) | Err(Unreadable) => Next::PassAndEnd(frames),
        }
    }

    /// Returns the frames of an incomplete block.
    pub(super) fn into_open(self) -> BytesMut {
        self.open
    }

    /// Rewrites the block in these frames. `None` if this block and all later ones can stay as they
    /// are.
    fn rewrite(&mut self, frames: &[u8]) -> Result<Option<BytesMut>, Unreadable> {
        let head = FrameHeader::parse(frames.first_chunk().ok_or(Unreadable)?);
        let mut fields = self.reader.read(fragments(frames)?)?;
        let unfit = fields.iter().position(is_unfit_authority);
        if unfit.is_none() && !self.rewrites {
            return Ok(None);
        }
        self.rewrites = true;
        if let Some(unfit) = unfit
            && let Field::Literal(_, value) = fields.remove(unfit)
            && !value.is_empty()
        {
            fields.push(Field::Literal(Name::Static(HOST), value));
        }
        let mut block = Vec::new();
        fields.iter().for_each(|field| hpack::write(field, &mut block));
        Ok(Some(write_frames(&head, &block)))
    }
}

/// Returns the block in these frames, without padding and priorities.
fn fragments(mut frames: &[u8]) -> Result<Bytes, Unreadable> {
    let mut block = BytesMut::new();
    while let Some(header) = frames.first_chunk() {
        let header = FrameHeader::parse(header);
        frames.advance(FRAME_HEADER_LEN);
        let mut payload = frames.split_off(..header.payload_len as usize).ok_or(Unreadable)?;
        if header.kind == FrameKind::Headers && header.flags & PADDED != 0 {
            let padding = *payload.split_off_first().ok_or(Unreadable)?;
            let rest = payload.len().checked_sub(usize::from(padding)).ok_or(Unreadable)?;
            payload = &payload[..rest];
        }
        if header.kind == FrameKind::Headers && header.flags & PRIORITY != 0 {
            payload = payload.get(PRIORITY_LEN..).ok_or(Unreadable)?;
        }
        block.extend_from_slice(payload);
    }
    Ok(block.freeze())
}

fn write_frames(head: &FrameHeader, block: &[u8]) -> BytesMut {
    let mut frames = BytesMut::with_capacity(FRAME_HEADER_LEN + block.len());
    let (mut kind, mut flags, mut rest) = (HEADERS, head.flags & END_STREAM, block);
    loop {
        let (payload, more) = rest.split_at(rest.len().min(FRAME_LEN_MAX));
        if more.is_empty() {
            flags |= END_HEADERS;
        }
        frames.put_uint(payload.len() as u64, 3);
        frames.put_slice(&[kind, flags]);
        frames.put_u32(head.stream_id);
        frames.put_slice(payload);
        if more.is_empty() {
            return frames;
        }
        (kind, flags, rest) = (CONTINUATION, 0, more);
    }
}

/// Returns true for an `:authority` of printable characters that is not valid in a URI. Other
/// characters are in no valid name.
fn is_unfit_authority(field: &Field) -> bool {
    match field {
        // The entry of the static table has no value.
        Field::Static(index) => *index == AUTHORITY,
        Field::Literal(name, value) => {
            name.is(AUTHORITY, ":authority") && {
                let value = value.decoded();
                value.iter().all(u8::is_ascii_graphic) && Authority::try_from(&value[..]).is_err()
            }
        }
    }
}

/// Entries of HPACK's static table.
const AUTHORITY: usize = 1;
const HOST: usize = 38;

const HEADERS: u8 = 0x1;
const CONTINUATION: u8 = 0x9;
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;
const PRIORITY_LEN: usize = 5;

/// SETTINGS_MAX_FRAME_SIZE, which the server leaves at its initial value (RFC 9113 §6.5.2).
const FRAME_LEN_MAX: usize = 16_384;

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> BytesMut {
        let mut bytes = BytesMut::new();
        bytes.put_uint(payload.len() as u64, 3);
        bytes.put_slice(&[kind, flags, 0, 0, 0, 1]);
        bytes.put_slice(payload);
        bytes
    }

    fn take(blocks: &mut RequestBlocks, bytes: BytesMut) -> Next {
        let header = FrameHeader::parse(bytes.first_chunk().unwrap());
        assert!(blocks.wants(&header) && !blocks.is_broken_by(&header));
        blocks.take(&header, bytes)
    }

    fn authority(value: &str) -> Vec<u8> {
        [&[0x83, 0x86, 0x84, 0x41, value.len() as u8][..], value.as_bytes()].concat()
    }

    #[test]
    fn what_is_a_uris_authority_stays_and_is_not_looked_at_again() {
        for value in ["localhost", "a:50051", "[::1]:1", "[fe80::1%25eth0]:50051", "a_b", "1.2.3.4:1"] {
            let bytes = frame(HEADERS, END_HEADERS, &authority(value));
            let mut blocks = RequestBlocks::new(1 << 14);
            assert_eq!(take(&mut blocks, bytes.clone()), Next::PassAndEnd(bytes), "{value}");
        }
        let none = frame(HEADERS, END_HEADERS, &[0x83, 0x86, 0x84]);
        assert_eq!(take(&mut RequestBlocks::new(1 << 14), none.clone()), Next::PassAndEnd(none));
    }

    #[test]
    fn what_is_none_goes_on_as_host() {
        for value in [
            "%2Frun%2Fecho.sock",
            "10.0.0.1:1%2C10.0.0.2:1",
            "/run/echo.sock",
            "a:b:c:d:e:f:g:h:i:j",
            "a%20b",
        ] {
            let mut blocks = RequestBlocks::new(1 << 14);
            let Next::Pass(passed) =
                take(&mut blocks, frame(HEADERS, END_HEADERS | END_STREAM, &authority(value)))
            else {
                panic!("{value}")
            };
            let expected = [&[0x83, 0x86, 0x84, 0x0f, 38 - 15, value.len() as u8], value.as_bytes()].concat();
            assert_eq!(passed, frame(HEADERS, END_HEADERS | END_STREAM, &expected), "{value}");
        }
    }

    #[test]
    fn an_empty_one_is_left_out_however_it_is_written() {
        let literal_name = [&[0, 10][..], b":authority", &[0]].concat();
        for empty in [&[0x81][..], &[0x41, 0], &[0x01, 0], &[0x11, 0x80], &literal_name] {
            let block = [&[0x83, 0x86][..], empty, &[0x84]].concat();
            let passed = take(&mut RequestBlocks::new(1 << 14), frame(HEADERS, END_HEADERS, &block));
            assert_eq!(passed, Next::Pass(frame(HEADERS, END_HEADERS, &[0x83, 0x86, 0x84])), "{empty:x?}");
        }
    }

    /// The second call names all fields by the table, and the trailers add their own entry.
    #[test]
    fn later_blocks_need_no_table() {
        let mut blocks = RequestBlocks::new(1 << 14);
        take(&mut blocks, frame(HEADERS, END_HEADERS, &[&authority("%2Fa")[..], b"\x40\x01x\x01y"].concat()));
        let again = take(&mut blocks, frame(HEADERS, END_HEADERS, &[0x83, 0x86, 0x84, 0xbf, 0xbe]));
        let expected = b"\x83\x86\x84\x00\x01x\x01y\x0f\x17\x04%2Fa";
        assert_eq!(again, Next::Pass(frame(HEADERS, END_HEADERS, expected)));
        let good = take(&mut blocks, frame(HEADERS, END_HEADERS, &[0x83, 0x86, 0x84, 0x41, 1, b'a']));
        assert_eq!(good, Next::Pass(frame(HEADERS, END_HEADERS, &[0x83, 0x86, 0x84, 0x01, 1, b'a'])));
        let trailers = take(&mut blocks, frame(HEADERS, END_HEADERS | END_STREAM, &[0xbf]));
        assert_eq!(trailers, Next::Pass(frame(HEADERS, END_HEADERS | END_STREAM, b"\x00\x01x\x01y")));
    }

    #[test]
    fn a_block_in_pieces_with_padding_and_priority_is_one() {
        let block = authority("");
        for cut in 0..block.len() {
            let mut blocks = RequestBlocks::new(1 << 14);
            let first = [&[3, 0, 0, 0, 0, 9][..], &block[..cut], &[0; 3]].concat();
            let first = frame(HEADERS, END_STREAM | PADDED | PRIORITY, &first);
            assert_eq!(take(&mut blocks, first), Next::More);
            let passed = take(&mut blocks, frame(CONTINUATION, END_HEADERS, &block[cut..]));
            let expected = frame(HEADERS, END_STREAM | END_HEADERS, &[0x83, 0x86, 0x84]);
            assert_eq!(passed, Next::Pass(expected), "cut at {cut}");
        }
    }

    #[test]
    fn a_long_block_is_cut_into_frames() {
        let mut blocks = RequestBlocks::new(1 << 16);
        take(&mut blocks, frame(HEADERS, END_HEADERS, &authority("%2Fa")));
        let entry = [&[0x40, 1, b'x', 0x7f, 0xb1, 0x1e][..], &[b'y'; 4016], &[0xbe; 9]].concat();
        let Next::Pass(passed) = take(&mut blocks, frame(HEADERS, END_HEADERS, &entry)) else {
            panic!("refused")
        };
        let mut kinds = Vec::new();
        meshless_core::FrameScanner::from_server()
            .scan(&passed, |frame| kinds.push((frame.kind, frame.flags)));
        let expected =
            [(FrameKind::Headers, 0), (FrameKind::Continuation, 0), (FrameKind::Continuation, END_HEADERS)];
        assert_eq!(kinds, expected);
    }

    #[test]
    fn what_is_no_block_is_passed_as_it_came() {
        let broken = frame(HEADERS, END_HEADERS, &[0x83, 0xff]);
        let mut blocks = RequestBlocks::new(1 << 14);
        assert_eq!(take(&mut blocks, broken.clone()), Next::PassAndEnd(broken));
        let mut blocks = RequestBlocks::new(1 << 14);
        assert_eq!(take(&mut blocks, frame(HEADERS, 0, &[0x83])), Next::More);
        let header = |kind, len: u32, stream| {
            let [_, l2, l1, l0] = len.to_be_bytes();
            FrameHeader::parse(&[l2, l1, l0, kind, 0, 0, 0, 0, stream])
        };
        assert!(!blocks.is_broken_by(&header(CONTINUATION, 7, 1)));
        for other in [
            header(CONTINUATION, 7, 3),
            header(0, 7, 1),
            header(HEADERS, 7, 1),
            header(CONTINUATION, 20_000, 1),
        ] {
            assert!(blocks.wants(&other) && blocks.is_broken_by(&other), "{other:?}");
        }
        assert_eq!(blocks.into_open(), frame(HEADERS, 0, &[0x83]));
    }
}
