//! One simulated TCP connection: two ends, bytes that take their time, and the ways in which a
//! network fails.
//!
//! The network makes links and breaks them; the channel and the server read and write their ends.
//! What passes the client's end is also watched frame by frame, because invariant 3 is about
//! frames: no HEADERS after the first GOAWAY was read.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::mem::{Discriminant, discriminant};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use meshless_core::{FrameHeader, FrameKind, Rng};
use meshless_testkit::watched::{FrameWatcher, Watched};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::log::Log;

/// A connection between the channel and a host.
pub(crate) struct Link {
    state: Mutex<State>,
}

struct State {
    /// What is under way to the client, and to the server.
    to: [Direction; 2],
    latency: Duration,
    /// Nothing arrives; the sender's kernel keeps it and sends it again.
    held: bool,
}

#[derive(Default)]
struct Direction {
    segments: VecDeque<(Instant, Bytes)>,
    bytes: usize,
    /// When the reader learns that no more comes.
    end_at: Option<Instant>,
    /// When the reader learns that the connection was reset.
    reset_at: Option<Instant>,
    /// The reader has closed its end.
    deaf: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// One end of a link. Dropping it closes the connection, with RST if bytes were left unread, as TCP
/// does.
pub(crate) struct End {
    link: Arc<Link>,
    side: usize,
    timer: Pin<Box<Sleep>>,
    rng: Rng,
    _alive: Alive,
}

/// Sees what passes the client's end.
pub(crate) struct Watch {
    goaway_read: Option<Instant>,
    log: Arc<Log>,
    host: usize,
}

/// Counts the ends that exist.
struct Alive(Arc<AtomicUsize>);

impl Link {
    /// A link to `host`: its client's end, and its server's.
    pub(crate) fn new(
        latency: Duration,
        rng: &mut Rng,
        host: usize,
        log: &Arc<Log>,
        alive: &Arc<AtomicUsize>,
    ) -> (Arc<Self>, Watched<End, Watch>, End) {
        let state = State { to: Default::default(), latency, held: false };
        let link = Arc::new(Self { state: Mutex::new(state) });
        let client = End::new(&link, CLIENT, Rng::new(rng.next_u64(), 0), alive);
        let server = End::new(&link, SERVER, Rng::new(rng.next_u64(), 1), alive);
        let watch = Watch { goaway_read: None, log: Arc::clone(log), host };
        (link, Watched::new(client, watch), server)
    }

    /// A process is gone: both ends are reset, the client's as soon as packets pass.
    pub(crate) fn reset(&self) {
        let mut state = self.state();
        let now = Instant::now();
        let latency = state.latency;
        state.to[CLIENT].reset_at.get_or_insert(now + latency);
        state.to[SERVER].reset_at = Some(now);
        state.wake();
    }

    pub(crate) fn set_held(&self, held: bool) {
        let mut state = self.state();
        state.held = held;
        state.wake();
    }

    pub(crate) fn set_latency(&self, latency: Duration) {
        self.state().latency = latency;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl State {
    fn wake(&mut self) {
        for direction in &mut self.to {
            direction.wake_reader();
            direction.wake_writer();
        }
    }
}

impl Direction {
    fn wake_reader(&mut self) {
        self.reader.take().into_iter().for_each(Waker::wake);
    }

    fn wake_writer(&mut self) {
        self.writer.take().into_iter().for_each(Waker::wake);
    }

    /// When the reader has to look next.
    fn due(&self) -> Option<Instant> {
        let first = self.segments.front().map(|(at, _)| *at);
        [first.or(self.end_at), self.reset_at].into_iter().flatten().min()
    }
}

impl End {
    fn new(link: &Arc<Link>, side: usize, rng: Rng, alive: &Arc<AtomicUsize>) -> Self {
        alive.fetch_add(1, Relaxed);
        let timer = Box::pin(sleep_until(Instant::now()));
        Self { link: Arc::clone(link), side, timer, rng, _alive: Alive(Arc::clone(alive)) }
    }
}

impl AsyncRead for End {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let me = &mut *self;
        let now = Instant::now();
        let due = {
            let mut state = me.link.state();
            let held = state.held;
            let incoming = &mut state.to[me.side];
            incoming.reader = Some(cx.waker().clone());
            // What happens on this very machine needs no packet.
            if held && !(me.side == SERVER && incoming.reset_at.is_some()) {
                return Poll::Pending;
            }
            if incoming.reset_at.is_some_and(|at| at <= now) {
                return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
            }
            if let Some((at, segment)) = incoming.segments.front_mut()
                && *at <= now
            {
                // Any cut of the byte stream is TCP's right.
                let most = if me.rng.below(8) == 0 { 1 + me.rng.below(64) } else { usize::MAX };
                let piece = segment.split_to(segment.len().min(buf.remaining()).min(most));
                if segment.is_empty() {
                    incoming.segments.pop_front();
                }
                incoming.bytes -= piece.len();
                incoming.wake_writer();
                drop(state);
                buf.put_slice(&piece);
                return Poll::Ready(Ok(()));
            }
            if incoming.segments.is_empty() && incoming.end_at.is_some_and(|at| at <= now) {
                return Poll::Ready(Ok(()));
            }
            incoming.due()
        };
        if let Some(due) = due {
            me.timer.as_mut().reset(due);
            if me.timer.as_mut().poll(cx).is_ready() {
                cx.waker().wake_by_ref();
            }
        }
        Poll::Pending
    }
}

impl AsyncWrite for End {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let me = &mut *self;
        let now = Instant::now();
        let mut state = me.link.state();
        let (held, latency) = (state.held, state.latency);
        if !held && state.to[me.side].reset_at.is_some_and(|at| at <= now) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let outgoing = &mut state.to[1 - me.side];
        if outgoing.deaf {
            // Taken by the kernel, and answered with RST.
            state.to[me.side].reset_at.get_or_insert(now + 2 * latency);
            state.to[me.side].wake_reader();
            return Poll::Ready(Ok(buf.len()));
        }
        if outgoing.bytes >= WINDOW {
            outgoing.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let length = buf.len().min(WINDOW);
        let at = outgoing.segments.back().map_or(now + latency, |(last, _)| (now + latency).max(*last));
        outgoing.bytes += length;
        outgoing.segments.push_back((at, Bytes::copy_from_slice(&buf[..length])));
        outgoing.wake_reader();
        Poll::Ready(Ok(length))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.link.state();
        let at = Instant::now() + state.latency;
        let outgoing = &mut state.to[1 - self.side];
        outgoing.end_at.get_or_insert(at);
        outgoing.wake_reader();
        Poll::Ready(Ok(()))
    }
}

impl Drop for End {
    fn drop(&mut self) {
        let mut state = self.link.state();
        let at = Instant::now() + state.latency;
        let incoming = &mut state.to[self.side];
        incoming.deaf = true;
        let unread = incoming.bytes > 0;
        incoming.segments.clear();
        incoming.bytes = 0;
        incoming.wake_writer();
        let outgoing = &mut state.to[1 - self.side];
        outgoing.end_at.get_or_insert(at);
        if unread {
            outgoing.reset_at.get_or_insert(at);
        }
        outgoing.wake_reader();
    }
}

/// Nothing is known of whoever is at the other end.
impl tonic::transport::server::Connected for End {
    type ConnectInfo = ();

    fn connect_info(&self) {}
}

impl FrameWatcher for Watch {
    fn on_read(&mut self, frame: FrameHeader) {
        self.log.trace(("read", self.host, frame_words(frame)));
        if frame.kind == FrameKind::GoAway {
            self.goaway_read.get_or_insert_with(Instant::now);
        }
    }

    fn on_written(&mut self, frame: FrameHeader) {
        self.log.trace(("written", self.host, frame_words(frame)));
        // In the instant of the GOAWAY itself, what had been queued may still go out.
        if frame.kind == FrameKind::Headers
            && let Some(at) = self.goaway_read
            && Instant::now() > at
        {
            self.log.violation(format!(
                "3: a call on stream {} of a connection to host {}, {:?} after its GOAWAY was read",
                frame.stream_id,
                self.host,
                at.elapsed()
            ));
        }
    }
}

/// What distinguishes a frame in the trace of a run.
fn frame_words(frame: FrameHeader) -> (Discriminant<FrameKind>, u8, u32, u32) {
    (discriminant(&frame.kind), frame.flags, frame.stream_id, frame.payload_len)
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// Indices of the sides.
const CLIENT: usize = 0;
const SERVER: usize = 1;

/// Bytes on the way in one direction, as a socket's buffers hold them.
const WINDOW: usize = 64 * 1024;
