//! Backends: good ones, and one that does what an attack says.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use meshless_core::CLIENT_PREFACE;
use meshless_testkit::raw_peer::{RawFrame, frame, read_frame};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::OwnedReadHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use super::attacks::Attack;

/// A backend whose one service is health.
pub(super) async fn good() -> SocketAddr {
    let listener = meshless::server::bind(([127, 0, 0, 1], 0).into()).expect("a port of loopback");
    let address = listener.local_addr().expect("it is bound");
    let server = meshless::Server::builder();
    tokio::spawn(server.serve_with_incoming_shutdown([listener], std::future::pending()));
    address
}

/// The bad one, and what it was given.
pub(super) struct Bad {
    pub(super) address: SocketAddr,
    given: Arc<Given>,
}

#[derive(Default)]
struct Given {
    calls: AtomicU64,
    connects: AtomicU64,
}

impl Bad {
    pub(super) fn counts(&self) -> (u64, u64) {
        (self.given.calls.load(Relaxed), self.given.connects.load(Relaxed))
    }
}

pub(super) async fn bad(attack: &'static Attack) -> Bad {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port of loopback");
    let address = listener.local_addr().expect("it is bound");
    let given = Arc::<Given>::default();
    let counts = Arc::clone(&given);
    tokio::spawn(async move {
        while let Ok((io, _)) = listener.accept().await {
            counts.connects.fetch_add(1, Relaxed);
            tokio::spawn(serve(io, attack, Arc::clone(&counts)));
        }
    });
    Bad { address, given }
}

/// One connection: calls are answered as they come, and the flood goes on beside them until the
/// client closes.
async fn serve(io: TcpStream, attack: &'static Attack, given: Arc<Given>) {
    let _ = io.set_nodelay(true);
    let (read, mut write) = io.into_split();
    let last_call = Arc::new(AtomicU32::new(0));
    let (answers, mut answering) = mpsc::channel::<Vec<u8>>(1024);
    let heard = Arc::clone(&last_call);
    let reader = tokio::spawn(hear(read, attack, given, heard, answers));
    let opening = async {
        write.write_all(&frame(0x4, 0, 0, attack.settings)).await?;
        let mut end = std::pin::pin!(tokio::time::sleep(attack.life));
        loop {
            let last = last_call.load(Relaxed);
            let flood = attack.flood.filter(|_| last > 0);
            tokio::select! {
                biased;
                () = &mut end => break,
                answer = answering.recv() => match answer {
                    Some(answer) => write.write_all(&answer).await?,
                    None => break,
                },
                () = tokio::task::yield_now(), if flood.is_some() => {
                    let each = flood.map(|flood| flood(last)).unwrap_or_default();
                    write.write_all(&each.repeat(BATCH / each.len().max(1) + 1)).await?;
                }
                () = tokio::time::sleep(Duration::from_millis(20)), if flood.is_none() => {}
            }
            if attack.closes_on_call && last > 0 {
                break;
            }
        }
        std::io::Result::Ok(())
    };
    let _ = opening.await;
    reader.abort();
}

/// Reads what the client sends, and says what to answer. Ends with the connection.
async fn hear(
    mut read: OwnedReadHalf,
    attack: &'static Attack,
    given: Arc<Given>,
    last_call: Arc<AtomicU32>,
    answers: mpsc::Sender<Vec<u8>>,
) -> std::io::Result<()> {
    read.read_exact(&mut [0; CLIENT_PREFACE.len()]).await?;
    loop {
        let RawFrame { kind, flags, stream, payload } = read_frame(&mut read).await?;
        let answer = match (kind, flags & 1) {
            (0x0, 1) => {
                given.calls.fetch_add(1, Relaxed);
                last_call.store(stream, Relaxed);
                (attack.answer)(stream)
            }
            (0x4, 0) => frame(0x4, 1, 0, &[]),
            (0x6, 0) => frame(0x6, 1, 0, &payload),
            _ => continue,
        };
        if answers.send(answer).await.is_err() {
            return Ok(());
        }
    }
}

/// Bytes of a flood that are written at a time.
const BATCH: usize = 16 << 10;
