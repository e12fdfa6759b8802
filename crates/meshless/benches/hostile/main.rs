//! What hostile clients cost the others: the latency of a well-behaved one, and the memory of the
//! server's process.
//!
//! `cargo bench -p meshless --bench hostile` starts a server with its defaults as a process of its
//! own and attacks it while a paced client calls. The server has one processor, client and attacker
//! share another, on which the attacker (a third process) runs only when the client does not. An
//! attacker whose connection is closed comes back at once. The ratio is against an attacker that
//! strikes a void, so that the attacker's own work does not count, and all that it makes for the
//! server does. `HOSTILE=idle` measures 10 000 idle connections instead, `HOSTILE=<name>` one
//! attack.

mod attacker;
mod attacks;
mod hoard;
mod server;

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use attacker::{Attacker, Order};
use attacks::{ATTACKS, Attack, request, settings};
use meshless_core::CLIENT_PREFACE;
use meshless_testkit::raw_peer::{DATA, END_STREAM, frame};
use server::Server;

fn main() {
    if std::env::var_os(server::SERVE).is_some() {
        return server::serve();
    }
    if let Ok(name) = std::env::var(attacker::ATTACK) {
        return attacker::attack(&name);
    }
    // `cargo test --benches` and the like pass no `--bench`: then there is nothing to measure.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let here = ["-cp", "0", &std::process::id().to_string()];
    let pinned =
        std::process::Command::new("taskset").args(here).stdout(std::process::Stdio::null()).status();
    assert!(pinned.is_ok_and(|status| status.success()), "`taskset` is there, and two processors");
    let chosen = std::env::var("HOSTILE").ok();
    if chosen.as_deref() == Some("idle") {
        return idle();
    }
    println!("latencies in ms: quiet, the void attacked, the server attacked, ratio of the last two");
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

fn measure(attack: &Attack) {
    let mut server = Server::start();
    let mut attacker = Attacker::start(attack);
    let address = server.address;
    let mut latencies = [const { Vec::new() }; 3];
    let (mut before, mut peak) = (0, 0);
    run(async {
        let endpoint =
            tonic::transport::Endpoint::try_from(format!("http://{address}")).expect("an address is a URI");
        let client = HealthClient::new(endpoint.connect().await.expect("the server is up"));
        paced(client.clone(), &mut Vec::new(), &mut 0, server.pid()).await;
        for round in 0..ROUNDS {
            let orders = [Order::Rest, Order::Void, Order::Server(address)];
            for (order, latencies) in orders.into_iter().zip(&mut latencies) {
                attacker.order(order);
                let rss = match order {
                    Order::Server(_) => &mut peak,
                    Order::Rest if round == 0 => &mut before,
                    // After an attack it would count what the allocator keeps.
                    _ => &mut 0,
                };
                paced(client.clone(), latencies, rss, server.pid()).await;
            }
        }
    });
    let (sent, reconnects) = attacker.stop();
    server.stop();
    for latencies in &mut latencies {
        latencies.sort();
    }
    let column = |share: f64| {
        let [quiet, void, attacked] = latencies
            .each_ref()
            .map(|latencies| latencies[((latencies.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e3);
        format!("{quiet:7.2} {void:7.2} {attacked:7.2} {:5.2}", attacked / void)
    };
    println!(
        "{:20} {} {} {:5.0} {:6.0} {sent:>9} {reconnects:>10}",
        attack.name,
        column(0.5),
        column(0.99),
        before as f64 / 1e6,
        peak.saturating_sub(before) as f64 / 1e6,
    );
}

/// Calls for [`PHASE`] at [`RATE`]; `rss` becomes the largest seen.
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
        // Not from when it was due: the timer's millisecond would hide what is measured, and calls
        // do not wait for each other.
        let begun = Instant::now();
        calls.spawn(async move {
            client.check(HealthCheckRequest::default()).await.expect("the others' calls do not fail");
            begun.elapsed()
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
                connection.write_all(&[CLIENT_PREFACE, &settings()[..]].concat()).await.expect("it reads");
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

const ROUNDS: u32 = 3;
const PHASE: Duration = Duration::from_secs(1);
const RATE: u32 = 500;
const IDLE: usize = 10_000;
