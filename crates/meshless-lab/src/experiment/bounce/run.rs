//! The bounce: load near the capacity of the servers, which queue what they cannot work on, or
//! refuse it so that the client tries another.
//!
//! Many clients, none of which sees much of the load, and service times that scatter: where every
//! policy of a client is half blind, and queues grow at one server while another is idle.

use std::time::Duration;

use super::plan::{BouncePlan, SERVERS};
use super::rows::{BounceSettings, bounce_row};
use crate::experiment::Run;
use crate::fleet::FleetError;
use crate::fleet::local::duration_argument;
use crate::fleet::local::rig::{Rig, Setup};
use crate::pacer::Pacing;
use crate::results::BounceRow;
use crate::strategy::{Entrance, Strategy};

/// Measures the strategies of the plan, on servers that queue and on servers that bounce. One that
/// is interrupted gives no row.
///
/// # Errors
/// If a process dies. Rows that were finished by then are there.
pub(super) async fn run(plan: &BouncePlan, run: &mut Run<'_>) -> Result<(), FleetError> {
    for (strategy, bounces) in &plan.rows {
        let servers = if *bounces { "bounce" } else { "queue" };
        run.progress.show(format!("bounce · {strategy} · servers that {servers} · {LOAD} of their capacity"));
        tokio::select! {
            row = measure(plan, *strategy, *bounces) => run.results.bounce.push(row?),
            () = run.interrupt.wait() => break,
        }
        run.progress.advance(plan.length.as_secs());
    }
    Ok(())
}

async fn measure(plan: &BouncePlan, strategy: Strategy, bounces: bool) -> Result<BounceRow, FleetError> {
    let settings = BounceSettings {
        bounces,
        backends: SERVERS,
        workers: WORKERS,
        clients: CLIENTS,
        service_time: SERVICE_TIME,
        length: plan.length,
        warm_up: plan.warm_up,
    };
    let mut rig = Rig::set_up(&plan.local, &setup(plan, strategy, bounces), false).await?;
    let rate = LOAD * (SERVERS * WORKERS) as f64 / SERVICE_TIME.as_secs_f64();
    // The same arrivals, and at each server the same service times, for every row.
    let pacing = Pacing::Poisson { rate, length: settings.length, seed: plan.local.seed.into() };
    let round = rig.round(pacing, |_| {}).await?;
    Ok(bounce_row(strategy, &settings, round))
}

fn setup(plan: &BouncePlan, strategy: Strategy, bounces: bool) -> Setup {
    let mut server_arguments = vec!["--service-time".to_owned(), duration_argument(SERVICE_TIME)];
    server_arguments.extend(["--exponential".into(), "--queue".into(), QUEUE.to_string()]);
    server_arguments.extend(["--max-concurrent-calls".into(), WORKERS.to_string()]);
    if bounces {
        server_arguments.push("--bounce".into());
    }
    Setup {
        strategy,
        entrance: Entrance::Name,
        addresses: plan.local.addresses(SERVERS),
        clients: CLIENTS,
        deadline: DEADLINE,
        server_arguments,
    }
}

/// Workers of each server, and clients: enough that nobody sees much of the whole.
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
