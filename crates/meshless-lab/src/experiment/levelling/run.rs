//! The levelling: many clients that keep one connection each, on servers that age connections, with
//! levelled ages and without.
//!
//! Clients come back through the virtual address, which picks a server at random, as a ClusterIP
//! does: how many connections a server has is then a matter of luck, and what levelling does about
//! it is what is measured. All variants of a strategy run at the same time: the load only shows
//! clients that their connection is gone.

use std::time::Duration;

use super::plan::{LevellingPlan, SERVERS};
use super::rows::{LevellingSettings, levelling_row};
use crate::experiment::Run;
use crate::fleet::FleetError;
use crate::fleet::local::rig::{Rig, Setup};
use crate::fleet::local::{backend_name, duration_argument};
use crate::pacer::Pacing;
use crate::results::LevellingRow;
use crate::strategy::{Entrance, Strategy};

/// Measures the strategies of the plan, each without levelling and with it. One that is interrupted
/// gives no row.
///
/// # Errors
/// If a process dies. Rows that were finished by then are there.
pub(super) async fn run(plan: &LevellingPlan, run: &mut Run<'_>) -> Result<(), FleetError> {
    for strategy in &plan.rows {
        run.progress.show(format!("levelling · {strategy} · {CLIENTS} clients on {SERVERS} servers"));
        tokio::select! {
            both = async { tokio::try_join!(measure(plan, *strategy, 0), measure(plan, *strategy, EXPONENT)) } => {
                let (without, with) = both?;
                run.results.levelling.extend([without, with]);
            }
            () = run.interrupt.wait() => break,
        }
        run.progress.advance(plan.length.as_secs());
    }
    Ok(())
}

async fn measure(
    plan: &LevellingPlan,
    strategy: Strategy,
    exponent: u32,
) -> Result<LevellingRow, FleetError> {
    let mut rig = Rig::set_up(&plan.local, &setup(plan, strategy, exponent), false).await?;
    let seed = u64::from(plan.local.seed);
    let pacing = Pacing::Poisson { rate: RATE * CLIENTS as f64, length: plan.length, seed };
    let round = rig.sampled_round(pacing, SAMPLE_PERIOD).await?;
    let settings = LevellingSettings {
        backends: (0..SERVERS).map(backend_name).collect(),
        clients: CLIENTS,
        exponent,
        age: AGE,
        warm_up: plan.warm_up,
    };
    Ok(levelling_row(strategy, &settings, round))
}

fn setup(plan: &LevellingPlan, strategy: Strategy, exponent: u32) -> Setup {
    let mut server_arguments = vec!["--service-time".to_owned(), "1ms".into()];
    server_arguments.extend(["--max-connection-age".into(), duration_argument(AGE)]);
    server_arguments.extend(["--max-connection-age-grace".into(), duration_argument(AGE)]);
    if exponent > 0 {
        server_arguments.extend(["--level-connections".into(), exponent.to_string()]);
    }
    Setup {
        strategy,
        entrance: Entrance::VirtualAddress,
        addresses: plan.local.addresses(SERVERS),
        clients: CLIENTS,
        deadline: DEADLINE,
        server_arguments,
    }
}

/// Many enough that the closed form, which is one of large numbers, applies; few enough that nobody
/// is surprised to be hit.
const CLIENTS: usize = 60;

/// So short that a run of half a minute sees dozens of them.
const AGE: Duration = Duration::from_millis(500);

/// The exponent that the server's documentation recommends.
const EXPONENT: u32 = 3;

/// Calls per second of a client, which comes back with its next call only.
const RATE: f64 = 20.0;

/// Calls are not what is measured: only one that is lost fails.
const DEADLINE: Duration = Duration::from_secs(2);

/// A sixteenth of an age, in which numbers change little.
const SAMPLE_PERIOD: Duration = Duration::from_millis(30);
