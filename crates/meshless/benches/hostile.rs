//! What hostile clients cost the others: the latency of a well-behaved one, and the memory of the server's process.
//!
//! `cargo bench -p meshless --bench hostile` starts a server with its defaults as a process of its own and attacks it while a
//! paced client calls. An attacker whose connection is closed comes back at once. An attacker on the same machine takes
//! processor time from everybody, so in other phases it attacks a second server: the ratio compares these two, and the
//! phases without any attack are shown beside them.
//! `HOSTILE=idle` measures 10 000 idle connections instead, `HOSTILE=<name>` one attack.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::pin::Pin;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::Frame;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

fn main() {
    if std::env::var_os(SERVE).is_some() {
        return serve();
    }
    // `cargo test --benches` and the like pass no `--bench`: then there is nothing to measure.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let chosen = std::env::var("HOSTILE").ok();
    if chosen.as_deref() == Some("idle") {
        return idle();
    }
    println!("latencies in ms: quiet, attacked elsewhere, attacked, ratio of the last two");
    println!(
        "{:20} {:>29} {:>29} {:>12} {:>9} {:>10}",
        "attack", "p50", "p99", "RSS MB, more", "sent", "reconnects"
    );
    for attack in ATTACKS {
        if chosen.as_deref().is_none_or(|name| name == attack.name) {
            measure(attack);
        }
    }
}

/// One way to harm a server.
struct Attack {
    name: &'static str,
    /// How many connections do it at a time.
    connections: usize,
    /// What is sent first, after the preface.
    opening: fn() -> Vec<u8>,
    /// What is sent for the n-th time.
    each: fn(u32) -> Vec<u8>,
    /// How often, on one connection; then the attacker waits for the server to act.
    times: u32,
    pause: Duration,
}

const ATTACKS: &[Attack] = &[
    Attack { name: "none", connections: 0, opening: settings, each: |_| vec![], times: 0, pause: NO_PAUSE },
    Attack {
        name: "rapid reset",
        connections: 1,
        opening: settings,
        each: |n| {
            [
                request(2 * n + 1, "/grpc.health.v1.Health/Check", 0, 0),
                frame(RST_STREAM, 0, 2 * n + 1, &[0, 0, 0, 8]),
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
        name: "large headers",
        connections: 1,
        opening: settings,
        each: |n| request(2 * n + 1, "/hostile.Large/Silent", 15_000, 0),
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
        each: |n| vec![PREFACE[n as usize % 24]],
        times: 20,
        pause: Duration::from_millis(500),
    },
    Attack {
        name: "window-zero readers",
        connections: 1,
        opening: || frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]),
        each: |n| request(2 * n + 1, "/hostile.Large/Answer", 0, END_STREAM),
        times: 1_000,
        pause: NO_PAUSE,
    },
];

fn measure(attack: &'static Attack) {
    let (mut server, mut other) = (Server::start(), Server::start());
    let (orders, sent, reconnects) =
        (Arc::<AtomicUsize>::default(), Arc::<AtomicU64>::default(), Arc::<AtomicUsize>::default());
    let (address, elsewhere) = (server.address, other.address);
    let attacker = {
        let (orders, sent, reconnects) = (orders.clone(), sent.clone(), reconnects.clone());
        std::thread::spawn(move || run(attackers(attack, [elsewhere, address], orders, sent, reconnects)))
    };
    let mut latencies = [const { Vec::new() }; 3];
    run(async {
        let endpoint =
            tonic::transport::Endpoint::try_from(format!("http://{address}")).expect("an address is a URI");
        let client = HealthClient::new(endpoint.connect().await.expect("the server is up"));
        paced(client.clone(), &mut Vec::new(), &mut 0, server.pid()).await;
        let (mut before, mut peak) = (0, 0);
        for order in [QUIET, ELSEWHERE, HERE, HERE, ELSEWHERE, QUIET] {
            orders.store(order, Ordering::Relaxed);
            let rss = match order {
                HERE => &mut peak,
                QUIET if peak == 0 => &mut before,
                // After an attack it would count what the allocator keeps.
                _ => &mut 0,
            };
            paced(client.clone(), &mut latencies[order], rss, server.pid()).await;
        }
        orders.store(OVER, Ordering::Relaxed);
        let column = |share: f64, latencies: &mut [Vec<Duration>; 3]| {
            let [quiet, elsewhere, here] = latencies.each_mut().map(|latencies| {
                latencies.sort();
                latencies[((latencies.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3
            });
            format!("{quiet:7.2} {elsewhere:7.2} {here:7.2} {:5.2}", here / elsewhere)
        };
        println!(
            "{:20} {} {} {:5.0} {:6.0} {:>9} {:>10}",
            attack.name,
            column(0.5, &mut latencies),
            column(0.99, &mut latencies),
            before as f64 / 1e6,
            peak.saturating_sub(before) as f64 / 1e6,
            sent.load(Ordering::Relaxed),
            reconnects.load(Ordering::Relaxed).saturating_sub(attack.connections),
        );
    });
    other.stop();
    server.stop();
    attacker.join().expect("the attacker ends with the server");
}

/// Calls for [`PHASE`] at [`RATE`], latency from the instant at which a call was due; `rss` becomes the largest seen.
async fn paced(
    client: HealthClient<tonic::transport::Channel>,
    latencies: &mut Vec<Duration>,
    rss: &mut u64,
    pid: u32,
) {
    let start = Instant::now();
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..(PHASE.as_secs_f64() * f64::from(RATE)) as u32 {
        let due = start + Duration::from_secs(1) * number / RATE;
        tokio::time::sleep_until(due).await;
        let mut client = client.clone();
        calls.spawn(async move {
            client.check(HealthCheckRequest::default()).await.expect("the others' calls do not fail");
            due.elapsed()
        });
        if number % 50 == 0 {
            *rss = (*rss).max(resident(pid));
        }
        while let Some(done) = calls.try_join_next() {
            latencies.push(done.expect("a call does not panic"));
        }
    }
    latencies.extend(calls.join_all().await);
}

async fn attackers(
    attack: &'static Attack,
    servers: [SocketAddr; 2],
    orders: Arc<AtomicUsize>,
    sent: Arc<AtomicU64>,
    reconnects: Arc<AtomicUsize>,
) {
    let mut all = tokio::task::JoinSet::new();
    for _ in 0..attack.connections {
        let (orders, sent, reconnects) = (orders.clone(), sent.clone(), reconnects.clone());
        all.spawn(async move {
            loop {
                let order = orders.load(Ordering::Relaxed);
                match order {
                    QUIET => tokio::time::sleep(Duration::from_millis(20)).await,
                    OVER => return,
                    _ => {
                        let server = servers[order - ELSEWHERE];
                        let connection =
                            TcpStream::connect(server).await.expect("the server takes connections");
                        reconnects.fetch_add(1, Ordering::Relaxed);
                        // However it ends, the next one follows.
                        let _ = strike(attack, connection, order, &orders, &sent).await;
                    }
                }
            }
        });
    }
    all.join_all().await;
}

async fn strike(
    attack: &Attack,
    connection: TcpStream,
    order: usize,
    orders: &AtomicUsize,
    sent: &AtomicU64,
) -> std::io::Result<()> {
    let (mut read, mut write) = connection.into_split();
    let ended = tokio::spawn(async move {
        let mut discarded = vec![0; 65_536];
        while read.read(&mut discarded).await.is_ok_and(|bytes| bytes > 0) {}
    });
    let opening = (attack.opening)();
    if !opening.is_empty() {
        write.write_all(PREFACE).await?;
        write.write_all(&opening).await?;
    }
    let mut number = 0;
    while orders.load(Ordering::Relaxed) == order && !ended.is_finished() {
        if number >= attack.times {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        }
        let batch = if attack.pause.is_zero() { 64 } else { 1 };
        let bytes: Vec<u8> = (number..number + batch).flat_map(attack.each).collect();
        write.write_all(&bytes).await?;
        number += batch;
        sent.fetch_add(u64::from(batch), Ordering::Relaxed);
        match attack.pause {
            NO_PAUSE => tokio::task::yield_now().await,
            pause => tokio::time::sleep(pause).await,
        }
    }
    ended.abort();
    Ok(())
}

/// What an idle connection costs a process, everything counted but the kernel's buffers.
fn idle() {
    let mut server = Server::start();
    let address = server.address;
    let before = resident(server.pid());
    run(async {
        let mut connections = Vec::new();
        for spoken in [0, 1] {
            for _ in 0..IDLE {
                let mut connection =
                    TcpStream::connect(address).await.expect("a descriptor is left: raise ulimit -n");
                connection.write_all(&[PREFACE, &settings()].concat()).await.expect("it reads");
                if spoken == 1 {
                    let mut call = request(1, "/grpc.health.v1.Health/Check", 0, 0);
                    call.extend(frame(DATA, END_STREAM, 1, &[0; 5]));
                    connection.write_all(&call).await.expect("it reads");
                }
                connections.push(connection);
            }
            tokio::time::sleep(Duration::from_secs(3)).await;
            let rss = resident(server.pid());
            let what = ["that have said nothing", "that have made one call"][spoken];
            println!(
                "{IDLE} idle connections {what}: {:.1} MB, {:.1} KB each",
                (rss - before) as f64 / 1e6,
                (rss - before) as f64 / IDLE as f64 / 1e3
            );
            connections.clear();
            tokio::time::sleep(Duration::from_secs(3)).await;
            println!(
                "  and {:.1} MB remain when they are gone",
                (resident(server.pid()).saturating_sub(before)) as f64 / 1e6
            );
        }
    });
    server.stop();
}

/// The server's process, which is this program again.
struct Server {
    process: Child,
    address: SocketAddr,
}

impl Server {
    fn start() -> Self {
        let program = std::env::current_exe().expect("this program has a path");
        let mut process = Command::new(program)
            .env(SERVE, "")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it can be run again");
        let mut line = String::new();
        BufReader::new(process.stdout.as_mut().expect("it is piped"))
            .read_line(&mut line)
            .expect("it says where it listens");
        Self { process, address: line.trim().parse().expect("it says an address") }
    }

    fn pid(&self) -> u32 {
        self.process.id()
    }

    fn stop(&mut self) {
        self.process.kill().expect("it runs");
        self.process.wait().expect("it ends");
    }
}

fn serve() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime can be built");
    runtime.block_on(async {
        let listener = meshless::bind(([127, 0, 0, 1], 0).into()).expect("a port of loopback");
        println!("{}", listener.local_addr().expect("it is bound"));
        let server = meshless::Server::builder().add_service(Large);
        // Its stdin closes when the parent ends, however that ends.
        let orphaned = async { drop(tokio::io::stdin().read_u8().await) };
        server.serve_with_incoming_shutdown([listener], orphaned).await.expect("it listens");
    });
    runtime.shutdown_background();
}

/// Answers with 100 KB, or not at all.
#[derive(Clone)]
struct Large;

impl tonic::server::NamedService for Large {
    const NAME: &'static str = "hostile.Large";
}

impl tower_service::Service<http::Request<tonic::body::Body>> for Large {
    type Response = http::Response<Answer>;
    type Error = Infallible;
    type Future = Ready<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        let message = (request.uri().path() == "/hostile.Large/Answer").then(|| vec![7; 100_000].into());
        ready(Ok(http::Response::new(Answer { message, _request: request })))
    }
}

struct Answer {
    message: Option<Bytes>,
    _request: http::Request<tonic::body::Body>,
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.message.take().map_or(Poll::Pending, |message| Poll::Ready(Some(Ok(Frame::data(message)))))
    }
}

/// The bytes of a process that are in memory.
fn resident(pid: u32) -> u64 {
    let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).expect("Linux, and it runs");
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).expect("the second number of statm")
        * 4096
}

fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime can be built").block_on(work)
}

fn settings() -> Vec<u8> {
    frame(SETTINGS, 0, 0, &[])
}

fn request(stream: u32, path: &str, header_bytes: usize, flags: u8) -> Vec<u8> {
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

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// What the attackers are to do.
const QUIET: usize = 0;
const ELSEWHERE: usize = 1;
const HERE: usize = 2;
const OVER: usize = 3;

const SERVE: &str = "HOSTILE_SERVE";
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const PHASE: Duration = Duration::from_secs(2);
const RATE: u32 = 500;
const IDLE: usize = 10_000;
const NO_PAUSE: Duration = Duration::ZERO;

const DATA: u8 = 0x0;
const HEADERS: u8 = 0x1;
const RST_STREAM: u8 = 0x3;
const SETTINGS: u8 = 0x4;
const PING: u8 = 0x6;
const CONTINUATION: u8 = 0x9;
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
