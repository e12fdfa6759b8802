//! The byte stream as h2 sees it, with an eye on the frames that pass.
//!
//! h2 keeps three things to itself that decide whether a call is lost: that a GOAWAY has arrived
//! (its requests fail on it, after they were taken), which streams' HEADERS were written at all
//! (when the connection breaks, the others were provably never sent), and that the server's
//! SETTINGS were applied (gRPC calls a connection ready from then on). All three are frame headers,
//! so [`ClientWire`] reads them off as the bytes pass and notes them in [`ConnectionShared`].
//!
//! And it holds the bytes around a GOAWAY back for one turn, in which h2 writes the HEADERS that it
//! has queued. A graceful server sends GOAWAY and PING, and takes the PING's answer to mean that
//! nothing is under way (RFC 9113 §6.8). But h2 answers a PING before it writes what is queued, and
//! the server would refuse every call in that queue.
//!
//! It counts the frames that carry nothing against the server's budget for them ([`AnswerBudget`]),
//! and when that is spent says GOAWAY(ENHANCE_YOUR_CALM) and reads no more, which ends the
//! connection.
//!
//! It also judges the server's first bytes, because what h2 makes of an HTTP/1 answer is "frame
//! with invalid size".

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use meshless_core::{AnswerBudget, FRAME_HEADER_LEN, FrameHeader, FrameKind, FrameScanner};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::header_limit::BlockWatch;
use super::shared::ConnectionShared;
use crate::shared::io::BoxIo;
use crate::shared::peer_settings::{MAX_HEADER_LIST_SIZE, SettingsReader};

/// A byte stream whose frames are noted as they pass.
pub(super) struct ClientWire {
    io: BoxIo,
    shared: Arc<ConnectionShared>,
    reads: FrameScanner,
    writes: FrameScanner,
    budget: AnswerBudget,
    blocks: BlockWatch,
    /// While the payload of SETTINGS passes.
    settings: Option<SettingsReader>,
    /// The server's first bytes, until they are known to be the header of SETTINGS.
    greeting: Option<Vec<u8>>,
    /// Bytes that were read, a GOAWAY among them, and wait for the writes that must come first. At
    /// most one read's.
    held_back: Bytes,
    /// Whether a write that fails may have sent some of its bytes. A socket's has not; TLS sends
    /// several records in one write, the first of which may arrive before the second fails.
    fails_in_part: bool,
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
        }
    }

    /// Whether a GOAWAY begins among these bytes.
    fn note_read(&mut self, bytes: &[u8]) -> io::Result<bool> {
        self.check_greeting(bytes)?;
        let (mut goaway, mut answer) = (false, false);
        let mut rest = bytes;
        while !rest.is_empty() {
            let (passed, frame) = self.reads.pass_frame(rest);
            let (mut piece, after) = rest.split_at(passed);
            rest = after;
            if let Some(frame) = frame {
                self.budget.note_read(&frame);
                goaway |= frame.kind == FrameKind::GoAway;
                answer |= matches!(frame.kind, FrameKind::Headers | FrameKind::Data);
                piece = &piece[passed + self.reads.payload_left() - frame.payload_len as usize..];
                self.note_frame(&frame);
            }
            self.note_settings(piece);
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
        Ok(goaway)
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
        self.writes.scan(bytes, |frame| {
            self.budget.note_written(&frame);
            match frame.kind {
                FrameKind::Headers => self.shared.handle_headers_written(frame.stream_id),
                // h2 applies the peer's SETTINGS in the step that queues the acknowledgement.
                FrameKind::Settings if frame.is_ack() => self.shared.handle_settings_acknowledged(),
                _ => {}
            }
        });
    }

    /// Pays for what has come. If there is not enough left, says so to the server, as far as it
    /// goes in without waiting.
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

    /// What h2 is told of a write that failed.
    ///
    /// While a GOAWAY is held back, that all is well: h2 gives the connection up at a failed write,
    /// and would not read which calls the GOAWAY leaves behind. The socket stays dead, so the next
    /// use of it tells.
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
        if !self.held_back.is_empty() {
            let len = self.held_back.len().min(buf.remaining());
            buf.put_slice(&self.held_back.split_to(len));
            return Poll::Ready(Ok(()));
        }
        let start = buf.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        let goaway = self.note_read(&buf.filled()[start..])?;
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
        match ready!(Pin::new(&mut self.io).poll_write(cx, buf)) {
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
        let written = match ready!(Pin::new(&mut self.io).poll_write_vectored(cx, bufs)) {
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

/// GOAWAY: no stream of the server's was taken, ENHANCE_YOUR_CALM, and why (RFC 9113 §6.8).
const CALM_DOWN: [u8; 32] = *b"\0\0\x17\x07\0\0\0\0\0\0\0\0\0\0\0\0\x0btoo_many_frames";

#[derive(Debug, PartialEq, Eq)]
enum Greeting {
    /// Too few bytes to tell.
    Unfinished,
    Http2,
    /// Something else, in words.
    Other(&'static str),
}

fn judge_greeting(bytes: &[u8], ended: bool) -> Greeting {
    if bytes.starts_with(b"HTTP/") {
        return Greeting::Other(
            "it answers in HTTP/1; a gRPC server, or a proxy with HTTP/2 switched on for this port, is needed",
        );
    }
    // A TLS record: alert (0x15) or handshake (0x16), major version 3.
    if matches!(bytes, [0x15 | 0x16, 0x03, ..]) {
        return Greeting::Other("it answers in TLS; connect with TLS, as for https://");
    }
    if let Ok(header) = <&[u8; FRAME_HEADER_LEN]>::try_from(bytes) {
        let frame = FrameHeader::parse(header);
        let is_settings = frame.kind == FrameKind::Settings && frame.stream_id == 0 && !frame.is_ack();
        return if is_settings {
            Greeting::Http2
        } else {
            Greeting::Other("its first bytes are not HTTP/2's SETTINGS; something else listens there")
        };
    }
    if ended {
        return Greeting::Other("it closed the connection before HTTP/2's SETTINGS");
    }
    Greeting::Unfinished
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::connection::HeaderLimit;

    /// A byte stream whose every write fails.
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

    #[test]
    fn a_server_is_judged_by_its_first_bytes() {
        let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
        assert_eq!(judge_greeting(&settings, false), Greeting::Http2);
        for cut in 0..settings.len() {
            assert_eq!(judge_greeting(&settings[..cut], false), Greeting::Unfinished);
            assert!(matches!(judge_greeting(&settings[..cut], true), Greeting::Other(_)));
        }
        let says = |bytes: &[u8], words: &str| match judge_greeting(bytes, false) {
            Greeting::Other(what) => what.contains(words),
            _ => false,
        };
        assert!(says(b"HTTP/1.1 ", "HTTP/1"));
        assert!(says(&[0x15, 3, 1, 0, 2, 2, 70], "TLS"));
        assert!(says(b"SSH-2.0-O", "something else"));
        let ping = [0, 0, 8, 6, 0, 0, 0, 0, 0];
        assert!(says(&ping, "not HTTP/2's SETTINGS"));
    }
}
