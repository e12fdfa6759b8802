//! When the next turn of a connection comes, once its last one has brought enough
//! ([`ReadTurn`](meshless_core::ReadTurn)).
//!
//! Asked by the wire.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Wake, Waker};

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
