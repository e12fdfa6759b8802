//! The spread: open-loop load on several backends, and who gets how much of it.

use super::plan::SpreadPlan;
use super::rows::row_of_calls;
use crate::experiment::Run;
use crate::fleet::{Calls, Fleet, FleetError, Measurement};
use crate::results::SpreadRow;

/// Measures the strategies of the plan and adds a row for each. One that is interrupted half-way
/// gives none: its share of a shorter time would not compare with the others.
///
/// # Errors
/// If a process dies. Rows that were finished by then are there.
pub(super) async fn run(
    plan: &SpreadPlan,
    fleet: &mut dyn Fleet,
    run: &mut Run<'_>,
) -> Result<(), FleetError> {
    let rows = &mut run.results.spread;
    let mut seen = |measurement| rows.push(spread_row(plan, measurement));
    let ended = tokio::select! {
        ended = fleet.in_turn(&plan.load, run.progress, &mut seen) => ended,
        () = run.interrupt.wait() => Ok(()),
    };
    if ended.is_err() || run.interrupt.is_heard() {
        for part in fleet.recall(run.progress).await {
            match part.is_whole {
                true => run.results.spread.push(spread_row(plan, part.measurement)),
                false => run.results.notes.push(part.note),
            }
        }
    }
    ended
}

/// The row of one strategy, by what its calls are known by.
fn spread_row(plan: &SpreadPlan, measurement: Measurement) -> SpreadRow {
    let length = plan.load.length;
    match measurement.calls {
        Calls::Each(round) => {
            row_of_calls(measurement.strategy, &measurement.backends, length, plan.around, round)
        }
        #[cfg(feature = "kubernetes")]
        Calls::Binned(ref measured) => super::binned::spread_row(length, &measurement, measured),
    }
}
