//! A client's byte stream whose HTTP/2 frames are seen as they pass.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use meshless_core::{FrameHeader, FrameScanner};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What looks at the frames of a connection, once for each frame: when the last byte of its header
/// has passed.
pub trait FrameWatcher {
    /// The client has read a frame.
    fn on_read(&mut self, frame: FrameHeader);

    /// The socket has taken a frame of the client.
    fn on_written(&mut self, frame: FrameHeader);
}

/// The client's end of a connection, and what looks at its frames in both directions.
#[derive(Debug)]
pub struct Watched<T, W> {
    io: T,
    reads: FrameScanner,
    writes: FrameScanner,
    watcher: W,
}

impl<T, W: FrameWatcher> Watched<T, W> {
    /// Watches a connection on which nothing has been sent yet.
    pub fn new(io: T, watcher: W) -> Self {
        Self { io, reads: FrameScanner::from_server(), writes: FrameScanner::from_client(), watcher }
    }

    fn wrote(&mut self, bytes: &[u8]) {
        let Self { writes, watcher, .. } = self;
        writes.scan(bytes, |frame| watcher.on_written(frame));
    }
}

impl<T: AsyncRead + Unpin, W: FrameWatcher + Unpin> AsyncRead for Watched<T, W> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = Pin::new(&mut self.io).poll_read(cx, buf);
        let Self { reads, watcher, .. } = &mut *self;
        reads.scan(&buf.filled()[before..], |frame| watcher.on_read(frame));
        result
    }
}

impl<T: AsyncWrite + Unpin, W: FrameWatcher + Unpin> AsyncWrite for Watched<T, W> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.io).poll_write(cx, bytes))?;
        self.wrote(&bytes[..written]);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.io).poll_write_vectored(cx, pieces))?;
        let mut left = written;
        for piece in pieces {
            let taken = left.min(piece.len());
            self.wrote(&piece[..taken]);
            left -= taken;
        }
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use meshless_core::{CLIENT_PREFACE, FrameKind};
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;
    use crate::raw_peer::{DATA, HEADERS, frame};

    #[derive(Default)]
    struct Seen {
        read: Vec<FrameKind>,
        written: Vec<FrameKind>,
    }

    impl FrameWatcher for &mut Seen {
        fn on_read(&mut self, frame: FrameHeader) {
            self.read.push(frame.kind);
        }

        fn on_written(&mut self, frame: FrameHeader) {
            self.written.push(frame.kind);
        }
    }

    #[tokio::test]
    async fn every_frame_is_seen_once_however_its_bytes_are_cut() {
        let frames = [frame(4, 0, 0, &[]), frame(HEADERS, 4, 1, b"h"), frame(DATA, 1, 1, b"d")].concat();
        let kinds = [FrameKind::Settings, FrameKind::Headers, FrameKind::Data];
        for cut in 1..=frames.len() {
            // A pipe takes no more than `cut` bytes at a time, wherever the pieces end.
            let (near, mut far) = duplex(cut);
            let mut seen = Seen::default();
            let mut watched = Watched::new(near, &mut seen);
            let all = [CLIENT_PREFACE, &frames[..]].concat();
            let (mut taken, mut given) = (vec![0; all.len()], vec![0; frames.len()]);
            let write = async {
                let (one, other) = all.split_at(all.len() / 2);
                let slices = [io::IoSlice::new(one), io::IoSlice::new(other)];
                let written = watched.write_vectored(&slices).await.unwrap();
                watched.write_all(&all[written..]).await.unwrap();
                watched.read_exact(&mut given).await.unwrap();
            };
            let read = async {
                far.read_exact(&mut taken).await.unwrap();
                far.write_all(&frames).await.unwrap();
            };
            tokio::join!(write, read);
            assert_eq!(taken, all);
            assert_eq!((&seen.read[..], &seen.written[..]), (&kinds[..], &kinds[..]), "in pieces of {cut}");
        }
    }
}
