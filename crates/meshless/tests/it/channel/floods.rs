//! One backend of three sends frames that carry nothing, without end: its connection is closed, and
//! made again after pauses that grow; no call on the others is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use meshless::resolver::Address;
use tokio::io::{AsyncWriteExt, DuplexStream};

use super::network::*;
use meshless_testkit::raw_peer::{
    DATA, END_HEADERS, END_STREAM, HEADERS, PING, RESET_STREAM, RawPeer, Received, WINDOW_UPDATE, frame,
};

/// What is sent over and over; the stream is that of the first call on the connection.
type Flood = fn(u32) -> Vec<u8>;

/// Whether the first call is answered before, or left open.
enum FirstCall {
    Answered,
    Open,
}

const HEAD: &[u8] = b"\x88\0\x0ccontent-type\x10application/grpc";
const STATUS: &[u8] = b"\0\x0bgrpc-status\x010";

const FLOODS: [(&str, FirstCall, Flood); 15] = [
    ("PRIORITY", FirstCall::Answered, |s| frame(0x2, 0, s, &[0, 0, 0, 0, 15])),
    ("unknown frames", FirstCall::Answered, |_| frame(0xbe, 0, 0, &[])),
    ("PING", FirstCall::Answered, |_| frame(PING, 0, 0, &[7; 8])),
    ("PING acks", FirstCall::Answered, |_| frame(PING, 1, 0, &[7; 8])),
    ("SETTINGS", FirstCall::Answered, |_| frame(0x4, 0, 0, &[])),
    ("WINDOW_UPDATE", FirstCall::Answered, |_| frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])),
    ("GOAWAY", FirstCall::Open, |_| frame(0x7, 0, 0, &[0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0])),
    ("resets of a finished call", FirstCall::Answered, |s| frame(RESET_STREAM, 0, s, &[0, 0, 0, 8])),
    ("trailers of a finished call", FirstCall::Answered, |s| {
        frame(HEADERS, END_HEADERS | END_STREAM, s, STATUS)
    }),
    ("DATA of a finished call", FirstCall::Answered, |s| frame(DATA, 0, s, &[0, 0, 0, 0, 0, 0, 0])),
    ("1xx", FirstCall::Open, |s| frame(HEADERS, END_HEADERS, s, b"\x08\x03103")),
    ("empty DATA", FirstCall::Open, |s| frame(DATA, 0, s, &[])),
    ("padding", FirstCall::Open, |s| frame(DATA, 0x8, s, &[&[99][..], &[0; 99]].concat())),
    ("empty messages", FirstCall::Open, |s| frame(DATA, 0, s, &[0; 5])),
    ("empty messages in bulk", FirstCall::Open, |s| frame(DATA, 0, s, &[0; 5000])),
];

/// Serves the bad one's connections; what it has heard of the channel goes into the counts.
async fn flood(io: DuplexStream, first: &FirstCall, flood: Flood, calm_down: Arc<AtomicU32>) {
    let mut peer = RawPeer::accept(io, &[]).await;
    let stream = loop {
        match peer.next().await {
            Received::Data { stream, .. } => break stream,
            Received::Closed => return,
            _ => {}
        }
    };
    let opening = match first {
        FirstCall::Answered => [
            frame(HEADERS, END_HEADERS, stream, HEAD),
            frame(DATA, 0, stream, b"\0\0\0\0\x02\x08\x01"),
            frame(HEADERS, END_HEADERS | END_STREAM, stream, STATUS),
        ]
        .concat(),
        FirstCall::Open if flood(stream)[3] == DATA => frame(HEADERS, END_HEADERS, stream, HEAD),
        FirstCall::Open => Vec::new(),
    };
    let (mut read, mut write) = tokio::io::split(peer.io);
    let hear = async move {
        let mut peer = RawPeer { io: tokio::io::join(&mut read, tokio::io::sink()) };
        let calm = 11;
        let is_told = |frame: &Received| matches!(frame, Received::GoAway { code, .. } if *code == calm);
        u32::from(peer.rest().await.iter().any(is_told))
    };
    let send = async move {
        let _ = write.write_all(&opening).await;
        // Ends when the channel has closed.
        while write.write_all(&flood(stream).repeat(50)).await.is_ok() {}
    };
    let (told, ()) = tokio::join!(hear, send);
    calm_down.fetch_add(told, Ordering::Relaxed);
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_frames_that_carry_nothing_is_ended_and_costs_few_connects() {
    for (name, first, frames) in &FLOODS {
        let mut network = Network::new();
        let builder = network.channel(&[1, 2, 3].map(backend));
        let (connects, calm_down) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let (counter, told) = (Arc::clone(&connects), Arc::clone(&calm_down));
        let (first, frames): (&'static FirstCall, Flood) = (first, *frames);
        tokio::spawn(async move {
            loop {
                let (address, io) = network.accept().await;
                if address == Address::Tcp(backend(2)) {
                    counter.fetch_add(1, Ordering::Relaxed);
                    tokio::spawn(flood(io, first, frames, Arc::clone(&told)));
                } else {
                    tokio::spawn(serve(io, address, 1000, Call::answer));
                }
            }
        });
        let channel = builder.connect().await.unwrap();
        let mut lost = 0;
        for _ in 0..150 {
            lost += u32::from(check_within(&channel, Duration::from_secs(1)).await.is_err());
            tokio::time::sleep(Duration::from_millis(400)).await;
        }
        let connects = connects.load(Ordering::Relaxed);
        assert!((2..=9).contains(&connects), "{name}: {connects} connects in a minute");
        // DATA of calls that are no more is counted by h2, whose farewell is not ours.
        let told = calm_down.load(Ordering::Relaxed);
        assert!(told >= 1, "{name}: ENHANCE_YOUR_CALM was said {told} times");
        assert!(lost <= connects, "{name}: {lost} calls, each on the bad one");
    }
}
