//! What a hostile backend does.

use std::time::Duration;

use meshless_testkit::raw_peer::frame;

/// One way to harm a client.
pub(super) struct Attack {
    pub(super) name: &'static str,
    /// The payload of its SETTINGS.
    pub(super) settings: &'static [u8],
    /// What it sends for a call on this stream.
    pub(super) answer: fn(u32) -> Vec<u8>,
    /// What it sends without end from the first call on, whose stream this is.
    pub(super) flood: Option<fn(u32) -> Vec<u8>>,
    /// After this it closes the connection.
    pub(super) life: Duration,
    pub(super) closes_on_call: bool,
}

const QUIET: Attack = Attack {
    name: "none: a good one",
    settings: &[],
    answer: ok,
    flood: None,
    life: HOUR,
    closes_on_call: false,
};

const fn answering(name: &'static str, answer: fn(u32) -> Vec<u8>) -> Attack {
    Attack { name, answer, ..QUIET }
}

/// A flood beside calls that are answered well.
const fn flooding(name: &'static str, flood: fn(u32) -> Vec<u8>) -> Attack {
    Attack { name, flood: Some(flood), ..QUIET }
}

/// A flood on calls that do not end.
const fn holding(name: &'static str, answer: fn(u32) -> Vec<u8>, flood: fn(u32) -> Vec<u8>) -> Attack {
    Attack { name, answer, flood: Some(flood), ..QUIET }
}

pub(super) const ATTACKS: &[Attack] = &[
    QUIET,
    flooding("PRIORITY", |s| frame(0x2, 0, s, &[0, 0, 0, 0, 15])),
    flooding("unknown frames", |_| frame(0xbe, 0, 0, &[])),
    flooding("PING", |_| frame(0x6, 0, 0, &[7; 8])),
    flooding("PING acks", |_| frame(0x6, 1, 0, &[7; 8])),
    flooding("SETTINGS, empty", |_| frame(0x4, 0, 0, &[])),
    flooding("SETTINGS acks", |_| frame(0x4, 1, 0, &[])),
    flooding("WINDOW_UPDATE of the connection", |_| frame(0x8, 0, 0, &[0, 0, 0, 1])),
    flooding("GOAWAY again and again", |_| frame(0x7, 0, 0, &[0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0])),
    flooding("RST_STREAM of finished streams", |s| frame(0x3, 0, s, &[0, 0, 0, 8])),
    flooding("trailers of finished streams", trailers),
    flooding("DATA of finished streams", |s| frame(0x0, 0, s, MESSAGE)),
    flooding("PUSH_PROMISE", |s| frame(0x5, 4, s, &[0, 0, 0, 2, 0x88])),
    holding("1xx without end", |_| vec![], |s| frame(0x1, 4, s, b"\x08\x03103")),
    holding("empty messages", head, |s| frame(0x0, 0, s, &[0; 5])),
    holding("empty DATA", head, |s| frame(0x0, 0, s, &[])),
    holding("DATA of padding", head, |s| {
        frame(0x0, 8, s, &[200; 1].iter().chain(&[0; 200]).copied().collect::<Vec<_>>())
    }),
    holding("WINDOW_UPDATE of a stream", head, |s| frame(0x8, 0, s, &[0, 0, 0, 1])),
    holding(
        "one message in pieces of a byte",
        |s| [head(s), frame(0x0, 0, s, &[0, 0, 0x40, 0, 0])].concat(),
        |s| frame(0x0, 0, s, &[1]),
    ),
    answering("4 MiB messages without end", |s| {
        let piece = frame(0x0, 0, s, &[0; 16_384]);
        [head(s), frame(0x0, 0, s, &[0, 0, 0x40, 0, 0]), piece.repeat(127)].concat()
    }),
    answering("headers of 16 KiB", |s| {
        [frame(0x1, 0, s, b"\x88"), frame(0x9, 4, s, &header("x", &"y".repeat(15_000)))].concat()
    }),
    answering("headers without end", |s| {
        [frame(0x1, 0, s, b"\x88"), frame(0x9, 0, s, &header("x", "y")).repeat(1000)].concat()
    }),
    answering("a status message of 15 KiB", |s| {
        let block =
            [b"\x88".to_vec(), header("grpc-status", "14"), header("grpc-message", &"%20a".repeat(3750))];
        frame(0x1, 5, s, &block.concat())
    }),
    answering("UNAVAILABLE at once", |s| {
        frame(0x1, 5, s, &[b"\x88".to_vec(), header("grpc-status", "14")].concat())
    }),
    answering("CANCELLED at once", |s| {
        frame(0x1, 5, s, &[b"\x88".to_vec(), header("grpc-status", "1")].concat())
    }),
    answering("OK without a message", |s| [head(s), trailers(s)].concat()),
    answering("an HTML page", |s| [frame(0x1, 4, s, b"\x88"), frame(0x0, 1, s, b"<html>")].concat()),
    answering("RST_STREAM(CANCEL)", |s| frame(0x3, 0, s, &[0, 0, 0, 8])),
    answering("RST_STREAM(REFUSED_STREAM)", |s| frame(0x3, 0, s, &[0, 0, 0, 7])),
    answering("no answer, but PING acks", |_| vec![]),
    answering("headers, and no more", head),
    Attack { name: "MAX_CONCURRENT_STREAMS 0", settings: &[0, 3, 0, 0, 0, 0], ..QUIET },
    Attack { name: "one stream at a time, held", settings: &[0, 3, 0, 0, 0, 1], answer: |_| vec![], ..QUIET },
    Attack { name: "closes after 25 ms", life: Duration::from_millis(25), ..QUIET },
    Attack { name: "closes at once", life: Duration::ZERO, ..QUIET },
    Attack { name: "closes on a call", answer: |_| vec![], closes_on_call: true, ..QUIET },
];

const MESSAGE: &[u8] = b"\0\0\0\0\x02\x08\x01";
const HOUR: Duration = Duration::from_secs(3600);

fn ok(stream: u32) -> Vec<u8> {
    [head(stream), frame(0x0, 0, stream, MESSAGE), trailers(stream)].concat()
}

fn head(stream: u32) -> Vec<u8> {
    frame(0x1, 4, stream, &[b"\x88".to_vec(), header("content-type", "application/grpc")].concat())
}

fn trailers(stream: u32) -> Vec<u8> {
    frame(0x1, 5, stream, &header("grpc-status", "0"))
}

/// A literal header (RFC 7541 §6.2.2), up to 16 KiB of value.
fn header(name: &str, value: &str) -> Vec<u8> {
    let mut block = vec![0, name.len() as u8];
    block.extend(name.as_bytes());
    // Lengths from 127 on continue in groups of seven bits (RFC 7541 §5.1).
    match value.len() {
        len @ 0..127 => block.push(len as u8),
        len => {
            let mut rest = len - 127;
            block.push(127);
            while rest >= 128 {
                block.push((rest % 128 + 128) as u8);
                rest /= 128;
            }
            block.push(rest as u8);
        }
    }
    block.extend(value.as_bytes());
    block
}
