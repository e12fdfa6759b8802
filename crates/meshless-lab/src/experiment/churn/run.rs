//! The churn: steady load while things break, and what each client makes of it. Event by event, all
//! strategies at the same time.

use super::plan::ChurnPlan;
use super::rows::row_of_calls;
use crate::event::Happened;
use crate::experiment::Run;
use crate::fleet::{Calls, Fleet, FleetError, Happening, Measurement};
use crate::results::ChurnRow;

/// Makes the events of the plan and adds a row for each strategy. An event that is interrupted
/// gives none.
///
/// # Errors
/// If a process dies that was not to. Rows that were finished by then are there.
pub(super) async fn run(
    plan: &ChurnPlan,
    fleet: &mut dyn Fleet,
    run: &mut Run<'_>,
) -> Result<(), FleetError> {
    for (load, happening) in &plan.events {
        let (event, strategies) = (happening.event, load.strategies.len());
        run.progress.show(format!("churn · {event} · {strategies} strategies at once"));
        let ended = tokio::select! {
            ended = fleet.at_once(load, happening, run.progress) => ended.map(Some),
            () = run.interrupt.wait() => Ok(None),
        };
        if let Ok(Some(all)) = ended {
            let rows = all.into_iter().map(|(seen, happened)| churn_row(happening, seen, &happened));
            run.results.churn.extend(rows);
            run.results.events.push(fleet.event_note(happening));
            continue;
        }
        run.results.notes.extend(fleet.recall(run.progress).await.into_iter().map(|part| part.note));
        return ended.map(|_| ());
    }
    Ok(())
}

/// The row of one strategy in one event, by what its calls are known by.
fn churn_row(happening: &Happening, measurement: Measurement, happened: &Happened) -> ChurnRow {
    match measurement.calls {
        Calls::Each(round) => row_of_calls(happening, measurement.strategy, round, happened),
        #[cfg(feature = "kubernetes")]
        Calls::Binned(ref measured) => super::binned::churn_row(happening, &measurement, measured, happened),
    }
}
