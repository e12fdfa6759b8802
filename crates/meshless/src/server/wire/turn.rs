//! How much of a connection is read before the other tasks of its thread have their turn.
//!
//! h2 reads until the socket is empty, and hyper asks it for more after each call that it accepts. tokio's own limit, 128 reads
//! in a turn, lets a client that opens and resets streams queue 13 000 tasks ahead of everybody else's next call, and one
//! whose headers unpack to a thousand times their size hold the thread for 80 ms. So reading stops, for the rest of the
//! turn, once what was read is work for some 200 µs; estimated from the headers of frames, because more is not known here.
//!
//! Asked by the wire. It measures no time, and drops nothing: what is not read waits.

use meshless_core::{FrameHeader, FrameKind};

/// What one turn has brought so far.
#[derive(Debug, Default)]
pub(super) struct Turn {
    cost: u32,
}

impl Turn {
    pub(super) fn note(&mut self, header: &FrameHeader) {
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
    }

    pub(super) fn is_over(&self) -> bool {
        self.cost >= TURN_COST
    }
}

/// The unit is what a byte of a message costs, some 2 ns: 128 KiB, or 32 calls, or 8 KiB of headers, or 128 other frames.
const TURN_COST: u32 = 128 * 1024;

/// To accept a call and to spawn its task.
const CALL_COST: u32 = TURN_COST / 32;

/// One byte can stand for a field of the dynamic table.
const HEADER_BYTE_COST: u32 = 16;

/// A PING to answer, a stream to reset.
const FRAME_COST: u32 = TURN_COST / 128;

#[cfg(test)]
mod tests {
    use super::*;

    /// How many frames of a kind, with so many bytes of payload, a turn takes.
    fn taken(kind: u8, payload_len: u32) -> usize {
        let [_, l2, l1, l0] = payload_len.to_be_bytes();
        let header = FrameHeader::parse(&[l2, l1, l0, kind, 0, 0, 0, 0, 1]);
        let mut turn = Turn::default();
        let mut frames = 0;
        while !turn.is_over() {
            turn.note(&header);
            frames += 1;
        }
        frames
    }

    #[test]
    fn a_turn_takes_many_bytes_and_few_calls() {
        assert_eq!(taken(0x0, 16_384), 8);
        assert_eq!(taken(0x1, 0), 32);
        assert_eq!(taken(0x1, 50), 27);
        assert_eq!(taken(0x1, 16_384), 1);
        assert_eq!(taken(0x3, 4), 128);
    }
}
