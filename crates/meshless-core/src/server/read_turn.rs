//! How much of a connection is read before the other tasks of its thread have their turn.
//!
//! h2 reads until the socket is empty, and hyper asks it for more after each call that it accepts.
//! tokio's own limit, 128 reads in a turn, lets a client that opens and resets streams queue 13 000
//! tasks ahead of everybody else's next call, and one whose headers unpack to a thousand times
//! their size hold the thread for 80 ms. So reading stops, for the rest of the turn, once what was
//! read is work for about a millisecond; estimated from the headers of frames, because more is not
//! known here.
//!
//! Asked by whoever reads a connection. It measures no time, and drops nothing: what is not read
//! waits.

use crate::frame::{FrameHeader, FrameKind};

/// What one turn has brought so far.
#[derive(Debug, Default)]
pub struct ReadTurn {
    cost: u32,
    calls: u32,
}

impl ReadTurn {
    /// A frame was read.
    pub fn note(&mut self, header: &FrameHeader) {
        let per_frame = match header.kind {
            FrameKind::Headers => CALL_COST,
            FrameKind::Data => 0,
            _ => FRAME_COST,
        };
        let per_byte = match header.kind {
            FrameKind::Headers | FrameKind::Continuation => HEADER_BYTE_COST,
            _ => 1,
        };
        let cost = per_frame.saturating_add(header.payload_len.saturating_mul(per_byte));
        self.cost = self.cost.saturating_add(cost);
        self.calls += u32::from(header.kind == FrameKind::Headers);
    }

    /// A frame that was read resets a call of this very turn.
    pub fn note_early_reset(&mut self) {
        self.cost = self.cost.saturating_add(EARLY_RESET_COST);
    }

    /// Whether its calls, and not what it cost, are what keeps the thread from others.
    pub fn has_many_calls(&self) -> bool {
        self.calls > CALLS_MAX_TO_YIELD
    }

    /// Whether reading stops until the next turn.
    pub fn is_over(&self) -> bool {
        self.cost >= TURN_COST
    }
}

/// The unit is what a byte of a message costs, some 2 ns: 256 KiB, or 128 calls, or 32 KiB of
/// headers, or 256 other frames. With 32 calls a client with a hundred in flight paid 8 % of its
/// calls per second.
const TURN_COST: u32 = 256 * 1024;

/// To accept a call and to spawn its task.
const CALL_COST: u32 = TURN_COST / 128;

/// One byte can stand for a field of the dynamic table.
const HEADER_BYTE_COST: u32 = 8;

/// A PING to answer, a stream to reset.
const FRAME_COST: u32 = TURN_COST / 256;

/// A reset of a call that came in the same turn: who does that often gets shorter turns.
const EARLY_RESET_COST: u32 = TURN_COST / 32;

/// tokio polls so many tasks at most before it looks for what has come, and then wakes whoever has
/// yielded (`event_interval`, 61): a connection that had yielded would then read its next turn
/// before the calls of its last one have run. One that has begun more calls than this queues behind
/// them.
const CALLS_MAX_TO_YIELD: u32 = 48;

#[cfg(test)]
mod tests {
    use super::*;

    /// How many frames of a kind, with so many bytes of payload, a turn takes.
    fn taken(kind: u8, payload_len: u32) -> usize {
        let [_, l2, l1, l0] = payload_len.to_be_bytes();
        let header = FrameHeader::parse(&[l2, l1, l0, kind, 0, 0, 0, 0, 1]);
        let mut turn = ReadTurn::default();
        let mut frames = 0;
        while !turn.is_over() {
            turn.note(&header);
            frames += 1;
        }
        frames
    }

    #[test]
    fn a_turn_takes_many_bytes_and_few_calls() {
        assert_eq!(taken(0x0, 16_384), 16);
        assert_eq!(taken(0x1, 0), 128);
        assert_eq!(taken(0x1, 50), 108);
        assert_eq!(taken(0x1, 16_384), 2);
        assert_eq!(taken(0x3, 4), 256);
    }
}
