//! What one hostile backend of three costs a client: processor time, memory, connects, and the
//! calls on the good ones.
//!
//! `cargo bench -p meshless --bench hostile_backends` starts, for each attack, two good backends
//! and a bad one in this process, and a client with the channel's defaults (`round_robin`) as a
//! process of its own, which makes paced calls. The bad one speaks HTTP/2 by hand and never stops:
//! what bounds it is what the client reads. About two minutes in all; `ATTACK=<part of a name>`
//! chooses.
//!
//! Columns: processor time of the client, its largest resident memory, the 50th and 99th percentile
//! of the calls that were answered, calls that failed, calls that the bad one was given, and
//! connections that it was given.

mod attacks;
mod backend;
mod client;

use std::process::{Command, Stdio};

use attacks::ATTACKS;

fn main() {
    if let Ok(target) = std::env::var(client::CLIENT) {
        return client::run(&target);
    }
    // `cargo test --benches` and the like pass no `--bench`: then there is nothing to measure.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime can be built");
    let chosen = std::env::var("ATTACK").unwrap_or_default();
    println!(
        "{:34} {:>7} {:>7} {:>8} {:>8} {:>6} {:>7} {:>8}",
        "the bad backend", "CPU s", "RSS MB", "p50 ms", "p99 ms", "lost", "to bad", "connects"
    );
    for attack in ATTACKS.iter().filter(|attack| attack.name.contains(&chosen)) {
        let good = [runtime.block_on(backend::good()), runtime.block_on(backend::good())];
        let bad = runtime.block_on(backend::bad(attack));
        let target = format!("ipv4:{},{},{}", good[0], bad.address, good[1]);
        let program = std::env::current_exe().expect("this program has a path");
        let output = Command::new(program).env(client::CLIENT, target).stdout(Stdio::piped()).output();
        let output = output.expect("this program can be run again");
        let line = String::from_utf8_lossy(&output.stdout);
        let numbers: Vec<f64> = line.split_whitespace().filter_map(|number| number.parse().ok()).collect();
        let [cpu, rss, p50, p99, lost] = numbers[..] else { panic!("the client says five numbers: {line}") };
        let (calls, connects) = bad.counts();
        println!(
            "{:34} {cpu:7.2} {rss:7.1} {p50:8.2} {p99:8.2} {lost:6} {calls:7} {connects:8}",
            attack.name
        );
    }
    runtime.shutdown_background();
}
