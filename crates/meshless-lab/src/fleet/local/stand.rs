//! The processes of one strategy while something happens to its servers.
//!
//! All strategies at the same time, each with servers and a client of its own: so what one client
//! does to its servers, such as sending calls again, is not felt by another. The load is light, so
//! that they do not disturb each other, and an event takes no longer for six strategies than for
//! one.

use std::path::Path;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::backends::Backends;
use super::client;
use super::machine::Local;
use super::server::backend_name;
use crate::clock;
use crate::event::{BACKENDS, Event, FLEET, Happened};
use crate::fleet::error::FleetError;
use crate::fleet::load::{Happening, Load};
use crate::fleet::measurement::{Calls, Measurement};
use crate::process::Process;
use crate::stats::Round;
use crate::strategy::Strategy;

/// One strategy: its servers and its client.
struct Stand {
    strategy: Strategy,
    backends: Backends,
    client: Process,
}

/// Makes the load of all strategies while the event happens, and returns what became of each, in
/// their order.
///
/// # Errors
/// If a process dies that was not to.
pub(super) async fn all_at_once(
    local: &Local,
    load: &Load,
    happening: &Happening,
) -> Result<Vec<(Measurement, Happened)>, FleetError> {
    let folder = tempfile::tempdir()?;
    // All are up and warm before any load begins: to start processes takes processors.
    let mut starting = JoinSet::new();
    for (place, strategy) in load.strategies.iter().copied().enumerate() {
        let journals = folder.path().join(place.to_string());
        std::fs::create_dir(&journals)?;
        let (local, load, event) = (local.clone(), load.clone(), happening.event);
        starting.spawn(async move {
            Ok::<_, FleetError>((place, Stand::start(&local, &load, strategy, event, &journals).await?))
        });
    }
    let mut running = JoinSet::new();
    for (place, mut stand) in all(starting).await? {
        let (rate, happening, seed) = (load.rate, *happening, local.seed.into());
        running.spawn(async move { Ok::<_, FleetError>((place, stand.make(rate, &happening, seed).await?)) });
    }
    let mut made = all(running).await?;
    made.sort_unstable_by_key(|(place, _)| *place);
    Ok(made.into_iter().map(|(_, made)| made).collect())
}

async fn all<T: 'static>(mut tasks: JoinSet<Result<T, FleetError>>) -> Result<Vec<T>, FleetError> {
    let mut done = Vec::with_capacity(tasks.len());
    while let Some(ended) = tasks.join_next().await {
        done.push(ended.expect("a stand does not panic")?);
    }
    Ok(done)
}

impl Stand {
    async fn start(
        local: &Local,
        load: &Load,
        strategy: Strategy,
        event: Event,
        journals: &Path,
    ) -> Result<Self, FleetError> {
        let backends = Backends::start(local, &load.conditions, strategy, event, journals).await?;
        let mut client = client::start(local, backends.target(strategy, load.conditions.deadline)).await?;
        if strategy.keeps_connection() {
            client::warm_up(&mut client).await?;
        }
        Ok(Self { strategy, backends, client })
    }

    async fn make(
        &mut self,
        rate: f64,
        happening: &Happening,
        seed: u64,
    ) -> Result<(Measurement, Happened), FleetError> {
        let event = happening.event;
        let pacing = event.pacing(rate, happening.before, happening.watched, seed);
        let calls = client::run(&mut self.client, pacing, FIRST_ID, |_| {});
        let (called, happened) = tokio::join!(calls, happen(&mut self.backends, happening));
        let ((calls, totals), (hurt, marks)) = (called?, happened?);
        // The last handlers may still be at work for a caller who gave up; they had begun long
        // before, so nothing is missed.
        let executed = self.backends.executed()?;
        let since_start = |at: u64| Duration::from_nanos(at.saturating_sub(totals.start_ns));
        let happened = Happened {
            marks: marks.into_iter().map(|(name, at)| (name, since_start(at))).collect(),
            concerned: concerned(event, hurt),
            convergence: event.convergence(),
        };
        let measurement = Measurement {
            strategy: self.strategy,
            backends: (0..BACKENDS).map(backend_name).collect(),
            clients: 1,
            calls: Calls::Each(Round { calls, totals, executed, ..Round::default() }),
        };
        Ok((measurement, happened))
    }
}

/// Lets the event happen, and returns which server was hurt and when what was marked, in
/// nanoseconds of the common clock.
async fn happen(
    backends: &mut Backends,
    happening: &Happening,
) -> Result<(usize, Vec<(&'static str, u64)>), FleetError> {
    let begin = Instant::now() + happening.before;
    sleep_until(begin - happening.before / 4).await;
    let earlier = backends.executions();
    sleep_until(begin).await;
    let hurt = busiest(&earlier, &backends.executions());
    let mut marks = Vec::new();
    for step in happening.event.script(happening.watch, hurt) {
        sleep_until(begin + step.at).await;
        if let Some(mark) = step.mark {
            marks.push((mark, clock::now_ns()));
        }
        backends.obey(&step.action).await?;
    }
    Ok((hurt, marks))
}

/// The server that got most calls just now: to hurt one that a client on a single connection does
/// not use would show nothing.
fn busiest(earlier: &[u64], now: &[u64]) -> usize {
    let grown = |index: &usize| now[*index].saturating_sub(earlier[*index]);
    (0..BACKENDS).max_by_key(grown).unwrap_or(0)
}

/// Names of the servers that an event is about.
fn concerned(event: Event, hurt: usize) -> Vec<String> {
    match event {
        Event::Scale | Event::Rolling | Event::QuickRollout => (BACKENDS..FLEET).map(backend_name).collect(),
        _ => vec![backend_name(hurt)],
    }
}

/// Ids need only differ within the calls on the same servers.
const FIRST_ID: u64 = 1;
