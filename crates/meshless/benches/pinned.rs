//! What one hostile connection pins in the server, by attack, under the default limits.
//!
//! `cargo bench -p meshless --bench pinned` prints heap bytes (exact), in all and for each thing
//! that the client sent. Sockets' own buffers are the kernel's, and not counted.

#[path = "hostile/hoard.rs"]
mod hoard;

use std::net::SocketAddr;
use std::time::Duration;

use hoard::Hoard;
use meshless_core::CLIENT_PREFACE;
use meshless_testkit::raw_peer::{DATA, END_HEADERS, END_STREAM, HEADERS, SETTINGS, frame};
use tokio::io::{AsyncWriteExt, copy, sink};
use tokio::net::TcpStream;

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

fn main() {
    // `cargo test --benches` and the like pass no `--bench`: then there is nothing to measure.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let _profiler = dhat::Profiler::builder().testing().build();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let listener = meshless::server::bind(([127, 0, 0, 1], 0).into()).expect("a port of loopback");
        let server = listener.local_addr().expect("it is bound");
        let service = meshless::Server::builder().add_service(Hoard);
        tokio::spawn(service.serve_with_incoming_shutdown([listener], std::future::pending()));
        println!("heap pinned by a hostile client: in all, and each");
        idle_connections(server).await;
        let streams = |headers: usize| {
            let block = headers_of("/test.Hoard/Call", headers);
            move |stream| frame(HEADERS, END_HEADERS, stream, &block)
        };
        attack(server, "streams", 10_000, 0, streams(0)).await;
        attack(server, "streams with 15 KB of headers", 10_000, 0, streams(15_000)).await;
        // One byte for each field, out of HPACK's table, which each stream fills anew: 33 bytes as
        // HTTP/2 counts them, and over a hundred in memory.
        let fields = |count: usize| {
            let mut block = headers_of("/test.Hoard/Call", 0);
            block.extend([0x40, 1, b'x', 0]);
            block.extend(vec![0xbe; count]);
            move |stream| frame(HEADERS, END_HEADERS, stream, &block)
        };
        attack(server, "streams with 490 fields", 10_000, 0, fields(490)).await;
        let body = |length: usize| {
            let block = headers_of("/test.Hoard/Call", 0);
            move |stream| {
                let data = frame(DATA, 0, stream, &vec![7; length]);
                [frame(HEADERS, END_HEADERS, stream, &block), data].concat()
            }
        };
        attack(server, "bodies of 16 KiB, unread", 500, 0, body(16_384)).await;
        attack(server, "bodies of 1 byte, unread", 10_000, 0, body(1)).await;
        let large = headers_of("/test.Hoard/Large", 0);
        let large = move |stream| frame(HEADERS, END_HEADERS | END_STREAM, stream, &large);
        attack(server, "responses of 100 KB, unread", 1_000, 1, large).await;
    });
}

async fn idle_connections(server: SocketAddr) {
    const CONNECTIONS: usize = 200;
    let before = heap().await;
    let mut idle = Vec::new();
    for _ in 0..CONNECTIONS {
        idle.push(open(server, 0).await);
    }
    report("idle connections", CONNECTIONS, heap().await.saturating_sub(before));
    drop(idle);
    heap().await;
}

/// Opens a connection and `streams` streams on it; `settings` is 1 to allow no byte of a response.
async fn attack(
    server: SocketAddr,
    name: &str,
    streams: usize,
    settings: usize,
    stream: impl Fn(u32) -> Vec<u8>,
) {
    let before = heap().await;
    let client = open(server, settings).await;
    let (mut read, mut write) = client.into_split();
    let reader = tokio::spawn(async move { copy(&mut read, &mut sink()).await });
    // Until its WINDOW_UPDATE is here, the connection's window is the protocol's 64 KiB.
    tokio::time::sleep(Duration::from_millis(500)).await;
    for id in 0..streams as u32 {
        write.write_all(&stream(2 * id + 1)).await.expect("the server bears it");
    }
    let pinned = heap().await.saturating_sub(before);
    assert!(!reader.is_finished(), "{name}: the server has closed the connection");
    report(name, streams, pinned);
    drop(write);
    reader.abort();
    heap().await;
}

fn report(name: &str, count: usize, pinned: usize) {
    println!("  {count:6} {name:32} {:8.1} MB {:8} B", pinned as f64 / 1e6, pinned / count);
}

async fn open(server: SocketAddr, settings: usize) -> TcpStream {
    let mut client = TcpStream::connect(server).await.expect("it listens");
    let no_window = [0, 4, 0, 0, 0, 0].repeat(settings);
    let preface = [CLIENT_PREFACE, &frame(SETTINGS, 0, 0, &no_window)[..]].concat();
    client.write_all(&preface).await.expect("it reads");
    client
}

/// The heap once it has stopped changing.
async fn heap() -> usize {
    let mut last = 0;
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let now = dhat::HeapStats::get().curr_bytes;
        if now == last {
            return now;
        }
        last = now;
    }
}

/// `POST path`, and a header of so many bytes (RFC 7541 §6.2.2).
fn headers_of(path: &str, bytes: usize) -> Vec<u8> {
    let mut block = vec![0x83, 0x86, 0x04, path.len() as u8];
    block.extend(path.as_bytes());
    block.extend([0x01, 4]);
    block.extend(b"test");
    // content-type, name 31 of the static table
    block.extend([0x0f, 16, 16]);
    block.extend(b"application/grpc");
    for _ in 0..bytes / 100 {
        block.extend([0, 1, b'x', 67]);
        block.extend([b'y'; 67]); // and 32, as HTTP/2 counts each
    }
    block
}
