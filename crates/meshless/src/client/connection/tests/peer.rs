//! The scripted peer: reads the client's frames one by one, and writes what a test tells it to
//! write.
//!
//! It knows only the few literal HPACK fields that it sends; it tells requests apart by their
//! stream ids.

use std::time::Duration;

use crate::shared::io::{BoxIo, Io};
use meshless_core::{CLIENT_PREFACE, FRAME_HEADER_LEN, FrameHeader, FrameKind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

pub(super) use meshless_testkit::raw_peer::frame;

/// One frame from the client.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) header: FrameHeader,
    pub(super) payload: Vec<u8>,
}

impl Received {
    pub(super) fn ends_stream(&self) -> bool {
        matches!(self.header.kind, FrameKind::Headers | FrameKind::Data)
            && self.header.flags & END_STREAM != 0
    }

    /// Returns the payload as a number, for RST_STREAM and WINDOW_UPDATE.
    pub(super) fn number(&self) -> u32 {
        u32::from_be_bytes(self.payload[..4].try_into().unwrap())
    }
}

pub(super) struct Peer {
    io: BoxIo,
}

impl Peer {
    /// Reads the client's preface and SETTINGS.
    pub(super) async fn accept(io: impl Io) -> Self {
        let mut io: BoxIo = Box::new(io);
        let mut preface = [0; CLIENT_PREFACE.len()];
        io.read_exact(&mut preface).await.unwrap();
        assert_eq!(&preface, CLIENT_PREFACE);
        let mut peer = Self { io };
        peer.expect(FrameKind::Settings).await;
        peer
    }

    /// Returns the next frame; `None` when the client has closed.
    pub(super) async fn try_next(&mut self) -> Option<Received> {
        let mut header = [0; FRAME_HEADER_LEN];
        let read = tokio::time::timeout(Duration::from_secs(7200), self.io.read_exact(&mut header));
        read.await.expect("a frame within two hours").ok()?;
        let header = FrameHeader::parse(&header);
        let mut payload = vec![0; header.payload_len as usize];
        self.io.read_exact(&mut payload).await.unwrap();
        Some(Received { header, payload })
    }

    pub(super) async fn next(&mut self) -> Received {
        self.try_next().await.expect("the connection is open")
    }

    /// Returns the next frame that is not about windows. It must be of this kind.
    pub(super) async fn expect(&mut self, kind: FrameKind) -> Received {
        loop {
            let frame = self.next().await;
            if frame.header.kind == kind {
                return frame;
            }
            assert_eq!(frame.header.kind, FrameKind::WindowUpdate, "expected {kind:?}, got {frame:?}");
        }
    }

    pub(super) async fn expect_settings_ack(&mut self) {
        assert!(self.expect(FrameKind::Settings).await.header.is_ack());
    }

    /// Reads a whole unary request: its HEADERS, and DATA with the end. Returns the stream.
    pub(super) async fn expect_request(&mut self) -> u32 {
        let headers = self.expect(FrameKind::Headers).await;
        let data = self.expect(FrameKind::Data).await;
        assert_eq!(data.header.stream_id, headers.header.stream_id);
        assert!(data.ends_stream());
        headers.header.stream_id
    }

    /// Reads RST_STREAM for this stream. Returns its code.
    pub(super) async fn expect_reset(&mut self, stream: u32) -> u32 {
        let reset = self.expect(FrameKind::ResetStream).await;
        assert_eq!(reset.header.stream_id, stream);
        reset.number()
    }

    /// Reads up to the end of the connection, over any number of frames.
    pub(super) async fn expect_close(&mut self) {
        while self.try_next().await.is_some() {}
    }

    pub(super) async fn settings(&mut self, settings: &[(u16, u32)]) {
        let mut payload = Vec::new();
        for (id, value) in settings {
            payload.extend(id.to_be_bytes());
            payload.extend(value.to_be_bytes());
        }
        self.write(0x4, 0, 0, &payload).await;
    }

    pub(super) async fn acknowledge_settings(&mut self) {
        self.write(0x4, 0x1, 0, &[]).await;
    }

    pub(super) async fn goaway(&mut self, last: u32, code: u32, debug: &[u8]) {
        self.write(0x7, 0, 0, &goaway_payload(last, code, debug)).await;
    }

    pub(super) async fn reset(&mut self, stream: u32, code: u32) {
        self.write(0x3, 0, stream, &code.to_be_bytes()).await;
    }

    pub(super) async fn window(&mut self, stream: u32, increment: u32) {
        self.write(0x8, 0, stream, &increment.to_be_bytes()).await;
    }

    pub(super) async fn pong(&mut self, ping: &Received) {
        self.write(0x6, 0x1, 0, &ping.payload).await;
    }

    /// Writes the response's headers: `:status: 200`, from HPACK's static table, and gRPC's content
    /// type.
    pub(super) async fn headers(&mut self, stream: u32) {
        self.write(0x1, END_HEADERS, stream, b"\x88\0\x0ccontent-type\x10application/grpc").await;
    }

    pub(super) async fn data(&mut self, stream: u32, bytes: &[u8]) {
        self.write(0x0, 0, stream, bytes).await;
    }

    /// Writes trailers with `grpc-status: 0`.
    pub(super) async fn trailers(&mut self, stream: u32) {
        let mut block = vec![0, 11];
        block.extend(b"grpc-status\x010");
        self.write(0x1, END_HEADERS | END_STREAM, stream, &block).await;
    }

    /// Writes a response with only `:status: 200` and `grpc-status: 5`.
    pub(super) async fn trailers_only(&mut self, stream: u32) {
        let mut block = vec![0x88, 0, 11];
        block.extend(b"grpc-status\x015");
        self.write(0x1, END_HEADERS | END_STREAM, stream, &block).await;
    }

    /// Reads DATA up to the end of the request, and answers with trailers.
    pub(super) async fn answer_trailers_after_end(&mut self, stream: u32) {
        while !self.expect(FrameKind::Data).await.ends_stream() {}
        self.trailers(stream).await;
    }

    /// Writes a whole response.
    pub(super) async fn answer(&mut self, stream: u32, bytes: &[u8]) {
        self.headers(stream).await;
        self.data(stream, bytes).await;
        self.trailers(stream).await;
    }

    /// Writes any frame.
    pub(super) async fn write(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.raw(&frame(kind, flags, stream, payload)).await;
    }

    /// Writes any bytes.
    pub(super) async fn raw(&mut self, bytes: &[u8]) {
        self.io.write_all(bytes).await.unwrap();
    }
}

pub(super) fn goaway_payload(last: u32, code: u32, debug: &[u8]) -> Vec<u8> {
    [&last.to_be_bytes(), &code.to_be_bytes(), debug].concat()
}

pub(super) const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
pub(super) const ALL_STREAMS: u32 = (1 << 31) - 1;
pub(super) const NO_ERROR: u32 = 0x0;
pub(super) const REFUSED_STREAM: u32 = 0x7;
pub(super) const CANCEL: u32 = 0x8;
pub(super) const ENHANCE_YOUR_CALM: u32 = 0xb;
pub(super) const MAX_CONCURRENT_STREAMS: u16 = 0x3;
pub(super) const INITIAL_WINDOW_SIZE: u16 = 0x4;
