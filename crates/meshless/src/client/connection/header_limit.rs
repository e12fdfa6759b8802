//! The limit on the length of a response's headers and trailers, and the report to calls that
//! exceed it.
//!
//! h2's own limit does not help a caller. It silently drops the fields of trailers above it, it
//! reports PROTOCOL_ERROR for headers, and a list four times as long ends the connection. So h2
//! gets a larger limit, and the user's limit is enforced here. It is checked on the fields that h2
//! returns, and on the lengths of the frames that carried them. Together they find every list that
//! is too long, also if h2 dropped fields of it (see [`HeaderLimit::for_h2`]).

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard, PoisonError};

use http::{HeaderMap, Request};
use meshless_core::{FrameHeader, FrameKind};

use crate::shared::header_list::{FIELD_OVERHEAD, list_size};

/// The limit on one header list, in bytes as SETTINGS_MAX_HEADER_LIST_SIZE counts them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeaderLimit(u32);

/// A header list above a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HeadersTooLong {
    /// The smallest length that it can have, in bytes.
    pub(crate) len: u64,
    pub(crate) max: u32,
}

impl HeaderLimit {
    pub(crate) fn new(max: u32) -> Self {
        Self(max)
    }

    pub(crate) fn max(self) -> u32 {
        self.0
    }

    /// Returns the limit for h2: large enough that no list passes because h2 dropped fields of it.
    ///
    /// h2 returns the fields before the one that reaches h2's limit. If these fields alone exceed
    /// our limit, they show it. Otherwise the dropped field is longer than the difference of the
    /// two limits. At most 4 096 bytes of it come from HPACK's table. The others take at least five
    /// bits each on the wire (RFC 7541, appendix B), so the frames themselves exceed our limit,
    /// which [`BlockWatch`] sees. For that the difference has to be 8/5 of our limit, plus the
    /// table.
    pub(super) fn for_h2(self) -> u32 {
        let max = u64::from(self.0) * 13 / 5 + 2 * HPACK_TABLE;
        u32::try_from(max).unwrap_or(u32::MAX)
    }

    /// Checks the fields that h2 returned. `block` is the length of its frames, if that was above
    /// the limit.
    ///
    /// # Errors
    /// If the list was longer than the limit.
    pub(super) fn check(self, headers: &HeaderMap, block: Option<u64>) -> Result<(), HeadersTooLong> {
        let len = (list_size(headers) as u64).max(block.unwrap_or(0));
        if len > u64::from(self.0) { Err(HeadersTooLong { len, max: self.0 }) } else { Ok(()) }
    }

    fn is_long_block(self, len: u64) -> bool {
        len > u64::from(self.0) + BLOCK_OVERHEAD
    }
}

/// Returns the size of a request's header list, with its pseudo-header fields.
pub(super) fn request_size(request: &Request<()>) -> u64 {
    let uri = request.uri();
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let pseudo = [
        (":method", request.method().as_str()),
        (":scheme", uri.scheme_str().unwrap_or_default()),
        (":authority", uri.authority().map_or("", |authority| authority.as_str())),
        (":path", path),
    ];
    let pseudo: usize = pseudo.iter().map(|(name, value)| name.len() + value.len() + FIELD_OVERHEAD).sum();
    (pseudo + list_size(request.headers())) as u64
}

/// Adds up the frame lengths of each header block as they are read.
#[derive(Debug)]
pub(super) struct BlockWatch {
    limit: HeaderLimit,
    stream: u32,
    len: u64,
}

impl BlockWatch {
    pub(super) fn new(limit: HeaderLimit) -> Self {
        Self { limit, stream: 0, len: 0 }
    }

    /// Counts a frame. Returns its stream and the length of its block if that exceeds the limit by
    /// now.
    pub(super) fn pass(&mut self, frame: &FrameHeader) -> Option<(u32, u64)> {
        match frame.kind {
            FrameKind::Headers => {
                self.stream = frame.stream_id;
                self.len = u64::from(frame.payload_len);
            }
            FrameKind::Continuation => self.len += u64::from(frame.payload_len),
            _ => return None,
        }
        self.limit.is_long_block(self.len).then_some((self.stream, self.len))
    }
}

/// The header blocks that were too long, until the calls on their streams ask.
#[derive(Debug, Default)]
pub(super) struct LongBlocks {
    /// True after the first one; otherwise calls need no lock.
    any: AtomicBool,
    by_stream: Mutex<BTreeMap<u32, u64>>,
}

impl LongBlocks {
    /// Records a block. Called before h2 has the block.
    pub(super) fn note(&self, stream: u32, len: u64) {
        let mut blocks = self.lock();
        blocks.insert(stream, len);
        if blocks.len() > LONG_BLOCKS_MAX {
            // The oldest: its call has already asked, unless its response is not read.
            blocks.pop_first();
        }
        self.any.store(true, SeqCst);
    }

    pub(super) fn of(&self, stream: u32) -> Option<u64> {
        if self.any.load(SeqCst) { self.lock().get(&stream).copied() } else { None }
    }

    /// The call is over.
    pub(super) fn forget(&self, stream: u32) {
        if self.any.load(SeqCst) {
            self.lock().remove(&stream);
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u32, u64>> {
        // The lock is held only for memory accesses.
        self.by_stream.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The default limit: 64 KiB, as in Node and four times C-core's.
///
/// A hostile backend can pin memory with it. h2 keeps up to 174 KiB for the headers and as much for
/// the trailers of each call in flight, as HTTP/2 counts. Fields of two bytes take about five times
/// that in memory. So at the worst a call pins 1.8 MB, until it is read or dropped.
pub(super) const HEADER_LIST_SIZE: u32 = 64 << 10;

/// SETTINGS_HEADER_TABLE_SIZE: this client keeps its initial value (RFC 9113 §6.5.2).
const HPACK_TABLE: u64 = 4096;

/// The bytes of a block's frames that are not fields: padding and priority of HEADERS, changes of
/// HPACK's table.
const BLOCK_OVERHEAD: u64 = 1024;

/// Calls with too long a response that have not asked yet. Each record costs the peer a block above
/// the limit.
const LONG_BLOCKS_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_field_is_longer_on_the_wire_than_the_limit() {
        for max in [0, 1, 1000, 64 << 10, 16 << 20] {
            let limit = HeaderLimit::new(max);
            // The shortest field with which a list of at most `max` bytes reaches h2's limit, in
            // Huffman's shortest code.
            let field = u64::from(limit.for_h2()) - u64::from(max);
            let on_the_wire = (field - HPACK_TABLE - FIELD_OVERHEAD as u64) * 5 / 8;
            assert!(limit.is_long_block(on_the_wire), "{max}: {on_the_wire}");
        }
        assert_eq!(HeaderLimit::new(u32::MAX).for_h2(), u32::MAX);
    }

    #[test]
    fn a_block_is_the_sum_of_its_frames() {
        let frame = |kind, stream_id: u32, payload_len: u32| {
            let mut bytes = [0; 9];
            bytes[..3].copy_from_slice(&payload_len.to_be_bytes()[1..]);
            bytes[3] = kind;
            bytes[5..].copy_from_slice(&stream_id.to_be_bytes());
            FrameHeader::parse(&bytes)
        };
        let mut watch = BlockWatch::new(HeaderLimit::new(20_000));
        assert_eq!(watch.pass(&frame(1, 1, 16_000)), None);
        assert_eq!(watch.pass(&frame(0, 3, 16_000)), None, "DATA is no header block");
        assert_eq!(watch.pass(&frame(9, 1, 16_000)), Some((1, 32_000)));
        assert_eq!(watch.pass(&frame(1, 3, 16_000)), None, "the next begins");
    }

    #[test]
    fn long_blocks_are_remembered_until_their_calls_end_and_are_bounded() {
        let blocks = LongBlocks::default();
        assert_eq!(blocks.of(1), None);
        (0..2 * LONG_BLOCKS_MAX as u32).for_each(|stream| blocks.note(stream, 7));
        assert_eq!(blocks.of(0), None, "the oldest goes");
        assert_eq!(blocks.of(LONG_BLOCKS_MAX as u32), Some(7));
        blocks.forget(LONG_BLOCKS_MAX as u32);
        assert_eq!(blocks.of(LONG_BLOCKS_MAX as u32), None);
        assert!(blocks.lock().len() <= LONG_BLOCKS_MAX);
    }

    #[test]
    fn sizes_are_counted_as_http2_counts_them() {
        let request = http::Request::post("http://a.b:1/s/m").header("te", "trailers").body(()).unwrap();
        let expected = (7 + 4) + (7 + 4) + (10 + 5) + (5 + 4) + (2 + 8) + 5 * 32;
        assert_eq!(request_size(&request), expected);
    }
}
