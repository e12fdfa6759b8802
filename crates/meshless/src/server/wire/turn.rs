//! How much of a connection is read before the other tasks of its thread have their turn.
//!
//! h2 reads until the socket is empty, and hyper asks it for more after each call that it accepts.
//! tokio's own limit, 128 reads in a turn, lets a client that opens and resets streams queue 13 000
//! tasks ahead of everybody else's next call, and one whose headers unpack to a thousand times
//! their size hold the thread for 80 ms. So reading stops, for the rest of the turn, once what was
//! read is work for about a millisecond; estimated from the headers of frames, because more is not
//! known here.
//!
//! Asked by the wire. It measures no time, and drops nothing: what is not read waits.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake, Waker};

use meshless_core::{FrameHeader, FrameKind};

/// What one turn has brought so far.
#[derive(Debug, Default)]
pub(super) struct Turn {
    cost: u32,
    calls: u32,
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
        self.calls += u32::from(header.kind == FrameKind::Headers);
    }

    pub(super) fn note_early_reset(&mut self) {
        self.cost = self.cost.saturating_add(EARLY_RESET_COST);
    }

    /// Whether its calls, and not what it cost, are what keeps the thread from others.
    pub(super) fn has_many_calls(&self) -> bool {
        self.calls > CALLS_MAX_TO_YIELD
    }

    pub(super) fn is_over(&self) -> bool {
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

/// Wakes the connection's task for its next turn, and not sooner.
#[derive(Debug)]
pub(super) struct NextTurn {
    task: Waker,
    due: AtomicBool,
}

impl NextTurn {
    /// Asks for a turn after the runtime has looked for what has come for others (as
    /// `tokio::task::yield_now` does; a task that is woken at once is run 61 times between two such
    /// looks).
    pub(super) fn ask(cx: &Context<'_>) -> Arc<Self> {
        let next = Arc::new(Self { task: cx.waker().clone(), due: AtomicBool::new(false) });
        let waker = Waker::from(next.clone());
        let _ = pin!(tokio::task::yield_now()).poll(&mut Context::from_waker(&waker));
        next
    }

    /// Whether it has come. Until then responses may wake the task, each of which would otherwise
    /// bring a turn.
    pub(super) fn is_due(&self) -> bool {
        self.due.load(Ordering::Acquire)
    }
}

impl Wake for NextTurn {
    fn wake(self: Arc<Self>) {
        self.due.store(true, Ordering::Release);
        self.task.wake_by_ref();
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::Poll;

    use meshless_core::{CLIENT_PREFACE, Lifetime, LifetimeConfig, Rng};
    use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

    use super::super::{ConnectionState, ServerWire};
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
        assert_eq!(taken(0x0, 16_384), 16);
        assert_eq!(taken(0x1, 0), 128);
        assert_eq!(taken(0x1, 50), 108);
        assert_eq!(taken(0x1, 16_384), 2);
        assert_eq!(taken(0x3, 4), 256);
    }

    #[tokio::test]
    async fn a_turn_brings_some_calls_and_later_ones_bring_the_rest() {
        let rest = CALL.repeat(1000);
        assert_eq!(in_turns(&rest, false).await, [&CLIENT_PREFACE[..], &rest].concat());
    }

    /// A PING of keepalive goes out in the middle of the first turn, and is not acknowledged before
    /// the end.
    #[tokio::test]
    async fn a_turn_brings_no_more_while_an_acknowledgement_is_awaited() {
        let mut rest = CALL.repeat(1000);
        let sent = [&CLIENT_PREFACE[..], &rest].concat();
        rest.extend_from_slice(b"\0\0\x08\x06\x01\0\0\0\0meshless");
        assert_eq!(in_turns(&rest, true).await, sent);
    }

    const CALL: [u8; 13] = [0, 0, 4, 1, 5, 0, 0, 0, 1, 0x83, 0x86, 0x84, 0x87];

    /// What the library reads of the preface and these bytes, no turn of which brings more than 128
    /// calls.
    async fn in_turns(sent: &[u8], pings: bool) -> Vec<u8> {
        let now = tokio::time::Instant::now().into_std();
        let lifetime = Lifetime::new(LifetimeConfig::default(), now, &mut Rng::new(1, 0));
        let state = ConnectionState::new(lifetime);
        let (mut client, server) = tokio::io::duplex(1 << 20);
        let (mut wire, _remains) = ServerWire::new(server, state.clone(), 1 << 14);
        client.write_all(&[&CLIENT_PREFACE[..], sent].concat()).await.unwrap();
        client.shutdown().await.unwrap();
        let cx = &mut Context::from_waker(Waker::noop());
        let mut received = Vec::new();
        for turn in 0..100 {
            state.begin_turn();
            let before = received.len();
            let mut chunk = [0; 8192];
            let mut buf = ReadBuf::new(&mut chunk);
            while let Poll::Ready(read) = Pin::new(&mut wire).poll_read(cx, &mut buf) {
                read.unwrap();
                if buf.filled().is_empty() {
                    return received;
                }
                received.extend_from_slice(buf.filled());
                buf.clear();
            }
            assert!(received.len() - before <= CLIENT_PREFACE.len() + 128 * CALL.len(), "turn {turn}");
            if pings && turn == 0 {
                // Bytes of this turn are kept.
                state.ping();
                assert!(Pin::new(&mut wire).poll_flush(cx).is_ready());
            }
            tokio::task::yield_now().await;
        }
        panic!("the rest does not come");
    }
}
