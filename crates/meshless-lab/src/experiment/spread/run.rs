//! The spread: open-loop load on several backends, and who gets how much of it.

use std::time::Duration;

use super::rows::{SpreadSettings, spread_row};
use crate::compare::Plan;
use crate::compare::rig::{Rig, RigError, backend_name};
use crate::interrupt::Interrupt;
use crate::pacer::Pacing;
use crate::progress::Progress;
use crate::results::SpreadRow;
use crate::strategy::Strategy;

/// Measures the strategies of the plan and adds a row for each. One that is interrupted half-way
/// gives none: its share of a shorter time would not compare with the others.
///
/// # Errors
/// If a process dies. Rows that were finished by then are there.
pub(crate) async fn run(
    plan: &Plan,
    progress: &Progress,
    interrupt: &mut Interrupt,
    rows: &mut Vec<SpreadRow>,
) -> Result<(), RigError> {
    for strategy in &plan.spreads {
        tokio::select! {
            row = measure(plan, *strategy, progress) => rows.push(row?),
            () = interrupt.wait() => break,
        }
    }
    Ok(())
}

async fn measure(plan: &Plan, strategy: Strategy, progress: &Progress) -> Result<SpreadRow, RigError> {
    progress.show(format!("spread · {strategy} · {} calls/s for {} s", plan.rate, plan.seconds));
    let length = Duration::from_secs(plan.seconds.into());
    // The same arrivals for every strategy.
    let pacing = Pacing::Poisson { rate: plan.rate, length, seed: plan.seed.into() };
    let mut rig = Rig::start(plan, strategy, &plan.addresses, false).await?;
    let mut shown = 0;
    let round = rig.round(pacing, |ended| {
        let seconds = ((ended as f64 / plan.rate) as u64).min(plan.seconds.into());
        progress.advance(seconds.saturating_sub(shown));
        shown = shown.max(seconds);
    });
    let round = round.await?;
    progress.advance(u64::from(plan.seconds).saturating_sub(shown));
    let settings = SpreadSettings {
        backends: (0..plan.addresses.len()).map(backend_name).collect(),
        length,
        // Half an age each way: then the slices of one rotation do not hold its neighbours.
        around: (plan.max_age / 2).clamp(AROUND_MIN, AROUND_MAX),
    };
    Ok(spread_row(strategy, &settings, round))
}

/// Shorter than this there are too few calls in a slice.
const AROUND_MIN: Duration = Duration::from_millis(250);

/// Nothing that a rotation does lasts longer than this.
const AROUND_MAX: Duration = Duration::from_secs(2);
