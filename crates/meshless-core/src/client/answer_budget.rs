//! Limits the frames without content that a server may send on one connection of a channel.
//!
//! A frame without a message costs the client about a microsecond and the server nine bytes. A
//! server that sends nothing else takes a processor of each of its clients, even if they make few
//! calls. The same bucket as on the server's side ([`FrameBudget`]) limits that. This adds what a
//! client knows: how many streams it has opened, and so how many HEADERS may come.
//!
//! The connection's byte stream counts frames here, and closes the connection when
//! [`spend`](AnswerBudget::spend) returns false.

use std::time::Instant;

use crate::frame::{FrameHeader, FrameKind};
use crate::frame_budget::{ControlFrames, FrameBudget};

/// The budget of one connection.
#[derive(Clone, Debug)]
pub struct AnswerBudget {
    budget: FrameBudget,
    /// Frames counted and not yet paid for.
    frames: ControlFrames,
    /// Frames that the open streams may still bring.
    expected: u32,
}

impl Default for AnswerBudget {
    /// A full budget: a thousand frames without effect, or 10 000 PINGs.
    fn default() -> Self {
        Self { budget: FrameBudget::new(0), frames: ControlFrames::default(), expected: 0 }
    }
}

impl AnswerBudget {
    /// Counts a frame that the client has sent. HEADERS and DATA pay for the frames that answer
    /// them.
    #[inline]
    pub fn note_written(&mut self, header: &FrameHeader) {
        match header.kind {
            FrameKind::Headers => self.expected = (self.expected + FRAMES_PER_CALL).min(EXPECTED_MAX),
            FrameKind::Data => self.frames.data_sent = (self.frames.data_sent + 1).min(DATA_SENT_MAX),
            _ => {}
        }
    }

    /// Counts a frame that the server has sent.
    ///
    /// HEADERS are free while there are calls for them. Beyond that they are endless informational
    /// responses (1xx), or trailers of calls that have ended. The same holds for resets, and for
    /// DATA too short for the prefix of a message.
    #[inline]
    pub fn note_read(&mut self, header: &FrameHeader) {
        let counts = match header.kind {
            FrameKind::Headers | FrameKind::ResetStream => true,
            FrameKind::Data => header.payload_len < PREFIX_LEN && !header.is_end_stream(),
            _ => false,
        };
        if !counts {
            self.frames.note(header);
        } else if self.expected > 0 {
            self.expected -= 1;
        } else {
            self.frames.idle = self.frames.idle.saturating_add(1);
        }
    }

    /// Counts short DATA for streams that the client has reset.
    #[inline]
    pub fn note_late_data(&mut self, frames: u32) {
        self.frames.late_data = self.frames.late_data.saturating_add(frames);
    }

    /// Counts empty messages beyond the first of a call. They cost as much as PINGs.
    pub fn note_empty_messages(&mut self, messages: u32) {
        self.frames.pings = self.frames.pings.saturating_add(messages);
    }

    /// Returns true if something was counted that [`spend`](Self::spend) has to pay for.
    #[inline]
    pub fn is_owing(&self) -> bool {
        self.frames.count() > 0
    }

    /// Pays for what was counted. Returns false if the budget is too small: the connection should
    /// end.
    #[must_use]
    pub fn spend(&mut self, now: Instant) -> bool {
        self.budget.spend(now, std::mem::take(&mut self.frames))
    }
}

/// The head of a response, its trailers, and one more. That is a reset, 100-continue, an empty
/// DATA, or a short piece of a message.
const FRAMES_PER_CALL: u32 = 3;

/// Three for each of 32 768 calls: that many may be cancelled and still be answered
/// (`REMEMBERED_RESETS` of the connection).
const EXPECTED_MAX: u32 = 3 * 32_768;

/// DATA frames that pay for later WINDOW_UPDATEs: 160 MB in frames of 16 KiB, more than any window.
const DATA_SENT_MAX: u32 = 10_000;

/// "Length-Prefixed-Message": a flag and a length.
const PREFIX_LEN: u32 = 5;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::virtual_time::epoch;
    use std::time::Duration;

    fn header(kind: u8, flags: u8, payload_len: u8) -> FrameHeader {
        FrameHeader::parse(&[0, 0, payload_len, kind, flags, 0, 0, 0, 1])
    }

    /// Returns how many of these frames the budget covers at once.
    fn borne(budget: &mut AnswerBudget, header: FrameHeader) -> u32 {
        (0..1_000_000u32)
            .find(|_| {
                budget.note_read(&header);
                budget.is_owing() && !budget.spend(epoch())
            })
            .expect("no frame of this kind is free")
    }

    #[test]
    fn every_frame_that_carries_nothing_runs_out() {
        let floods = [
            ("PRIORITY", 0x2, 0, 5, 1000),
            ("unknown", 0xbe, 0, 0, 1000),
            ("PING", 0x6, 0, 8, 10_000),
            ("PING ack", 0x6, 1, 8, 1000),
            ("SETTINGS", 0x4, 0, 0, 100),
            ("SETTINGS ack", 0x4, 1, 0, 1000),
            ("GOAWAY", 0x7, 0, 8, 1000),
            ("WINDOW_UPDATE", 0x8, 0, 4, 5000),
            ("RST_STREAM", 0x3, 0, 4, 1000),
            ("trailers", 0x1, 5, 20, 1000),
            ("1xx", 0x1, 4, 5, 1000),
            ("empty DATA", 0x0, 0, 0, 1000),
            ("DATA of a byte", 0x0, 0, 1, 1000),
            ("padding", 0x0, 8, 201, 1000),
            ("PUSH_PROMISE", 0x5, 4, 5, 1000),
            ("empty CONTINUATION", 0x9, 0, 0, 1000),
        ];
        for (name, kind, flags, len, bound) in floods {
            assert_eq!(borne(&mut AnswerBudget::default(), header(kind, flags, len)), bound, "{name}");
        }
    }

    #[test]
    fn calls_pay_for_their_answers_however_many_and_however_late() {
        let mut budget = AnswerBudget::default();
        for _ in 0..100 {
            (0..30_000).for_each(|_| budget.note_written(&header(0x1, 4, 50)));
            for _ in 0..30_000 {
                // A server that writes a message's prefix and its two bytes separately.
                for (kind, flags, len) in [(0x1, 4, 20), (0x0, 0, 5), (0x0, 0, 2), (0x1, 5, 20)] {
                    budget.note_read(&header(kind, flags, len));
                }
            }
            assert!(!budget.is_owing());
        }
    }

    #[test]
    fn calls_that_were_made_pay_for_a_bounded_flood_only() {
        let mut budget = AnswerBudget::default();
        (0..1_000_000).for_each(|_| budget.note_written(&header(0x1, 4, 50)));
        assert_eq!(borne(&mut budget, header(0x1, 5, 20)), EXPECTED_MAX + 1000);
        let mut budget = AnswerBudget::default();
        (0..1_000_000).for_each(|_| budget.note_written(&header(0x0, 0, 50)));
        assert!(borne(&mut budget, header(0x8, 0, 4)) <= 2 * DATA_SENT_MAX + 5000);
    }

    #[test]
    fn uploads_are_acknowledged_for_free() {
        let (mut budget, mut now) = (AnswerBudget::default(), epoch());
        for _ in 0..1000 {
            (0..4000).for_each(|_| budget.note_written(&header(0x0, 0, 200)));
            (0..8000).for_each(|_| budget.note_read(&header(0x8, 0, 4)));
            now += Duration::from_millis(1);
            assert!(budget.spend(now));
        }
    }

    #[test]
    fn empty_messages_are_borne_at_the_pace_of_pings() {
        let (mut budget, mut now) = (AnswerBudget::default(), epoch());
        for _ in 0..100 {
            budget.note_empty_messages(9_000);
            assert!(budget.spend(now));
            now += Duration::from_secs(1);
        }
        budget.note_empty_messages(10_001);
        assert!(!budget.spend(now));
    }
}
