//! The bounce: load near the capacity of the servers, which queue what they cannot work on, or
//! refuse it so that the client tries another.
//!
//! Many clients, none of which sees much of the load, and service times that scatter: where every
//! policy of a client is half blind, and queues grow at one server while another is idle.

use std::time::Duration;

use super::rows::{BounceSettings, bounce_row};
use crate::compare::Plan;
use crate::compare::rig::{Rig, RigError, Setup, duration_argument};
use crate::interrupt::Interrupt;
use crate::pacer::Pacing;
use crate::progress::Progress;
use crate::results::BounceRow;
use crate::strategy::{Entrance, Strategy};

/// Measures the strategies of the plan, on servers that queue and on servers that bounce. One that
/// is interrupted gives no row.
///
/// # Errors
/// If a process dies. Rows that were finished by then are there.
pub(crate) async fn run(
    plan: &Plan,
    progress: &Progress,
    interrupt: &mut Interrupt,
    rows: &mut Vec<BounceRow>,
) -> Result<(), RigError> {
    for (strategy, bounces) in &plan.bounces {
        let servers = if *bounces { "bounce" } else { "queue" };
        progress.show(format!("bounce · {strategy} · servers that {servers} · {LOAD} of their capacity"));
        tokio::select! {
            row = measure(plan, *strategy, *bounces) => rows.push(row?),
            () = interrupt.wait() => break,
        }
        progress.advance(plan.bounce_length().as_secs());
    }
    Ok(())
}

async fn measure(plan: &Plan, strategy: Strategy, bounces: bool) -> Result<BounceRow, RigError> {
    let settings = BounceSettings {
        bounces,
        backends: SERVERS,
        workers: WORKERS,
        clients: CLIENTS,
        service_time: SERVICE_TIME,
        length: plan.bounce_length(),
        warm_up: WARM_UP.min(plan.servers_watch),
    };
    let mut rig = Rig::set_up(plan, &setup(plan, strategy, bounces), false).await?;
    let rate = LOAD * (SERVERS * WORKERS) as f64 / SERVICE_TIME.as_secs_f64();
    // The same arrivals, and at each server the same service times, for every row.
    let pacing = Pacing::Poisson { rate, length: settings.length, seed: plan.seed.into() };
    let round = rig.round(pacing, |_| {}).await?;
    Ok(bounce_row(strategy, &settings, round))
}

fn setup(plan: &Plan, strategy: Strategy, bounces: bool) -> Setup {
    let mut server_arguments = vec!["--service-time".to_owned(), duration_argument(SERVICE_TIME)];
    server_arguments.extend(["--exponential".into(), "--queue".into(), QUEUE.to_string()]);
    server_arguments.extend(["--max-concurrent-calls".into(), WORKERS.to_string()]);
    if bounces {
        server_arguments.push("--bounce".into());
    }
    Setup {
        strategy,
        entrance: Entrance::Name,
        addresses: plan.network.addresses(SERVERS as u8).unwrap_or_default(),
        clients: CLIENTS,
        deadline: DEADLINE,
        server_arguments,
    }
}

/// Servers, workers of each and clients: enough of each that nobody sees much of the whole.
pub(crate) const SERVERS: usize = 10;
const WORKERS: usize = 4;
const CLIENTS: usize = 100;

/// Work that arrives over what can be done.
const LOAD: f64 = 0.95;

/// Mean of an exponential distribution. Long beside what a call costs this machine, so that servers
/// wait and processors do not.
const SERVICE_TIME: Duration = Duration::from_millis(20);

/// Nothing is shed.
const QUEUE: u32 = 1_000_000;

/// Far above what a call waits for: what fails is lost.
const DEADLINE: Duration = Duration::from_secs(10);

/// One relaxation time of a queue, in which it comes most of the way from empty: for four workers
/// at 0.95 this is 1/(4(1 − √0.95)²) = 390 service times, 7.8 s.
pub(crate) const WARM_UP: Duration = Duration::from_secs(8);
