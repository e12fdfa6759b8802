//! Ends late messages for reset streams, which h2 would count for a connection's whole life.
//!
//! The peer learns of a reset half a round trip later, and sends until then. h2 ignores this DATA,
//! but charges it against the connection's budget for small frames. Only reading it would give that
//! back, and nothing reads it (`proto/streams/streams.rs`, `recv_data`; `counts.rs`,
//! `record_data_frame`). So 17 000 such messages would end a connection of a server, and 135 000
//! one of a channel, however many months they take.
//!
//! h2 does not charge the last DATA of a stream. A stream that was reset is closed already, and
//! stays closed. So short DATA for it gets END_STREAM before h2 reads it. Its bytes still count for
//! flow control.
//!
//! Called by the byte streams under h2 at both ends. They count marked frames against the peer's
//! budget for frames that carry nothing. No I/O here.

use std::collections::{HashSet, VecDeque};
use std::time::{Duration, Instant};

use meshless_core::{FRAME_HEADER_LEN, FrameHeader, FrameKind};

/// The streams that this end has reset, for at least as long as h2 remembers them.
///
/// h2 answers DATA for a stream that it has forgotten with another reset, and charges nothing.
#[derive(Debug, Default)]
pub(crate) struct ResetStreams {
    ids: HashSet<u32>,
    /// The oldest first.
    by_age: VecDeque<(Instant, u32)>,
}

impl ResetStreams {
    /// Called when RST_STREAM is written. Returns true if it is the first of its stream.
    pub(crate) fn note(&mut self, stream: u32, now: Instant) -> bool {
        self.forget_old(now);
        if !self.ids.insert(stream) {
            return false;
        }
        if self.by_age.len() >= REMEMBERED
            && let Some((_, oldest)) = self.by_age.pop_front()
        {
            self.ids.remove(&oldest);
        }
        self.by_age.push_back((now, stream));
        true
    }

    /// Forgets the streams that h2 has forgotten by now.
    pub(crate) fn forget_old(&mut self, now: Instant) {
        while let Some((at, stream)) = self.by_age.front()
            && now.saturating_duration_since(*at) > MEMORY
        {
            self.ids.remove(stream);
            self.by_age.pop_front();
        }
        if self.by_age.is_empty() {
            // Frees the memory, too.
            *self = Self::default();
        }
    }

    /// Returns true if no stream is remembered.
    pub(crate) fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// Sets END_STREAM in short DATA for one of the streams. Returns true if this is such DATA.
    pub(crate) fn end_late_data(&self, bytes: &mut [u8; FRAME_HEADER_LEN]) -> bool {
        let header = FrameHeader::parse(bytes);
        let is_late = header.kind == FrameKind::Data
            && header.payload_len < SHORT
            && self.ids.contains(&header.stream_id);
        if is_late {
            bytes[FLAGS] |= END_STREAM;
        }
        is_late
    }
}

/// Longer than h2 remembers streams: 2 s in a channel (`RESET_MEMORY`), 1 s in a server
/// (`DEFAULT_RESET_STREAM_SECS`).
const MEMORY: Duration = Duration::from_secs(3);

/// As many as h2 remembers in a channel (`REMEMBERED_RESETS`). At most 1.5 MB after very many
/// resets.
const REMEMBERED: usize = 32_768;

/// h2 charges DATA of less than 256 bytes. Padding takes 256 more at most.
const SHORT: u32 = 256 + 256;

/// The position of the flags in a frame header (RFC 9113 §4.1).
const FLAGS: usize = 4;

const END_STREAM: u8 = 0x1;

#[cfg(test)]
mod tests {
    use super::*;

    fn header(kind: u8, payload_len: u16, stream: u32) -> [u8; FRAME_HEADER_LEN] {
        let ([l1, l0], [s3, s2, s1, s0]) = (payload_len.to_be_bytes(), stream.to_be_bytes());
        [0, l1, l0, kind, 0, s3, s2, s1, s0]
    }

    fn is_ended(streams: &ResetStreams, mut bytes: [u8; FRAME_HEADER_LEN]) -> bool {
        let before = bytes;
        let is_late = streams.end_late_data(&mut bytes);
        assert_eq!(bytes[FLAGS], u8::from(is_late));
        bytes[FLAGS] = 0;
        assert_eq!(bytes, before, "nothing else is changed");
        is_late
    }

    #[test]
    fn only_short_data_of_a_reset_stream_is_ended() {
        let mut streams = ResetStreams::default();
        assert!(streams.is_empty() && !is_ended(&streams, header(0, 7, 5)));
        let now = Instant::now();
        assert!(streams.note(5, now));
        assert!(!streams.note(5, now), "again");
        assert!(!streams.is_empty());
        for payload_len in [0, 7, 255, 511] {
            assert!(is_ended(&streams, header(0, payload_len, 5)), "{payload_len}");
        }
        assert!(!is_ended(&streams, header(0, 512, 5)), "h2 gives budget back for it");
        for (kind, stream) in [(0, 0), (0, 1), (0, 3), (0, 7), (1, 5), (3, 5), (8, 5)] {
            assert!(!is_ended(&streams, header(kind, 4, stream)), "kind {kind}, stream {stream}");
        }
    }

    #[test]
    fn streams_are_forgotten_after_a_while_or_for_many_others() {
        let mut streams = ResetStreams::default();
        let start = Instant::now();
        let ids = || (0..REMEMBERED as u32).map(|call| 2 * call + 1);
        assert!(ids().all(|id| streams.note(id, start)));
        assert!(ids().all(|id| is_ended(&streams, header(0, 7, id))));
        assert!(streams.note(1_000_001, start + MEMORY));
        assert!(!is_ended(&streams, header(0, 7, 1)) && is_ended(&streams, header(0, 7, 3)));
        streams.forget_old(start + MEMORY * 3 / 2);
        assert!(!is_ended(&streams, header(0, 7, 3)) && is_ended(&streams, header(0, 7, 1_000_001)));
        streams.forget_old(start + MEMORY * 3);
        assert!(streams.is_empty());
        assert_eq!(streams.by_age.capacity(), 0, "no memory is kept");
    }
}
