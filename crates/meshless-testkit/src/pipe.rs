//! A network line in memory that can be cut.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf, duplex};

/// Two ends of a line, and the scissors for it. Each direction holds up to 1 MiB that is not read
/// yet.
pub fn cuttable() -> (Cuttable, DuplexStream, Scissors) {
    let (io, far) = duplex(CAPACITY);
    let scissors = Scissors(Arc::default());
    (Cuttable { io, cut: Arc::clone(&scissors.0) }, far, scissors)
}

/// Cuts a line.
#[derive(Clone, Debug)]
pub struct Scissors(Arc<AtomicBool>);

impl Scissors {
    /// From now on the line swallows what is sent and delivers nothing. Neither end is told.
    pub fn cut(&self) {
        self.0.store(true, SeqCst);
    }
}

/// The near end of a line that can be cut.
#[derive(Debug)]
pub struct Cuttable {
    io: DuplexStream,
    cut: Arc<AtomicBool>,
}

impl AsyncRead for Cuttable {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // Nothing wakes the reader of a line that is cut.
        if self.cut.load(SeqCst) { Poll::Pending } else { Pin::new(&mut self.io).poll_read(cx, buf) }
    }
}

impl AsyncWrite for Cuttable {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.cut.load(SeqCst) {
            Poll::Ready(Ok(buf.len()))
        } else {
            Pin::new(&mut self.io).poll_write(cx, buf)
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

const CAPACITY: usize = 1 << 20;
