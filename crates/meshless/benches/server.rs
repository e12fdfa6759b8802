//! What a unary call costs the server: ours beside tonic's, the same service and the same client,
//! on one connection.
//!
//! `cargo bench -p meshless --bench server` prints allocations per call (exact) and calls per
//! second on one core, client counted, where the two alternate. The client is bare h2, so that most
//! of what is counted is the server. For instructions, `valgrind --tool=callgrind` with
//! `SERVER=<tonic|timer|keepalive|meshless>,<calls>`: the difference between two numbers of calls
//! leaves the start out. `keepalive` is tonic with the keepalive of 2 h that gRPC has by default,
//! and we too; `timer` is tonic while any timer of its process runs: tokio then looks at the clock
//! each time that it waits.

use std::future::Future;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::SendRequest;
use http::{Method, Request, header};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

fn main() {
    if let Ok(plan) = std::env::var("SERVER") {
        let (server, calls) = plan.split_once(',').expect("SERVER=<tonic|timer|keepalive|meshless>,<calls>");
        let calls = calls.parse().expect("a number of calls");
        return match server {
            "tonic" => run(async { sequence(connect(tonic(None).await).await, calls, false).await }),
            "timer" => run(async {
                tokio::spawn(tokio::time::sleep(KEEPALIVE));
                sequence(connect(tonic(None).await).await, calls, false).await;
            }),
            "keepalive" => {
                run(async { sequence(connect(tonic(Some(KEEPALIVE)).await).await, calls, false).await })
            }
            "meshless" => run(async { sequence(connect(meshless().await).await, calls, false).await }),
            other => panic!("no server is called {other}"),
        };
    }
    // `cargo test --benches` and the like pass no `--bench`: then there is nothing to measure.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    allocations();
    speed();
}

fn allocations() {
    let _profiler = dhat::Profiler::builder().testing().build();
    println!("allocations per unary call, bare client and server (bytes)");
    run(async {
        for deadline in [false, true] {
            let which = if deadline { "with a deadline" } else { "without" };
            let (blocks, bytes) = counted(connect(tonic(None).await).await, deadline).await;
            println!("  tonic     {blocks:6.1}  ({bytes:.0})  {which}");
            let (blocks, bytes) = counted(connect(meshless().await).await, deadline).await;
            println!("  meshless  {blocks:6.1}  ({bytes:.0})  {which}");
        }
    });
}

/// Allocations and bytes per call.
async fn counted(client: SendRequest<Bytes>, deadline: bool) -> (f64, f64) {
    sequence(client.clone(), WARM_UP, deadline).await;
    let before = dhat::HeapStats::get();
    sequence(client, COUNTED, deadline).await;
    let after = dhat::HeapStats::get();
    let per_call = |before: u64, after: u64| (after - before) as f64 / f64::from(COUNTED);
    (per_call(before.total_blocks, after.total_blocks), per_call(before.total_bytes, after.total_bytes))
}

fn speed() {
    for in_flight in [1, 100] {
        let (mut theirs, mut ours) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            theirs.push(run(async { rate(tonic(None).await, in_flight).await }));
            ours.push(run(async { rate(meshless().await, in_flight).await }));
            ours.push(run(async { rate(meshless().await, in_flight).await }));
            theirs.push(run(async { rate(tonic(None).await, in_flight).await }));
        }
        let mut ratios: Vec<_> = theirs.iter().zip(&ours).map(|(tonic, meshless)| meshless / tonic).collect();
        println!(
            "calls per second on one core, bare client and server, {in_flight} in flight: tonic {:.0}, meshless {:.0}, ratio {:.3} (median of {} pairs)",
            median(&mut theirs),
            median(&mut ours),
            median(&mut ratios),
            2 * ROUNDS
        );
    }
}

/// Calls per second with `in_flight` callers, on this one thread: wall time is CPU time.
async fn rate(server: SocketAddr, in_flight: u32) -> f64 {
    let client = connect(server).await;
    sequence(client.clone(), WARM_UP, false).await;
    let started = Instant::now();
    let mut callers = JoinSet::new();
    for _ in 0..in_flight {
        callers.spawn(sequence(client.clone(), TIMED / in_flight, false));
    }
    while callers.join_next().await.is_some() {}
    f64::from(TIMED) / started.elapsed().as_secs_f64()
}

async fn sequence(mut client: SendRequest<Bytes>, calls: u32, deadline: bool) {
    for _ in 0..calls {
        call(&mut client, deadline).await.expect("the server is up");
    }
}

/// One unary call: an empty message there, a small one back, and the status.
async fn call(client: &mut SendRequest<Bytes>, deadline: bool) -> Result<(), h2::Error> {
    std::future::poll_fn(|cx| client.poll_ready(cx)).await?;
    let mut request = Request::builder()
        .method(Method::POST)
        .uri("http://server/grpc.health.v1.Health/Check")
        .header(header::TE, "trailers")
        .header(header::CONTENT_TYPE, "application/grpc");
    if deadline {
        request = request.header("grpc-timeout", "5S");
    }
    let (response, mut body) = client.send_request(request.body(()).expect("its parts are valid"), false)?;
    body.send_data(Bytes::from_static(&[0; 5]), true)?;
    let mut body = response.await?.into_body();
    while let Some(data) = body.data().await {
        body.flow_control().release_capacity(data?.len())?;
    }
    let trailers = body.trailers().await?.expect("a status");
    assert_eq!(trailers["grpc-status"], "0");
    Ok(())
}

async fn connect(server: SocketAddr) -> SendRequest<Bytes> {
    let socket = TcpStream::connect(server).await.expect("the server is up");
    socket.set_nodelay(true).expect("a TCP socket");
    let (client, connection) = h2::client::handshake(socket).await.expect("the server is up");
    tokio::spawn(connection);
    client
}

async fn tonic(keepalive: Option<Duration>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
    let address = listener.local_addr().expect("it is bound");
    let (_, health) = tonic_health::server::health_reporter();
    let incoming = tonic::transport::server::TcpIncoming::from(listener).with_nodelay(Some(true));
    let mut server = tonic::transport::Server::builder().http2_keepalive_interval(keepalive);
    tokio::spawn(server.add_service(health).serve_with_incoming(incoming));
    address
}

/// With the settings of a deployment, and tonic-health's service in place of the built-in one.
async fn meshless() -> SocketAddr {
    let listener = meshless::server::bind(([127, 0, 0, 1], 0).into()).expect("loopback has free ports");
    let address = listener.local_addr().expect("it is bound");
    let (_, health) = tonic_health::server::health_reporter();
    let server = meshless::Server::builder()
        .max_connection_age(Duration::from_secs(600))
        .max_connection_age_grace(Duration::from_secs(10))
        .add_service(health);
    tokio::spawn(server.serve_with_incoming_shutdown([listener], std::future::pending()));
    address
}

fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime can be built");
    let result = runtime.block_on(work);
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

const KEEPALIVE: Duration = Duration::from_secs(2 * 3600);
const WARM_UP: u32 = 500;
const COUNTED: u32 = 2_000;
const TIMED: u32 = 20_000;
const ROUNDS: usize = 5;
