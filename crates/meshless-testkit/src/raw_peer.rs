//! A client or a server that writes and reads HTTP/2 frames by hand: it can do what no library
//! would.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::io;
use std::time::Duration;

use meshless_core::{CLIENT_PREFACE, FRAME_HEADER_LEN};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Type code of DATA.
pub const DATA: u8 = 0x0;
/// Type code of HEADERS.
pub const HEADERS: u8 = 0x1;
/// Type code of RST_STREAM.
pub const RESET_STREAM: u8 = 0x3;
/// Type code of SETTINGS.
pub const SETTINGS: u8 = 0x4;
/// Type code of PING.
pub const PING: u8 = 0x6;
/// Type code of GOAWAY.
pub const GO_AWAY: u8 = 0x7;
/// Type code of WINDOW_UPDATE.
pub const WINDOW_UPDATE: u8 = 0x8;
/// Type code of CONTINUATION.
pub const CONTINUATION: u8 = 0x9;

/// Flag of SETTINGS and PING: an acknowledgement.
pub const ACK: u8 = 0x1;
/// Flag of DATA and HEADERS: the stream's last frame.
pub const END_STREAM: u8 = 0x1;
/// Flag of HEADERS and CONTINUATION: the block's last frame.
pub const END_HEADERS: u8 = 0x4;

/// The last stream of a first GOAWAY.
pub const ALL_STREAMS: u32 = 0x7fff_ffff;

/// What the server sent, apart from settings and window updates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// HEADERS: its block as it was, and whether the stream ends.
    Headers {
        /// Its stream.
        stream: u32,
        /// In HPACK.
        block: Vec<u8>,
        /// True with END_STREAM.
        end: bool,
    },
    /// DATA.
    Data {
        /// Its stream.
        stream: u32,
        /// Padding included.
        payload: Vec<u8>,
    },
    /// PING.
    Ping {
        /// True for an answer.
        ack: bool,
        /// Eight bytes.
        payload: Vec<u8>,
    },
    /// GOAWAY.
    GoAway {
        /// The last stream that is served.
        last_stream: u32,
        /// An error code (RFC 9113 §7).
        code: u32,
        /// Its words.
        debug_data: String,
    },
    /// Any other frame.
    Other {
        /// Its type code.
        kind: u8,
        /// Its stream.
        stream: u32,
    },
    /// The other side has closed.
    Closed,
}

/// A GOAWAY to compare with.
pub fn go_away(last_stream: u32, code: u32, debug_data: &str) -> Received {
    Received::GoAway { last_stream, code, debug_data: debug_data.into() }
}

/// The bytes of any frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A frame as it was on the wire.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawFrame {
    /// Its type code.
    pub kind: u8,
    /// Their meaning depends on the type.
    pub flags: u8,
    /// 0 is the connection.
    pub stream: u32,
    /// Padding included.
    pub payload: Vec<u8>,
}

/// Reads the next frame, whatever it is.
///
/// # Errors
/// If the stream ends or fails before the frame's end.
pub async fn read_frame(io: &mut (impl AsyncRead + Unpin)) -> io::Result<RawFrame> {
    let mut header = [0; FRAME_HEADER_LEN];
    io.read_exact(&mut header).await?;
    let [l2, l1, l0, kind, flags, s3, s2, s1, s0] = header;
    let mut payload = vec![0; u32::from_be_bytes([0, l2, l1, l0]) as usize];
    io.read_exact(&mut payload).await?;
    Ok(RawFrame { kind, flags, stream: u32::from_be_bytes([s3, s2, s1, s0]), payload })
}

/// HEADERS of a gRPC call to `path`, with further headers as literals (RFC 7541 §6.2.2).
pub fn request(stream: u32, path: &str, headers: &[(&str, &str)], flags: u8) -> Vec<u8> {
    let mut block = vec![0x83, 0x86, 0x04, path.len() as u8];
    block.extend(path.as_bytes());
    block.extend([0x01, 4]);
    block.extend(b"test");
    // `content-type`: name 31 of the static table.
    block.extend([0x0f, 16, 16]);
    block.extend(b"application/grpc");
    for (name, value) in headers {
        block.extend([0, name.len() as u8]);
        block.extend(name.as_bytes());
        block.push(value.len() as u8);
        block.extend(value.as_bytes());
    }
    frame(HEADERS, flags | END_HEADERS, stream, &block)
}

/// One end of a connection.
#[derive(Debug)]
pub struct RawPeer<T> {
    /// The bytes under it.
    pub io: T,
}

impl<T: AsyncRead + AsyncWrite + Unpin> RawPeer<T> {
    /// Opens the connection.
    pub async fn connect(io: T) -> Self {
        let mut peer = Self { io };
        peer.send(CLIENT_PREFACE).await;
        peer.send(&frame(SETTINGS, 0, 0, &[])).await;
        peer
    }

    /// Answers a client's preface, with these SETTINGS.
    pub async fn accept(io: T, settings: &[(u16, u32)]) -> Self {
        let mut peer = Self { io };
        let mut preface = [0; CLIENT_PREFACE.len()];
        peer.io.read_exact(&mut preface).await.unwrap();
        assert_eq!(&preface, CLIENT_PREFACE);
        peer.settings(settings).await;
        peer
    }

    /// Sends SETTINGS.
    pub async fn settings(&mut self, settings: &[(u16, u32)]) {
        let bytes = |&(id, value): &(u16, u32)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat();
        self.send(&frame(SETTINGS, 0, 0, &settings.iter().flat_map(bytes).collect::<Vec<_>>())).await;
    }

    /// Sends any bytes.
    pub async fn send(&mut self, bytes: &[u8]) {
        self.io.write_all(bytes).await.unwrap();
    }

    /// Calls `path` on `stream`, without a body.
    pub async fn call(&mut self, stream: u32, path: &str) {
        self.send(&request(stream, path, &[], END_STREAM)).await;
    }

    /// The next unary request, read to its end, which is its one DATA. Returns its stream.
    pub async fn expect_request(&mut self) -> u32 {
        loop {
            match self.next().await {
                Received::Data { stream, .. } => return stream,
                Received::Closed => panic!("closed instead of a request"),
                _ => {}
            }
        }
    }

    /// A whole response, with `message` as its only one.
    pub async fn answer(&mut self, stream: u32, message: &[u8]) {
        self.answer_headers(stream).await;
        self.answer_message(stream, message).await;
        self.send(&frame(HEADERS, END_HEADERS | END_STREAM, stream, b"\0\x0bgrpc-status\x010")).await;
    }

    /// `:status: 200` and gRPC's content type.
    pub async fn answer_headers(&mut self, stream: u32) {
        self.send(&frame(HEADERS, END_HEADERS, stream, b"\x88\0\x0ccontent-type\x10application/grpc")).await;
    }

    /// One message of a response.
    pub async fn answer_message(&mut self, stream: u32, message: &[u8]) {
        let prefix = [&[0][..], &(message.len() as u32).to_be_bytes()].concat();
        self.send(&frame(DATA, 0, stream, &[&prefix, message].concat())).await;
    }

    /// Sends GOAWAY.
    pub async fn go_away(&mut self, last_stream: u32, code: u32, debug_data: &[u8]) {
        let payload = [&last_stream.to_be_bytes(), &code.to_be_bytes(), debug_data].concat();
        self.send(&frame(GO_AWAY, 0, 0, &payload)).await;
    }

    /// Sends WINDOW_UPDATE; stream 0 is the connection.
    pub async fn window(&mut self, stream: u32, increment: u32) {
        self.send(&frame(WINDOW_UPDATE, 0, stream, &increment.to_be_bytes())).await;
    }

    /// Sends RST_STREAM.
    pub async fn reset(&mut self, stream: u32, code: u32) {
        self.send(&frame(RESET_STREAM, 0, stream, &code.to_be_bytes())).await;
    }

    /// Acknowledges a PING.
    pub async fn acknowledge(&mut self, ping: Received) {
        let Received::Ping { ack: false, payload } = ping else { panic!("not a ping: {ping:?}") };
        self.send(&frame(PING, ACK, 0, &payload)).await;
    }

    /// The next frame, settings and window updates left out.
    pub async fn next(&mut self) -> Received {
        // A century of virtual time: the test hangs visibly instead of for ever.
        let read = tokio::time::timeout(Duration::from_secs(100_000), self.read());
        read.await.expect("the server sends something, or closes")
    }

    /// The frames up to the end of the connection.
    pub async fn rest(&mut self) -> Vec<Received> {
        let mut frames = Vec::new();
        while frames.last() != Some(&Received::Closed) {
            frames.push(self.next().await);
        }
        frames
    }

    async fn read(&mut self) -> Received {
        loop {
            let Ok(frame) = read_frame(&mut self.io).await else { return Received::Closed };
            let RawFrame { kind, flags, stream, payload } = frame;
            let number = |at: usize| u32::from_be_bytes(payload[at..at + 4].try_into().unwrap());
            return match kind {
                SETTINGS | WINDOW_UPDATE => continue,
                HEADERS => Received::Headers { stream, end: flags & END_STREAM != 0, block: payload },
                DATA => Received::Data { stream, payload },
                PING => Received::Ping { ack: flags & ACK != 0, payload },
                GO_AWAY => Received::GoAway {
                    last_stream: number(0),
                    code: number(4),
                    debug_data: String::from_utf8(payload[8..].to_vec()).unwrap(),
                },
                kind => Received::Other { kind, stream },
            };
        }
    }
}
