//! What a unary call costs, both ends counted, on one connection: the channel beside tonic's, the
//! same server.
//!
//! `cargo bench -p meshless --bench unary` prints allocations per call (exact) and calls per
//! CPU-second at one and at a hundred calls in flight (as good as the machine is quiet; the two
//! alternate, so compare within one run). For instructions, `valgrind --tool=callgrind` with
//! `UNARY=<tonic|meshless>,<calls>`: the difference between two numbers of calls leaves the start
//! out.

use std::future::Future;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

fn main() {
    if let Ok(plan) = std::env::var("UNARY") {
        let (client, calls) = plan.split_once(',').expect("UNARY=<tonic|meshless>,<calls>");
        return alone(client, calls.parse().expect("a number of calls"));
    }
    // `cargo test --benches` and the like pass no `--bench`: then there is nothing to measure.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    allocations();
    speed();
}

/// One client, one call after the other.
fn alone(client: &str, calls: u32) {
    run(async {
        let address = serve().await;
        match client {
            "tonic" => sequence(HealthClient::new(tonic_channel(address).await), calls).await,
            "meshless" => sequence(HealthClient::new(meshless_channel(address).await), calls).await,
            other => panic!("no client is called {other}"),
        }
    });
}

fn allocations() {
    let _profiler = dhat::Profiler::builder().testing().build();
    println!("allocations per unary call, both ends (bytes)");
    run(async {
        let address = serve().await;
        let tonic = HealthClient::new(tonic_channel(address).await);
        let meshless = HealthClient::new(meshless_channel(address).await);
        sequence(tonic.clone(), WARM_UP).await;
        let (blocks, bytes) = counted(sequence(tonic, COUNTED)).await;
        println!("  tonic     {blocks:6.1}  ({bytes:.0})");
        sequence(meshless.clone(), WARM_UP).await;
        let (blocks, bytes) = counted(sequence(meshless, COUNTED)).await;
        println!("  meshless  {blocks:6.1}  ({bytes:.0})");
    });
}

/// Allocations and bytes per call of what `calls` does [`COUNTED`] times.
async fn counted(calls: impl Future<Output = ()>) -> (f64, f64) {
    let before = dhat::HeapStats::get();
    calls.await;
    let after = dhat::HeapStats::get();
    let per_call = |before: u64, after: u64| (after - before) as f64 / f64::from(COUNTED);
    (per_call(before.total_blocks, after.total_blocks), per_call(before.total_bytes, after.total_bytes))
}

fn speed() {
    for in_flight in [1, 100] {
        let (mut tonic, mut meshless) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            tonic.push(run(async {
                let address = serve().await;
                rate(HealthClient::new(tonic_channel(address).await), in_flight).await
            }));
            meshless.push(run(async {
                let address = serve().await;
                rate(HealthClient::new(meshless_channel(address).await), in_flight).await
            }));
        }
        let mut ratios: Vec<_> =
            tonic.iter().zip(&meshless).map(|(tonic, meshless)| meshless / tonic).collect();
        println!(
            "calls per second on one core, both ends, {in_flight} in flight: tonic {:.0}, meshless {:.0}, ratio {:.2} (median of {ROUNDS} pairs)",
            median(&mut tonic),
            median(&mut meshless),
            median(&mut ratios)
        );
    }
}

/// Calls per second with `in_flight` callers, on this one thread: wall time is CPU time.
async fn rate<T>(client: HealthClient<T>, in_flight: u32) -> f64
where
    T: Clone + Send + 'static,
    HealthClient<T>: Caller,
{
    sequence(client.clone(), WARM_UP).await;
    let started = Instant::now();
    let mut callers = JoinSet::new();
    for _ in 0..in_flight {
        callers.spawn(sequence(client.clone(), TIMED / in_flight));
    }
    while callers.join_next().await.is_some() {}
    f64::from(TIMED) / started.elapsed().as_secs_f64()
}

async fn sequence<T>(mut client: HealthClient<T>, calls: u32)
where
    HealthClient<T>: Caller,
{
    for _ in 0..calls {
        client.call().await;
    }
}

/// A client over either channel; tonic's own bounds do not fit into one line.
trait Caller: Send + 'static {
    fn call(&mut self) -> impl Future<Output = ()> + Send;
}

impl Caller for HealthClient<tonic::transport::Channel> {
    async fn call(&mut self) {
        self.check(HealthCheckRequest::default()).await.expect("the server is up");
    }
}

impl Caller for HealthClient<meshless::Channel> {
    async fn call(&mut self) {
        self.check(HealthCheckRequest::default()).await.expect("the server is up");
    }
}

async fn serve() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
    let address = listener.local_addr().expect("it is bound");
    let (_, health) = tonic_health::server::health_reporter();
    let incoming = tonic::transport::server::TcpIncoming::from(listener).with_nodelay(Some(true));
    tokio::spawn(tonic::transport::Server::builder().add_service(health).serve_with_incoming(incoming));
    address
}

async fn tonic_channel(address: SocketAddr) -> tonic::transport::Channel {
    let endpoint =
        tonic::transport::Endpoint::try_from(format!("http://{address}")).expect("an address is a URI");
    endpoint.connect().await.expect("the server is up")
}

async fn meshless_channel(address: SocketAddr) -> meshless::Channel {
    meshless::Channel::builder(format!("ipv4:{address}")).connect().await.expect("the server is up")
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

const WARM_UP: u32 = 500;
const COUNTED: u32 = 2_000;
const TIMED: u32 = 20_000;
const ROUNDS: usize = 9;
