//! The byte stream under one HTTP/2 connection.
//!
//! h2 answers PINGs and sends GOAWAYs on its own, and exposes neither; below h2 both are visible as
//! frames. The wire reports what it sees to the lifetime machine, and carries out three orders of
//! the driver that h2 has no method for. When the HTTP/2 library drops the wire, it hands the
//! socket to the driver, which closes it without losing sent bytes.
//!
//! Called by hyper through tokio's I/O traits. It never decides anything, and never spawns.

mod hpack;
mod inbound;
mod next_turn;
mod outbound;
mod request_blocks;

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::{Buf, Bytes, BytesMut};
use meshless_core::ControlFrames;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;

use super::state::{Blocked, ConnectionState};
use inbound::{FrameSummary, Inbound};
use next_turn::NextTurn;
pub(super) use outbound::go_away;
use outbound::{Outbound, WritePlan};

/// A socket that the HTTP/2 library reads and writes.
pub(super) struct ServerWire<I> {
    /// `None` only while it is dropped.
    io: Option<I>,
    home: Option<oneshot::Sender<ClosedIo<I>>>,
    state: Arc<ConnectionState>,
    inbound: Inbound,
    outbound: Outbound,
    /// Frames that have arrived but were not yet reported to the lifetime machine.
    frames: ControlFrames,
    /// The rest of a frame that replaces one of the library's, or of a PING.
    replacement: Bytes,
    peer_closed: bool,
    going_away: bool,
    /// How many more reads of the socket may precede the second GOAWAY, once that is ordered.
    reads_before_finish: Option<u32>,
    /// Held while the socket takes no bytes.
    blocked: Option<Blocked>,
    /// The driver's turn of the last read.
    turn: u32,
    /// Held when enough has arrived in that turn.
    next_turn: Option<Arc<NextTurn>>,
    /// Bytes that the socket gave beyond that turn. At most one read of the library: 8 KiB between
    /// large frames.
    kept: BytesMut,
}

/// The socket, after the HTTP/2 library has dropped the connection.
#[derive(Debug)]
pub(super) struct ClosedIo<I> {
    pub(super) io: I,
    /// The client has closed its side.
    pub(super) peer_closed: bool,
    /// The library ended between two frames, and not within a header block: one more frame may
    /// follow.
    pub(super) may_insert: bool,
    /// The highest stream that the client opened.
    pub(super) last_stream: u32,
}

impl<I: AsyncRead + AsyncWrite + Unpin> ServerWire<I> {
    /// Returns a wire over `io`, and the receiver of its socket after the wire is dropped.
    pub(super) fn new(
        io: I,
        state: Arc<ConnectionState>,
        max_header_list_size: u32,
    ) -> (Self, oneshot::Receiver<ClosedIo<I>>) {
        let (home, remains) = oneshot::channel();
        let wire = Self {
            io: Some(io),
            home: Some(home),
            state,
            inbound: Inbound::new(max_header_list_size),
            outbound: Outbound::new(),
            frames: ControlFrames::default(),
            replacement: Bytes::new(),
            peer_closed: false,
            going_away: false,
            reads_before_finish: None,
            blocked: None,
            turn: 0,
            next_turn: None,
            kept: BytesMut::new(),
        };
        (wire, remains)
    }

    fn obey(&mut self) {
        if !self.going_away
            && let Some(reason) = self.state.going_away()
        {
            self.going_away = true;
            self.outbound.start_going_away(reason.debug_data());
            self.inbound.start_filter();
        }
        if self.going_away && self.state.is_go_away_to_finish() {
            self.reads_before_finish.get_or_insert(READS_BEFORE_FINISH);
        }
    }

    fn report(&mut self, seen: FrameSummary) {
        if let Some(max) = seen.header_list_max {
            self.state.set_client_header_list_max(max);
        }
        self.frames.add(seen.frames);
        let ControlFrames { pings, settings, resets, .. } = seen.frames;
        // Cheap frames are reported in bulk: a client sends a WINDOW_UPDATE with each message that
        // it reads.
        let is_urgent = seen.opened || seen.acknowledged || pings + settings + resets > 0;
        if !is_urgent && self.frames.count() < FRAMES_TOLD_AT_ONCE {
            return;
        }
        let now = tokio::time::Instant::now().into_std();
        let mut lifetime = self.state.lifetime();
        if seen.opened {
            lifetime.handle_ready(now);
        }
        if seen.acknowledged {
            lifetime.handle_go_away_acknowledged(now);
        }
        for _ in 0..pings {
            if std::mem::take(&mut self.outbound.sent().response) {
                lifetime.handle_response_sent();
            }
            lifetime.handle_ping(now);
        }
        let sent = self.outbound.sent();
        let responses = std::mem::take(&mut sent.ended);
        let data_sent = std::mem::take(&mut sent.data_frames);
        let frames = std::mem::take(&mut self.frames);
        lifetime.handle_control_frames(now, ControlFrames { responses, data_sent, ..frames });
    }

    /// Called when the socket was read.
    fn note_read(&mut self, nothing: bool) {
        if nothing {
            self.peer_closed = true;
        } else {
            self.state.note_received();
        }
    }

    /// Notes if the socket takes bytes.
    fn poll_taken(&mut self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match written {
            Poll::Pending => {
                let state = &self.state;
                self.blocked.get_or_insert_with(|| state.block());
                state.set_socket_full(true);
            }
            Poll::Ready(_) => {
                if self.blocked.take().is_some() {
                    self.state.set_socket_full(false);
                }
            }
        }
        written
    }

    /// Notes which streams were reset, and if the client took bytes of a response.
    fn report_taken(&mut self) {
        for reset in self.outbound.take_resets() {
            let is_first = self.inbound.note_reset(reset.stream, Instant::now());
            // h2 would count these over the whole life of the connection, and a busy connection
            // reaches any number.
            self.frames.add(match (reset.for_error, is_first) {
                (false, _) => ControlFrames::default(),
                (true, true) => ControlFrames { idle: 1, ..ControlFrames::default() },
                (true, false) => ControlFrames { late_data: LATE_DATA_PER_RESET, ..ControlFrames::default() },
            });
        }
        if std::mem::take(&mut self.outbound.sent().data) && self.state.is_blocked() {
            self.state.lifetime().handle_bytes_taken(tokio::time::Instant::now().into_std());
        }
    }

    /// Pending when enough has arrived in this turn, until the next turn begins.
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.next_turn.as_ref().is_some_and(|next| !next.is_due()) {
            return Poll::Pending;
        }
        self.next_turn = None;
        let turn = self.state.turn();
        if turn != self.turn {
            self.turn = turn;
            self.inbound.begin_turn();
        }
        if !self.inbound.turn().is_over() {
            return Poll::Ready(());
        }
        if self.inbound.turn().has_many_calls() {
            cx.waker().wake_by_ref();
        } else {
            self.next_turn = Some(NextTurn::ask(cx));
        }
        Poll::Pending
    }

    fn poll_watched(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        if self.kept.is_empty() {
            ready!(Pin::new(socket(&mut self.io)).poll_read(cx, buf))?;
            self.note_read(buf.filled().len() == before);
        } else {
            let length = self.kept.len().min(buf.remaining());
            buf.put_slice(&self.kept.split_to(length));
            if self.kept.is_empty() {
                // Frees the memory: the connection may be idle from now on.
                self.kept = BytesMut::new();
            }
        }
        let bytes = &mut buf.filled_mut()[before..];
        let (length, seen) = self.inbound.watch(bytes);
        let is_cut = length < bytes.len();
        if is_cut {
            let rest = std::mem::take(&mut self.kept);
            self.kept = BytesMut::from(&bytes[length..]);
            self.kept.unsplit(rest);
            buf.set_filled(before + length);
        }
        self.report(seen);
        if is_cut && length == 0 {
            // Zero bytes would mean the end of the stream. These bytes are for the filter.
            return self.poll_filtered(cx, buf);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_filtered(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let seen = self.inbound.filter(&std::mem::take(&mut self.kept));
        self.report(seen);
        loop {
            if let Some(passed) = self.inbound.passed().filter(|passed| !passed.is_empty()) {
                let length = passed.len().min(buf.remaining());
                buf.put_slice(&passed.split_to(length));
                return Poll::Ready(Ok(()));
            }
            if self.inbound.is_held() {
                // The write of the second GOAWAY wakes this task.
                return Poll::Pending;
            }
            if !self.going_away {
                ready!(self.poll_turn(cx));
            }
            let mut chunk = [0; FILTER_READ_LEN];
            let mut chunk = ReadBuf::new(&mut chunk);
            let read = Pin::new(socket(&mut self.io)).poll_read(cx, &mut chunk)?;
            if let Some(left) = self.reads_before_finish.as_mut().filter(|left| **left > 0) {
                // Calls that have arrived must be accepted before the second GOAWAY.
                *left = if read.is_ready() { *left - 1 } else { 0 };
                if *left == 0 {
                    self.inbound.answer_ping();
                }
            } else if read.is_pending() {
                return Poll::Pending;
            }
            if read.is_ready() {
                self.note_read(chunk.filled().is_empty());
            }
            if self.peer_closed {
                return Poll::Ready(Ok(()));
            }
            let seen = self.inbound.filter(chunk.filled());
            self.report(seen);
        }
    }

    /// Returns true if all bytes to write are the library's.
    fn is_passive(&mut self) -> bool {
        if self.state.take_ping() {
            self.outbound.order_ping();
        }
        !self.outbound.looks_ahead() && self.replacement.is_empty()
    }

    /// Writes our own frames that come before the library's next bytes.
    fn poll_replacement(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            if self.replacement.is_empty() {
                let Some(ping) = self.outbound.take_ping() else { return Poll::Ready(Ok(())) };
                self.replacement = ping;
                self.inbound.expect_keepalive_ack();
            }
            let written = Pin::new(socket(&mut self.io)).poll_write(cx, &self.replacement);
            let written = ready!(self.poll_taken(written))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.replacement.advance(written);
        }
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> AsyncRead for ServerWire<I> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let me = self.get_mut();
        me.obey();
        if me.state.take_write_first() {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        ready!(me.poll_turn(cx));
        me.inbound.forget_old_resets();
        if me.inbound.filters() { me.poll_filtered(cx, buf) } else { me.poll_watched(cx, buf) }
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> AsyncWrite for ServerWire<I> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let me = self.get_mut();
        me.obey();
        if !me.is_passive() {
            ready!(me.poll_replacement(cx))?;
        }
        match me.outbound.plan(buf) {
            WritePlan::Write(length) => {
                let written = Pin::new(socket(&mut me.io)).poll_write(cx, &buf[..length]);
                let written = ready!(me.poll_taken(written))?;
                me.outbound.written(&buf[..written]);
                me.report_taken();
                Poll::Ready(Ok(written))
            }
            WritePlan::Replace { length, frame } => {
                me.replacement = frame;
                if let Some(last_stream) = me.outbound.last_accepted() {
                    me.state.lifetime().handle_go_away_finished();
                    me.inbound.release(last_stream);
                    cx.waker().wake_by_ref();
                }
                // The rest goes out before the next write, or with the flush.
                let _ = me.poll_replacement(cx)?;
                Poll::Ready(Ok(length))
            }
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let me = self.get_mut();
        me.obey();
        if !me.is_passive() {
            // h2 writes a GOAWAY in one slice, before any payload.
            let first = bufs.iter().find(|buf| !buf.is_empty()).map_or(&[][..], |buf| &**buf);
            return Pin::new(me).poll_write(cx, first);
        }
        let written = Pin::new(socket(&mut me.io)).poll_write_vectored(cx, bufs);
        let written = ready!(me.poll_taken(written))?;
        let mut left = written;
        for buf in bufs {
            let piece = left.min(buf.len());
            me.outbound.written(&buf[..piece]);
            left -= piece;
        }
        me.report_taken();
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.as_ref().is_some_and(AsyncWrite::is_write_vectored)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let me = self.get_mut();
        if !me.is_passive() {
            ready!(me.poll_replacement(cx))?;
        }
        Pin::new(socket(&mut me.io)).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let me = self.get_mut();
        ready!(me.poll_replacement(cx))?;
        Pin::new(socket(&mut me.io)).poll_shutdown(cx)
    }
}

impl<I> Drop for ServerWire<I> {
    fn drop(&mut self) {
        if let (Some(io), Some(home)) = (self.io.take(), self.home.take()) {
            let remains = ClosedIo {
                io,
                peer_closed: self.peer_closed,
                // A PING may be dropped if the socket has taken nothing of it.
                may_insert: self.outbound.may_insert()
                    && (self.replacement.is_empty() || *self.replacement == outbound::KEEPALIVE_PING),
                // A later GOAWAY must not have a higher id (RFC 9113 §6.8).
                last_stream: self
                    .inbound
                    .last_stream()
                    .min(self.outbound.last_accepted().unwrap_or(u32::MAX)),
            };
            // If the driver is dropped as well, the socket closes here.
            drop(home.send(remains));
        }
    }
}

fn socket<I>(io: &mut Option<I>) -> &mut I {
    io.as_mut().expect("the socket leaves the wire only when the wire is dropped")
}

/// The cost of a message for a stream that h2 has forgotten: it was reset long ago, or with many
/// others. h2 resets it once more.
const LATE_DATA_PER_RESET: u32 = 10;

/// A connection may have twenty times as many at once.
const FRAMES_TOLD_AT_ONCE: u32 = 50;

/// How many bytes are read at once for the filter.
const FILTER_READ_LEN: usize = 8 * 1024;

/// 256 KiB: room for a burst of some thousand calls. A client that sends without end cannot delay
/// the second GOAWAY for ever.
const READS_BEFORE_FINISH: u32 = 32;

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use meshless_core::{CLIENT_PREFACE, Lifetime, LifetimeConfig, Rng};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn a_goodbye_may_follow_unless_the_socket_has_taken_a_part_of_a_ping() {
        const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
        for (room, may_insert) in [(SETTINGS.len(), true), (SETTINGS.len() + 3, false), (100, true)] {
            let now = tokio::time::Instant::now().into_std();
            let lifetime = Lifetime::new(LifetimeConfig::default(), now, &mut Rng::new(1, 0));
            let state = ConnectionState::new(lifetime);
            let (_client, server) = tokio::io::duplex(room);
            let (mut wire, mut remains) = ServerWire::new(server, state.clone(), 1 << 14);
            let cx = &mut Context::from_waker(Waker::noop());
            assert!(Pin::new(&mut wire).poll_write(cx, &SETTINGS).is_ready());
            state.ping();
            assert_eq!(Pin::new(&mut wire).poll_flush(cx).is_ready(), room == 100);
            drop(wire);
            assert_eq!(remains.try_recv().unwrap().may_insert, may_insert, "room for {room} bytes");
        }
    }

    fn wire(io: tokio::io::DuplexStream) -> ServerWire<tokio::io::DuplexStream> {
        let now = tokio::time::Instant::now().into_std();
        let lifetime = Lifetime::new(LifetimeConfig::default(), now, &mut Rng::new(1, 0));
        ServerWire::new(io, ConnectionState::new(lifetime), 1 << 14).0
    }

    fn data(flags: u8, stream: u8) -> [u8; 16] {
        [0, 0, 7, 0, flags, 0, 0, 0, stream, 0, 0, 0, 0, 2, 8, 1]
    }

    #[tokio::test]
    async fn late_data_is_ended_however_the_bytes_are_cut() {
        const CALL: [u8; 13] = [0, 0, 4, 1, 5, 0, 0, 0, 1, 0x83, 0x86, 0x84, 0x87];
        let frames = |flags| [data(0, 1), data(flags, 3), data(flags, 3), data(0, 5)].concat().repeat(20);
        let sent = [&CLIENT_PREFACE[..], &CALL, &frames(0), &[0, 0, 1]].concat();
        for (cut, room) in (1..50).flat_map(|cut| [1, 5, 8, 100].map(|room| (cut, room))) {
            let (mut client, server) = tokio::io::duplex(cut);
            let mut wire = wire(server);
            wire.inbound.note_reset(3, Instant::now());
            let send = async {
                client.write_all(&sent).await.unwrap();
                client.shutdown().await.unwrap();
            };
            let read = async {
                let (mut received, mut chunk) = (Vec::new(), vec![0; room]);
                loop {
                    match wire.read(&mut chunk).await.unwrap() {
                        0 => return received,
                        length => received.extend_from_slice(&chunk[..length]),
                    }
                }
            };
            let ((), received) = tokio::join!(send, read);
            // The end comes in the middle of a header, which the library cannot use.
            let expected = [&CLIENT_PREFACE[..], &CALL, &frames(1)].concat();
            assert_eq!(received, expected, "cut every {cut} bytes, {room} at once");
        }
    }
}
