//! The byte stream under h2. It notes the frames that pass.
//!
//! h2 does not report three things that decide if a call is lost. A GOAWAY has arrived (requests
//! fail on it after h2 took them). The HEADERS of a stream were written (if the connection breaks,
//! the other streams were provably never sent). The server's SETTINGS were applied (gRPC calls a
//! connection ready from then on). All three are frame headers, so [`ClientWire`] reads them as the
//! bytes pass and notes them in [`ConnectionShared`].
//!
//! It also delays the bytes around a GOAWAY for one turn, in which h2 writes the HEADERS that it
//! has queued. A graceful server sends GOAWAY and PING, and takes the PING's answer to mean that no
//! call is on the way (RFC 9113 §6.8). But h2 answers a PING before it writes its queue, and the
//! server would refuse every call in that queue.
//!
//! It counts frames without content against the server's budget for them ([`AnswerBudget`]). When
//! that is spent, it sends GOAWAY(ENHANCE_YOUR_CALM) and stops reading, which ends the connection.
//! Two kinds of frames are replaced, since h2 counts them over the connection's whole life: DATA
//! for streams that were reset ([`ResetStreams`]), and empty DATA (h2 allows a hundred;
//! `proto/streams/counts.rs`, `record_data_frame`).
//!
//! It also checks the server's first bytes.

mod greeting;

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use meshless_core::{AnswerBudget, FRAME_HEADER_LEN, FrameHeader, FrameKind, FrameScanner};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use self::greeting::{Greeting, judge_greeting};
use super::config::LOCAL_ERROR_RESETS;
use super::header_limit::BlockWatch;
use super::shared::ConnectionShared;
use crate::shared::io::BoxIo;
use crate::shared::peer_settings::{MAX_HEADER_LIST_SIZE, SettingsReader};
use crate::shared::reset_streams::ResetStreams;

/// A byte stream whose frames are noted as they pass.
pub(super) struct ClientWire {
    io: BoxIo,
    shared: Arc<ConnectionShared>,
    reads: FrameScanner,
    writes: FrameScanner,
    budget: AnswerBudget,
    blocks: BlockWatch,
    /// Set while the payload of SETTINGS passes.
    settings: Option<SettingsReader>,
    /// The server's first bytes, until they are known to be the header of SETTINGS.
    greeting: Option<Vec<u8>>,
    /// Bytes that were read, with a GOAWAY among them. They wait for the writes that must come
    /// first. At most one read's.
    held_back: Bytes,
    resets: ResetStreams,
    /// The first bytes of an incomplete frame header: they may have to be changed.
    header_start: Vec<u8>,
    /// True if a failed write may have sent some of its bytes. A failed write to a socket has sent
    /// none. TLS sends several records in one write, and the first may arrive before the second
    /// fails.
    fails_in_part: bool,
    is_full: bool,
    /// Streams that h2 has reset for what the server sent, over the connection's life.
    error_resets: usize,
}

impl ClientWire {
    pub(super) fn new(io: BoxIo, shared: Arc<ConnectionShared>, fails_in_part: bool) -> Self {
        Self {
            io,
            blocks: BlockWatch::new(shared.header_limit),
            settings: None,
            shared,
            fails_in_part,
            reads: FrameScanner::from_server(),
            writes: FrameScanner::from_client(),
            budget: AnswerBudget::default(),
            greeting: Some(Vec::with_capacity(FRAME_HEADER_LEN)),
            held_back: Bytes::new(),
            resets: ResetStreams::default(),
            header_start: Vec::new(),
            is_full: false,
            error_resets: 0,
        }
    }

    /// Notes the frames in these bytes. Returns true if a GOAWAY begins there, and how many of the
    /// bytes h2 may read: all of them, or those before an incomplete header at the end if more
    /// bytes follow.
    fn note_read(&mut self, bytes: &mut [u8], more_follow: bool) -> io::Result<(bool, usize)> {
        self.check_greeting(bytes)?;
        let (mut goaway, mut answer) = (false, false);
        let mut length = 0;
        while length < bytes.len() {
            let rest = &mut bytes[length..];
            let is_start = self.greeting.is_none() && self.reads.at_boundary();
            if is_start && rest.len() < FRAME_HEADER_LEN && more_follow {
                break;
            }
            let (passed, frame) = self.reads.pass_frame(rest);
            length += passed;
            if let Some(frame) = frame {
                let header = rest.first_chunk_mut().filter(|_| is_start);
                self.count(&frame, header);
                goaway |= frame.kind == FrameKind::GoAway;
                answer |= matches!(frame.kind, FrameKind::Headers | FrameKind::Data);
                let header_len = passed + self.reads.payload_left() - frame.payload_len as usize;
                self.note_frame(&frame);
                self.note_settings(&rest[header_len..passed]);
            } else {
                self.note_settings(&rest[..passed]);
            }
        }
        if answer {
            self.shared.handle_answer();
        }
        if !bytes.is_empty() {
            self.shared.handle_read();
        }
        if goaway {
            self.shared.handle_goaway_header();
        }
        Ok((goaway, length))
    }

    /// Counts a frame against the budget. Hides it from h2 if h2 would count it for the
    /// connection's whole life, and if the header's bytes are at hand.
    fn count(&mut self, frame: &FrameHeader, header: Option<&mut [u8; FRAME_HEADER_LEN]>) {
        if let Some(header) = header {
            if self.resets.end_late_data(header) {
                return self.budget.note_late_data(1);
            }
            if frame.is_empty_data() {
                header[KIND] = IGNORED;
            }
        }
        self.budget.note_read(frame);
    }

    /// Reads, and notes the frames. Ready with true if a GOAWAY begins there.
    fn poll_frames(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<bool>> {
        let start = buf.filled().len();
        loop {
            let kept = self.header_start.len().min(buf.remaining());
            buf.put_slice(&self.header_start[..kept]);
            // With less room, the rest of the header would not fit.
            if buf.remaining() > 0 && Pin::new(&mut self.io).poll_read(cx, buf)?.is_pending() {
                buf.set_filled(start);
                return Poll::Pending;
            }
            self.header_start.drain(..kept);
            let more_follow = buf.filled().len() > start + kept;
            let (goaway, length) = self.note_read(&mut buf.filled_mut()[start..], more_follow)?;
            self.header_start.extend_from_slice(&buf.filled()[start + length..]);
            buf.set_filled(start + length);
            if length > 0 || !more_follow {
                return Poll::Ready(Ok(goaway));
            }
        }
    }

    fn note_frame(&mut self, frame: &FrameHeader) {
        if let Some((stream, len)) = self.blocks.pass(frame) {
            self.shared.long_blocks.note(stream, len);
        }
        let is_settings = frame.kind == FrameKind::Settings && !frame.is_ack();
        self.settings = is_settings.then(SettingsReader::default);
    }

    fn note_settings(&mut self, payload: &[u8]) {
        let Some(settings) = &mut self.settings else { return };
        settings.pass(payload, |id, value| {
            if id == MAX_HEADER_LIST_SIZE {
                self.shared.handle_header_list_max(value);
            }
        });
        if self.reads.at_boundary() {
            self.settings = None;
        }
    }

    fn note_written(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let (passed, frame) = self.writes.pass_frame(rest);
            let (piece, after) = rest.split_at(passed);
            rest = after;
            let Some(frame) = frame else { continue };
            self.budget.note_written(&frame);
            match frame.kind {
                FrameKind::Headers => self.shared.handle_headers_written(frame.stream_id),
                FrameKind::ResetStream => {
                    self.resets.note(frame.stream_id, std::time::Instant::now());
                    self.note_reset_code(piece);
                }
                // h2 applies the peer's SETTINGS in the step that queues the acknowledgement.
                FrameKind::Settings if frame.is_ack() => self.shared.handle_settings_acknowledged(),
                _ => {}
            }
        }
    }

    /// Counts the resets that h2 counts: for what the server sent. One whose code is apart from its
    /// header is not among them.
    fn note_reset_code(&mut self, frame: &[u8]) {
        let code = frame.last_chunk().map(|code| u32::from_be_bytes(*code));
        if frame.len() > FRAME_HEADER_LEN && code.is_some_and(|code| SERVER_ERRORS.contains(&code)) {
            self.error_resets += 1;
            if self.error_resets == LOCAL_ERROR_RESETS / 2 {
                self.shared.handle_many_errors();
            }
        }
    }

    /// Notes whether the byte stream takes bytes.
    fn note_full<T>(&mut self, written: Poll<T>) -> Poll<T> {
        if self.is_full != written.is_pending() {
            self.is_full = written.is_pending();
            self.shared.handle_full(self.is_full);
        }
        written
    }

    /// Pays for the frames that came. If the budget is too small, sends the GOAWAY, as far as it
    /// can be written without waiting.
    fn check_budget(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.shared.take_empty_messages() {
            0 => {}
            messages => self.budget.note_empty_messages(messages),
        }
        if !self.budget.is_owing() || self.budget.spend(Instant::now().into_std()) {
            return Ok(());
        }
        self.shared.handle_flood();
        if self.writes.may_insert() {
            let _ = Pin::new(&mut self.io).poll_write(cx, &CALM_DOWN);
            let _ = Pin::new(&mut self.io).poll_flush(cx);
        }
        Err(io::Error::other("the server sent too many frames that carry nothing"))
    }

    /// Returns the result of a failed write for h2.
    ///
    /// While a GOAWAY is held back, the result is success. After a failed write h2 gives up the
    /// connection, and would not read which calls the GOAWAY leaves behind. The socket stays
    /// broken, so its next use fails.
    fn write_failed(&mut self, error: io::Error, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
        if self.fails_in_part {
            bufs.iter().for_each(|buf| self.note_written(buf));
        }
        if self.held_back.is_empty() { Err(error) } else { Ok(bufs.iter().map(|buf| buf.len()).sum()) }
    }

    /// "The server connection preface consists of a potentially empty SETTINGS frame that MUST be
    /// the first frame the server sends" (RFC 9113 §3.4).
    fn check_greeting(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(greeting) = &mut self.greeting else { return Ok(()) };
        greeting.extend(bytes.iter().take(FRAME_HEADER_LEN - greeting.len()));
        match judge_greeting(greeting, bytes.is_empty()) {
            Greeting::Unfinished => Ok(()),
            Greeting::Http2 => {
                self.greeting = None;
                Ok(())
            }
            Greeting::Other(what) => Err(io::Error::new(io::ErrorKind::InvalidData, what)),
        }
    }
}

impl AsyncRead for ClientWire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.shared.take_write_first() {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if !self.held_back.is_empty() {
            let len = self.held_back.len().min(buf.remaining());
            buf.put_slice(&self.held_back.split_to(len));
            return Poll::Ready(Ok(()));
        }
        if !self.resets.is_empty() {
            self.resets.forget_old(std::time::Instant::now());
        }
        let start = buf.filled().len();
        let goaway = ready!(self.poll_frames(cx, buf))?;
        self.check_budget(cx)?;
        if goaway {
            self.held_back = Bytes::copy_from_slice(&buf.filled()[start..]);
            buf.set_filled(start);
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ClientWire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write(cx, buf);
        match ready!(self.note_full(polled)) {
            Ok(written) => {
                self.note_written(&buf[..written]);
                Poll::Ready(Ok(written))
            }
            Err(error) => Poll::Ready(self.write_failed(error, &[IoSlice::new(buf)])),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        let written = match ready!(self.note_full(polled)) {
            Ok(written) => written,
            Err(error) => return Poll::Ready(self.write_failed(error, bufs)),
        };
        let mut left = written;
        for buf in bufs {
            let part = left.min(buf.len());
            self.note_written(&buf[..part]);
            left -= part;
        }
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match ready!(Pin::new(&mut self.io).poll_flush(cx)) {
            Err(error) => Poll::Ready(self.write_failed(error, &[]).map(drop)),
            Ok(()) => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// PROTOCOL_ERROR, FLOW_CONTROL_ERROR and STREAM_CLOSED (RFC 9113 §7): what h2 resets a stream with
/// on its own. Callers reset with CANCEL.
const SERVER_ERRORS: [u32; 3] = [0x1, 0x3, 0x5];

/// Where the type stands in a frame header (RFC 9113 §4.1).
const KIND: usize = 3;

/// An unused type. "Implementations MUST ignore and discard frames of unknown types."
const IGNORED: u8 = 0xff;

/// GOAWAY with last stream 0, ENHANCE_YOUR_CALM, and the reason (RFC 9113 §6.8).
const CALM_DOWN: [u8; 32] = *b"\0\0\x17\x07\0\0\0\0\0\0\0\0\0\0\0\0\x0btoo_many_frames";

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::client::connection::HeaderLimit;

    /// A byte stream on which every write fails.
    struct Broken;

    impl AsyncRead for Broken {
        fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            Poll::Pending
        }
    }

    impl AsyncWrite for Broken {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, _: &[u8]) -> Poll<io::Result<usize>> {
            Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn write_to_broken(fails_in_part: bool, held_back: &'static [u8]) -> (io::Result<usize>, u32) {
        let address = meshless_core::Address::Unix("/test".into());
        let shared = ConnectionShared::new(address, HeaderLimit::new(1 << 16), Box::new(|_| {}));
        let mut wire = ClientWire::new(Box::new(Broken), Arc::clone(&shared), fails_in_part);
        wire.held_back = Bytes::from_static(held_back);
        let mut bytes = meshless_core::CLIENT_PREFACE.to_vec();
        bytes.extend([0, 0, 1, 1, 4, 0, 0, 0, 1, 0x82]);
        match Pin::new(&mut wire).poll_write(&mut Context::from_waker(std::task::Waker::noop()), &bytes) {
            Poll::Ready(result) => (result, shared.written_up_to()),
            Poll::Pending => panic!("a broken stream does not wait"),
        }
    }

    fn data(flags: u8, stream: u8) -> [u8; 16] {
        [0, 0, 7, 0, flags, 0, 0, 0, stream, 0, 0, 0, 0, 2, 8, 1]
    }

    #[test]
    fn a_connection_is_left_before_h2_has_counted_too_many_errors() {
        let address = meshless_core::Address::Unix("/test".into());
        let shared = ConnectionShared::new(address, HeaderLimit::new(1 << 16), Box::new(|_| {}));
        let mut wire = ClientWire::new(Box::new(tokio::io::empty()), Arc::clone(&shared), false);
        wire.note_written(meshless_core::CLIENT_PREFACE);
        let reset = |code| [0, 0, 4, 3, 0, 0, 0, 0, 1, 0, 0, 0, code];
        wire.note_written(&reset(8).repeat(LOCAL_ERROR_RESETS));
        wire.note_written(&[1, 3, 5].map(reset).concat().repeat(LOCAL_ERROR_RESETS / 6));
        assert!(shared.is_accepting(), "it has one more");
        wire.note_written(&reset(5).repeat(2));
        assert!(!shared.is_accepting() && shared.has_many_errors());
    }

    #[tokio::test]
    async fn late_data_is_ended_however_the_bytes_are_cut() {
        let frames = |flags| [data(0, 1), data(flags, 3), data(flags, 3), data(0, 5)].concat().repeat(20);
        let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
        let sent = [&settings[..], &frames(0), &[0, 0, 1]].concat();
        for (cut, room) in (1..50).flat_map(|cut| [1, 5, 8, 100].map(|room| (cut, room))) {
            let (mut server, client) = tokio::io::duplex(cut);
            let address = meshless_core::Address::Unix("/test".into());
            let shared = ConnectionShared::new(address, HeaderLimit::new(1 << 16), Box::new(|_| {}));
            let mut wire = ClientWire::new(Box::new(client), shared, false);
            // The greeting is over, as always when a stream is reset.
            wire.greeting = None;
            wire.resets.note(3, std::time::Instant::now());
            let send = async {
                server.write_all(&sent).await.unwrap();
                server.shutdown().await.unwrap();
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
            if room > FRAME_HEADER_LEN {
                let expected = [&settings[..], &frames(1), &[0, 0, 1]].concat();
                assert_eq!(received, expected, "cut every {cut} bytes");
            } else {
                assert_eq!(received.len(), sent.len(), "cut every {cut} bytes, {room} at once");
            }
        }
    }

    #[test]
    fn what_a_failed_write_may_have_sent_counts_as_sent() {
        let (result, written_up_to) = write_to_broken(false, b"");
        assert_eq!((result.is_err(), written_up_to), (true, 0), "a socket sends all or says how much");
        let (result, written_up_to) = write_to_broken(true, b"");
        assert_eq!((result.is_err(), written_up_to), (true, 1), "TLS may have sent it");
    }

    #[test]
    fn a_failed_write_does_not_keep_h2_from_reading_the_goaway_that_is_held_back() {
        let (result, written_up_to) = write_to_broken(false, b"goaway");
        assert_eq!(result.unwrap(), 34);
        assert_eq!(written_up_to, 0, "and nothing counts as sent");
    }
}
