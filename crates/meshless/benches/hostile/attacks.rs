//! What hostile clients send.

use std::time::Duration;

use meshless_core::CLIENT_PREFACE;
use meshless_testkit::raw_peer::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, RESET_STREAM, SETTINGS, WINDOW_UPDATE, frame,
};

/// One way to harm a server.
pub(super) struct Attack {
    pub(super) name: &'static str,
    /// How many connections do it at a time.
    pub(super) connections: usize,
    /// What is sent first, after the preface.
    pub(super) opening: fn() -> Vec<u8>,
    /// What is sent for the n-th time.
    pub(super) each: fn(u32) -> Vec<u8>,
    /// How often, on one connection; then the attacker waits for the server to act.
    pub(super) times: u32,
    pub(super) pause: Duration,
}

pub(super) const ATTACKS: &[Attack] = &[
    Attack { name: "none", connections: 0, opening: settings, each: |_| vec![], times: 0, pause: NO_PAUSE },
    Attack {
        // No attack, but what any client may do, beside which the attacks are to be seen: as many
        // calls as go through.
        name: "ordinary calls",
        connections: 1,
        opening: || [settings(), frame(WINDOW_UPDATE, 0, 0, &[0x3f, 0, 0, 0])].concat(),
        each: |n| {
            [
                request(2 * n + 1, "/grpc.health.v1.Health/Check", 0, 0),
                frame(DATA, END_STREAM, 2 * n + 1, &[0; 5]),
            ]
            .concat()
        },
        times: 1 << 30,
        pause: NO_PAUSE,
    },
    Attack {
        name: "rapid reset",
        connections: 1,
        opening: settings,
        each: |n| {
            [
                request(2 * n + 1, "/grpc.health.v1.Health/Check", 0, 0),
                frame(RESET_STREAM, 0, 2 * n + 1, &[0, 0, 0, 8]),
            ]
            .concat()
        },
        times: 1 << 30,
        pause: NO_PAUSE,
    },
    Attack {
        name: "ping flood",
        connections: 1,
        opening: settings,
        each: |_| frame(PING, 0, 0, &[7; 8]),
        times: 1 << 30,
        pause: NO_PAUSE,
    },
    Attack {
        name: "settings flood",
        connections: 1,
        opening: settings,
        each: |_| settings(),
        times: 1 << 30,
        pause: NO_PAUSE,
    },
    Attack {
        name: "priority flood",
        connections: 1,
        opening: settings,
        each: |_| frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 7]),
        times: 1 << 30,
        pause: NO_PAUSE,
    },
    Attack {
        name: "unknown frames",
        connections: 1,
        opening: settings,
        each: |_| frame(0xbe, 0, 0, &[7; 8]),
        times: 1 << 30,
        pause: NO_PAUSE,
    },
    Attack {
        name: "window updates",
        connections: 1,
        opening: settings,
        each: |_| frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]),
        times: 1 << 30,
        pause: NO_PAUSE,
    },
    Attack {
        name: "large headers",
        connections: 1,
        opening: settings,
        each: |n| request(2 * n + 1, "/test.Hoard/Silent", 15_000, 0),
        times: 10_000,
        pause: NO_PAUSE,
    },
    Attack {
        name: "endless headers",
        connections: 1,
        opening: || [settings(), frame(HEADERS, 0, 1, &headers("/a.B/C", 0))].concat(),
        each: |_| frame(CONTINUATION, 0, 1, &[0, 1, b'x', 1, b'y'].repeat(1_000)),
        times: 1 << 30,
        pause: NO_PAUSE,
    },
    Attack {
        // One entry of the dynamic table, named 16 000 times: 64 MB of headers in 16 KB.
        name: "hpack bomb",
        connections: 1,
        opening: settings,
        each: |n| {
            let mut block = headers("/a.B/C", 0);
            block.extend([0x40, 1, b'x', 0x7f, 0xa1, 0x1e]);
            block.extend([b'y'; 4_000]);
            block.extend([0xbe; 12_000]);
            frame(HEADERS, END_HEADERS | END_STREAM, 2 * n + 1, &block)
        },
        times: 1 << 29,
        pause: NO_PAUSE,
    },
    Attack {
        name: "slow preface",
        connections: 1_000,
        opening: Vec::new,
        each: |n| vec![CLIENT_PREFACE[n as usize % CLIENT_PREFACE.len()]],
        times: 20,
        pause: Duration::from_millis(500),
    },
    Attack {
        name: "window-zero readers",
        connections: 1,
        opening: || frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]),
        each: |n| request(2 * n + 1, "/test.Hoard/Large", 0, END_STREAM),
        times: 1_000,
        pause: NO_PAUSE,
    },
];

pub(super) fn settings() -> Vec<u8> {
    frame(SETTINGS, 0, 0, &[])
}

pub(super) fn request(stream: u32, path: &str, header_bytes: usize, flags: u8) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | flags, stream, &headers(path, header_bytes))
}

/// `POST path`, and so many bytes of other headers, as HTTP/2 counts them (RFC 7541 §6.2.2).
fn headers(path: &str, bytes: usize) -> Vec<u8> {
    let mut block = vec![0x83, 0x86, 0x04, path.len() as u8];
    block.extend(path.as_bytes());
    block.extend([0x01, 4]);
    block.extend(b"test");
    // content-type, name 31 of the static table
    block.extend([0x0f, 16, 16]);
    block.extend(b"application/grpc");
    for _ in 0..bytes / 100 {
        block.extend([0, 1, b'x', 67]);
        block.extend([b'y'; 67]);
    }
    block
}

pub(super) const NO_PAUSE: Duration = Duration::ZERO;

const PRIORITY: u8 = 0x2;
