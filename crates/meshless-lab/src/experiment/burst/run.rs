//! The burst: N calls at once on one server, as in the experiment that started this project.

use super::plan::BurstPlan;
use super::rows::burst_row;
use crate::experiment::Run;
use crate::fleet::FleetError;
use crate::fleet::local::rig::{Rig, Setup};
use crate::pacer::Pacing;
use crate::progress::Progress;
use crate::stats::Round;
use crate::strategy::Strategy;

/// Measures the bursts of the plan, and adds a row for each of which at least one round was made.
///
/// # Errors
/// If a process dies. Rows that were finished by then are there.
pub(super) async fn run(plan: &BurstPlan, run: &mut Run<'_>) -> Result<(), FleetError> {
    for (strategy, calls) in &plan.bursts {
        let mut rounds = Vec::new();
        let ended = tokio::select! {
            ended = measure(plan, *strategy, *calls, run.progress, &mut rounds) => ended,
            () = run.interrupt.wait() => Ok(()),
        };
        if !rounds.is_empty() {
            run.results.burst.push(burst_row(*strategy, *calls, &rounds));
        }
        ended?;
        if run.interrupt.is_heard() {
            break;
        }
    }
    Ok(())
}

async fn measure(
    plan: &BurstPlan,
    strategy: Strategy,
    calls: u64,
    progress: &Progress,
    rounds: &mut Vec<Round>,
) -> Result<(), FleetError> {
    let setup = Setup::new(&plan.conditions, strategy, &[plan.local.network.one_address()]);
    let mut rig = Rig::set_up(&plan.local, &setup, true).await?;
    for round in 1..=plan.rounds {
        progress.show(format!("burst · {strategy} · {calls} calls · round {round} of {}", plan.rounds));
        rounds.push(rig.round(Pacing::Burst { calls }, |_| {}).await?);
        progress.advance(1);
    }
    Ok(())
}
