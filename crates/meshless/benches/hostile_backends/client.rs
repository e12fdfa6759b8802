//! The client under attack, a process of its own: paced unary calls with a deadline, for some
//! seconds.

use std::time::Duration;

use tokio::time::Instant;
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

/// Asks this program to be the client, and says which backends it has.
pub(super) const CLIENT: &str = "HOSTILE_BACKENDS_CLIENT";

/// Prints what the calls cost.
pub(super) fn run(target: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime can be built").block_on(async {
        let channel = meshless::Channel::builder(target).timeout(DEADLINE).connect_lazy().expect("a target");
        let client = HealthClient::new(channel);
        let (mut latencies, mut lost, mut rss) = (Vec::new(), 0, 0.0f64);
        let start = Instant::now();
        let mut calls = tokio::task::JoinSet::new();
        for number in 0..CALLS {
            tokio::time::sleep_until(start + PERIOD * number).await;
            let mut client = client.clone();
            calls.spawn(async move {
                let begun = Instant::now();
                client.check(HealthCheckRequest::default()).await.map(|_| begun.elapsed())
            });
            if number % 30 == 0 {
                rss = rss.max(resident());
            }
        }
        for result in calls.join_all().await {
            match result {
                Ok(latency) => latencies.push(latency),
                Err(_) => lost += 1,
            }
        }
        latencies.sort();
        let quantile = |share: f64| {
            let last = latencies.len().saturating_sub(1);
            latencies.get((last as f64 * share) as usize).map_or(0.0, |latency| latency.as_secs_f64() * 1e3)
        };
        let rss = rss.max(resident());
        println!("{} {rss} {} {} {lost}", processor_seconds(), quantile(0.5), quantile(0.99));
    });
}

/// Megabytes of this process in memory.
fn resident() -> f64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("Linux");
    let pages: f64 = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).expect("a number");
    pages * 4096.0 / 1e6
}

/// Of this process, the kernel's part among it.
fn processor_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
    // utime and stime, the 14th and 15th, in hundredths of a second.
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// 300 calls a second for 4 s.
const CALLS: u32 = 1200;
const PERIOD: Duration = Duration::from_nanos(3_333_333);
const DEADLINE: Duration = Duration::from_secs(1);
