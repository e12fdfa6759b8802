//! The churn: steady load while things break, and what each client makes of it.
//!
//! Event by event, all strategies at the same time, each with a client and backends of its own: the
//! load is light, so that they do not disturb each other, and an event takes no longer for six
//! strategies than for one.

use std::path::Path;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::rows::{ChurnRun, churn_row};
use crate::clock;
use crate::compare::Plan;
use crate::compare::fleet::Fleet;
use crate::compare::rig::{RigError, backend_name, run_client, start_client, warm_up};
use crate::event::{BACKENDS, Event, FLEET, before};
use crate::interrupt::Interrupt;
use crate::process::Process;
use crate::progress::Progress;
use crate::results::{ChurnRow, EventNote, Results};
use crate::stats::Round;
use crate::strategy::Strategy;

/// Makes the events of the plan and adds a row for each strategy. An event that is interrupted
/// gives none.
///
/// # Errors
/// If a process dies that was not to. Rows that were finished by then are there.
pub(crate) async fn run(
    plan: &Plan,
    progress: &Progress,
    interrupt: &mut Interrupt,
    results: &mut Results,
) -> Result<(), RigError> {
    let events = if plan.churns.is_empty() { &[] } else { plan.events.as_slice() };
    for event in events {
        progress.show(format!("churn · {event} · {} strategies at once", plan.churns.len()));
        tokio::select! {
            rows = make(plan, *event) => {
                results.churn.extend(rows?);
                results.events.push(note(*event, plan.churn_watch));
            }
            () = interrupt.wait() => break,
        }
        progress.advance(event.watched(plan.churn_watch).as_secs() + 1);
    }
    results.notes.extend(lateness(&results.churn));
    Ok(())
}

/// What a reader must know where the machine had no time for the experiment.
fn lateness(rows: &[ChurnRow]) -> Option<String> {
    let late: Vec<_> = rows.iter().filter(|row| row.start_lag_ms_p99 > LATE_MS).collect();
    let worst = late.iter().map(|row| row.start_lag_ms_p99).fold(0.0, f64::max);
    (!late.is_empty()).then(|| {
        format!(
            "In {} of {} rows of the churn the clients began calls up to {worst:.0} ms late: this machine was too busy, and \
             calls may have failed for that reason alone.",
            late.len(),
            rows.len()
        )
    })
}

/// One event, for all strategies, in their order.
async fn make(plan: &Plan, event: Event) -> Result<Vec<ChurnRow>, RigError> {
    let folder = tempfile::tempdir()?;
    // All are up and warm before any load begins: to start processes takes processors.
    let mut starting = JoinSet::new();
    for (place, strategy) in plan.churns.iter().copied().enumerate() {
        let journals = folder.path().join(place.to_string());
        std::fs::create_dir(&journals)?;
        let plan = plan.clone();
        starting.spawn(async move {
            Ok::<_, RigError>((place, Stand::start(&plan, strategy, event, &journals).await?))
        });
    }
    let mut running = JoinSet::new();
    for (place, mut stand) in all(starting).await? {
        let plan = plan.clone();
        running.spawn(async move { Ok::<_, RigError>((place, stand.make(&plan, event).await?)) });
    }
    let mut rows = all(running).await?;
    rows.sort_unstable_by_key(|(place, _)| *place);
    Ok(rows.into_iter().map(|(_, row)| row).collect())
}

async fn all<T: 'static>(mut tasks: JoinSet<Result<T, RigError>>) -> Result<Vec<T>, RigError> {
    let mut done = Vec::with_capacity(tasks.len());
    while let Some(ended) = tasks.join_next().await {
        done.push(ended.expect("a stand does not panic")?);
    }
    Ok(done)
}

/// One strategy: its fleet and its client.
struct Stand {
    strategy: Strategy,
    fleet: Fleet,
    client: Process,
}

impl Stand {
    async fn start(plan: &Plan, strategy: Strategy, event: Event, journals: &Path) -> Result<Self, RigError> {
        let fleet = Fleet::start(plan, strategy, event, journals).await?;
        let mut client = start_client(plan, fleet.target(plan, strategy)).await?;
        if strategy.keeps_connection() {
            warm_up(&mut client).await?;
        }
        Ok(Self { strategy, fleet, client })
    }

    async fn make(&mut self, plan: &Plan, event: Event) -> Result<ChurnRow, RigError> {
        let pacing = event.pacing(plan.churn_rate, plan.churn_watch, plan.seed.into());
        let calls = run_client(&mut self.client, pacing, FIRST_ID, |_| {});
        let (called, happened) = tokio::join!(calls, happen(&mut self.fleet, event, plan.churn_watch));
        let ((calls, totals), (hurt, marks)) = (called?, happened?);
        // The last handlers may still be at work for a caller who gave up; they had begun long
        // before, so nothing is missed.
        let executed = self.fleet.executed()?;
        let run = ChurnRun {
            round: Round { calls, totals, executed, ..Round::default() },
            marks,
            backends: (0..FLEET).map(backend_name).collect(),
            hurt,
        };
        let watch = plan.churn_watch;
        Ok(churn_row(self.strategy, event, before(watch), event.watched(watch), run))
    }
}

/// Lets the event happen to a fleet, and returns who was hurt and when what was marked.
async fn happen(
    fleet: &mut Fleet,
    event: Event,
    watch: Duration,
) -> Result<(usize, Vec<(&'static str, u64)>), RigError> {
    let begin = Instant::now() + before(watch);
    sleep_until(begin - before(watch) / 4).await;
    let earlier = fleet.executions();
    sleep_until(begin).await;
    let hurt = busiest(&earlier, &fleet.executions());
    let mut marks = Vec::new();
    for step in event.script(watch, hurt) {
        sleep_until(begin + step.at).await;
        if let Some(mark) = step.mark {
            marks.push((mark, clock::now_ns()));
        }
        fleet.obey(&step.action).await?;
    }
    Ok((hurt, marks))
}

/// The backend that got most calls just now: to hurt one that a client on a single connection does
/// not use would show nothing.
fn busiest(earlier: &[u64], now: &[u64]) -> usize {
    let grown = |index: &usize| now[*index].saturating_sub(earlier[*index]);
    (0..BACKENDS).max_by_key(grown).unwrap_or(0)
}

fn note(event: Event, watch: Duration) -> EventNote {
    EventNote {
        event: event.name().into(),
        story: event.story().into(),
        converged_when: event.convergence().definition(),
        watched_ms: event.watched(watch).as_secs_f64() * 1e3,
    }
}

/// Later than this, p99, a client has missed its processor for about as long as a call takes.
const LATE_MS: f64 = 20.0;

/// Ids need only differ within a fleet.
const FIRST_ID: u64 = 1;
