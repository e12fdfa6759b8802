//! Reads the body of an API server's response, with a bound on the memory.
//!
//! A list is read whole, a watch line by line. A longer text is an error that names the bound: a
//! server must not control the memory, or how long it is read.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;

use bytes::{Buf, Bytes, BytesMut};
use http_body::Body as _;

use super::client::Body;
use crate::shared::peer_text::peer_text;

/// Why a body could not be read to its end.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ReadError {
    /// It has more bytes than the bound.
    TooLong { bytes_max: usize },
    /// The connection has failed, or the HTTP framing is wrong.
    Broken(String),
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { bytes_max } => write!(f, "longer than {bytes_max} bytes"),
            Self::Broken(reason) => f.write_str(reason),
        }
    }
}

/// Reads `body` to its end.
///
/// # Errors
/// If it has more than `bytes_max` bytes, or breaks.
pub(super) async fn read_whole(mut body: Body, bytes_max: usize) -> Result<BytesMut, ReadError> {
    let mut whole = BytesMut::new();
    while let Some(data) = next_data(&mut body).await? {
        if data.len() > bytes_max - whole.len() {
            return Err(ReadError::TooLong { bytes_max });
        }
        whole.extend_from_slice(&data);
    }
    Ok(whole)
}

/// The lines of a body.
pub(super) struct Lines {
    body: Body,
    line_max: usize,
    /// The bytes that were read but not returned yet.
    buffer: BytesMut,
    /// The first `searched` bytes of the buffer contain no line break.
    searched: usize,
    ended: bool,
}

impl Lines {
    /// Returns a reader of lines of at most `line_max` bytes.
    pub(super) fn new(body: Body, line_max: usize) -> Self {
        Self { body, line_max, buffer: BytesMut::new(), searched: 0, ended: false }
    }

    /// Returns the next line without its line break; `None` at the end. Dropping the future loses
    /// nothing.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, ReadError> {
        loop {
            let unsearched = self.buffer[self.searched..].iter();
            if let Some(at) = unsearched.enumerate().find(|(_, byte)| **byte == b'\n').map(|(at, _)| at) {
                let line = self.buffer.split_to(self.searched + at).freeze();
                self.buffer.advance(1);
                self.searched = 0;
                return if line.len() > self.line_max { Err(self.too_long()) } else { Ok(Some(line)) };
            }
            self.searched = self.buffer.len();
            if self.searched > self.line_max {
                return Err(self.too_long());
            }
            if self.ended {
                let rest = self.buffer.split().freeze();
                self.searched = 0;
                return Ok(Some(rest).filter(|rest| !rest.is_empty()));
            }
            match next_data(&mut self.body).await? {
                Some(data) => self.buffer.extend_from_slice(&data),
                None => self.ended = true,
            }
        }
    }

    fn too_long(&self) -> ReadError {
        ReadError::TooLong { bytes_max: self.line_max }
    }
}

/// Returns the next part of a body, without trailers.
async fn next_data(body: &mut Body) -> Result<Option<Bytes>, ReadError> {
    loop {
        match poll_fn(|cx| Pin::new(&mut *body).poll_frame(cx)).await {
            None => return Ok(None),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    return Ok(Some(data));
                }
            }
            Some(Err(error)) => return Err(ReadError::Broken(peer_text(error.to_string()))),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::convert::Infallible;
    use std::task::{Context, Poll};

    use http_body::Frame;
    use http_body_util::BodyExt;

    use super::*;

    /// A body that arrives in these pieces.
    struct Pieces(VecDeque<Bytes>);

    impl http_body::Body for Pieces {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Ready(self.0.pop_front().map(|piece| Ok(Frame::data(piece))))
        }
    }

    fn body(text: &[u8], piece: usize) -> Body {
        let pieces = text.chunks(piece).map(Bytes::copy_from_slice).collect();
        Pieces(pieces).map_err(|never| match never {}).boxed_unsync()
    }

    async fn lines(text: &[u8], piece: usize, line_max: usize) -> (Vec<Bytes>, Option<ReadError>) {
        let mut lines = Lines::new(body(text, piece), line_max);
        let mut read = Vec::new();
        loop {
            match lines.next().await {
                Ok(Some(line)) => read.push(line),
                Ok(None) => return (read, None),
                Err(error) => return (read, Some(error)),
            }
        }
    }

    #[tokio::test]
    async fn lines_are_the_same_however_the_body_is_cut() {
        for piece in 1..12 {
            let (read, error) = lines(b"one\n\nthree\nrest", piece, 5).await;
            assert_eq!(read, ["one", "", "three", "rest"].map(Bytes::from), "{piece}");
            assert_eq!(error, None);
        }
    }

    #[tokio::test]
    async fn a_line_that_is_too_long_is_not_gathered() {
        let long = [b"ok\n".to_vec(), vec![b'x'; 1_000], b"\nlost\n".to_vec()].concat();
        for piece in [1, 7, 2_000] {
            let (read, error) = lines(&long, piece, 100).await;
            assert_eq!(read, ["ok"].map(Bytes::from), "{piece}");
            assert_eq!(error, Some(ReadError::TooLong { bytes_max: 100 }));
        }
        let mut endless = Lines::new(body(&[b'x'; 10_000], 10), 100);
        endless.next().await.unwrap_err();
        assert!(endless.buffer.len() <= 110, "{}", endless.buffer.len());
    }

    #[tokio::test]
    async fn a_whole_body_has_a_bound() {
        assert_eq!(read_whole(body(&[b'x'; 100], 7), 100).await.unwrap().len(), 100);
        let error = read_whole(body(&[b'x'; 101], 7), 100).await.unwrap_err();
        assert_eq!(error.to_string(), "longer than 100 bytes");
    }
}
