//! `meshless compare`: plans a run, makes it, writes the report.
//!
//! This process only conducts. Calls are made and answered by its children; of the path between
//! them it holds the virtual address and the DNS server.

pub(crate) mod fleet;
mod plan;
mod request;
pub(crate) mod rig;

use std::time::{Instant, SystemTime};

use crate::experiment;
use crate::interrupt::Interrupt;
use crate::machine::{self, MachineWatch};
use crate::network::{Network, NetworkError};
use crate::progress::Progress;
use crate::report::{self, ReportError};
use crate::results::Results;

pub(crate) use plan::Plan;
use plan::PlanError;
#[cfg(feature = "kubernetes")]
pub(crate) use request::random_seed;
pub use request::{CompareRequest, ExperimentName, UnknownExperiment};
use rig::RigError;

/// A run could not be made, or not be finished.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// There is no such network here.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// It was not begun.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// Its report cannot be written, known before it began or after it ended.
    #[error(transparent)]
    Report(#[from] ReportError),
    /// It broke.
    #[error("{0}; the report holds what was measured before")]
    Rig(#[from] RigError),
}

/// Makes the run and writes its report. False means that it was interrupted.
///
/// # Errors
/// If it could not be made or finished; what was measured until then is in the report.
pub async fn run(request: CompareRequest, mut interrupt: Interrupt) -> Result<bool, CompareError> {
    let network = Network::set_up(request.network).await?;
    let mut plan = Plan::new(&request, network)?;
    report::check_writable(&request.out)?;
    if let Some(busy) = machine::busy_fraction().await.filter(|busy| *busy > BUSY_MAX) {
        plan.notes.push(format!(
            "Other work used {:.0} % of the processors just before the run: calls that missed their deadline may \
             have missed it for that reason; run it again on a quiet machine.",
            busy * 100.0
        ));
    }
    if !request.json {
        eprintln!("seed {}; Ctrl-C ends the run early and keeps what was measured", plan.seed);
        plan.notes.iter().for_each(|note| eprintln!("note: {note}"));
    }
    let mut results = empty_results(&plan, &request);
    let watch = MachineWatch::start();
    let begun = Instant::now();
    let progress = Progress::new(plan.steps(), request.json);
    let ended = experiments(&plan, &progress, &mut interrupt, &mut results).await;
    progress.finish();

    results.took_s = begun.elapsed().as_secs_f64();
    results.machine = watch.finish(plan.file_descriptors);
    results.complete = ended.is_ok() && !interrupt.is_heard();
    match &ended {
        Err(error) => results.notes.push(format!("The run broke off: {error}.")),
        Ok(()) if interrupt.is_heard() => {
            results.notes.push("The run was interrupted; what is here was measured before.".into());
        }
        Ok(()) => {}
    }
    report::publish(&results, &request.out, request.json)?;
    ended?;
    Ok(results.complete)
}

async fn experiments(
    plan: &Plan,
    progress: &Progress,
    interrupt: &mut Interrupt,
    results: &mut Results,
) -> Result<(), RigError> {
    for experiment in experiment::ALL {
        if !interrupt.is_heard() {
            experiment.run(plan, progress, interrupt, results).await?;
        }
    }
    Ok(())
}

fn empty_results(plan: &Plan, request: &CompareRequest) -> Results {
    let mut versions = machine::versions();
    if let Some(proxy) = &plan.proxy {
        versions.insert(proxy.name().into(), proxy.version().into());
    }
    Results {
        schema_version: 2,
        command: request.command(plan.seed),
        seed: plan.seed.into(),
        started_at: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        took_s: 0.0,
        complete: false,
        versions,
        network: plan.network.name().into(),
        machine: MachineWatch::start().finish(plan.file_descriptors),
        settings: plan.settings(),
        burst: Vec::new(),
        spread: Vec::new(),
        churn: Vec::new(),
        events: Vec::new(),
        levelling: Vec::new(),
        bounce: Vec::new(),
        notes: plan.notes.clone(),
    }
}

/// What is said when a signal ends a run early.
pub const INTERRUPTED: &str = "ending the run early; the report will hold what was measured until now (a second signal ends it at once)";

/// A machine that is busier than this before the run cannot show how many calls a strategy bears.
const BUSY_MAX: f64 = 0.1;
