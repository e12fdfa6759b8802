//! The burst: N calls at once on one server, as in the experiment that started this project.

use super::rows::burst_row;
use crate::compare::Plan;
use crate::compare::rig::{Rig, RigError};
use crate::interrupt::Interrupt;
use crate::pacer::Pacing;
use crate::progress::Progress;
use crate::results::BurstRow;
use crate::stats::Round;
use crate::strategy::Strategy;

/// Measures the bursts of the plan, and adds a row for each of which at least one round was made.
///
/// # Errors
/// If a process dies. Rows that were finished by then are there.
pub(crate) async fn run(
    plan: &Plan,
    progress: &Progress,
    interrupt: &mut Interrupt,
    rows: &mut Vec<BurstRow>,
) -> Result<(), RigError> {
    for (strategy, calls) in &plan.bursts {
        let mut rounds = Vec::new();
        let ended = tokio::select! {
            ended = measure(plan, *strategy, *calls, progress, &mut rounds) => ended,
            () = interrupt.wait() => Ok(()),
        };
        if !rounds.is_empty() {
            rows.push(burst_row(*strategy, *calls, &rounds));
        }
        ended?;
        if interrupt.is_heard() {
            break;
        }
    }
    Ok(())
}

async fn measure(
    plan: &Plan,
    strategy: Strategy,
    calls: u64,
    progress: &Progress,
    rounds: &mut Vec<Round>,
) -> Result<(), RigError> {
    let mut rig = Rig::start(plan, strategy, &[plan.network.one_address()], true).await?;
    for round in 1..=plan.rounds {
        progress.show(format!("burst · {strategy} · {calls} calls · round {round} of {}", plan.rounds));
        rounds.push(rig.round(Pacing::Burst { calls }, |_| {}).await?);
        progress.advance(1);
    }
    Ok(())
}
