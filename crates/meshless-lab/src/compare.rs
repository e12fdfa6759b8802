//! `meshless compare`: plans a run, makes it, writes the report.
//!
//! This process only conducts. Calls are made and answered by its children, or by pods of a
//! cluster; of the path between them it holds the virtual address and the DNS server.

use std::time::{Duration, Instant, SystemTime};

use crate::experiment::{self, Planned, Run, churn, spread};
#[cfg(feature = "kubernetes")]
use crate::fleet::Kubernetes;
use crate::fleet::{Fleet, Local, Site};
use crate::interrupt::Interrupt;
use crate::machine::{self, MachineWatch};
use crate::network::{Network, NetworkError};
use crate::progress::Progress;
use crate::report::{self, ReportError};
use crate::results::{Results, Settings};
use crate::seed;

pub use crate::experiment::UnknownExperiment;
#[cfg(feature = "kubernetes")]
pub use crate::fleet::ClusterError;
pub use crate::fleet::FleetError;
#[cfg(feature = "kubernetes")]
pub use crate::request::ClusterRequest;
pub use crate::request::{CompareRequest, ExperimentName, Place, PlanError};

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
    /// It broke on this machine.
    #[error("{0}; the report holds what was measured before")]
    Broke(FleetError),
    /// It could not be begun or be finished on a cluster.
    #[cfg(feature = "kubernetes")]
    #[error(transparent)]
    Cluster(#[from] ClusterError),
}

/// Makes the run and writes its report. False means that it was interrupted. Nothing is left on a
/// cluster.
///
/// # Errors
/// If it could not be made or finished; what was measured until then is in the report.
pub async fn run(request: CompareRequest, mut interrupt: Interrupt) -> Result<bool, CompareError> {
    request.check_events()?;
    let seed = request.seed.unwrap_or_else(seed::random);
    let site = match &request.place {
        // First of all: it may replace this process.
        Place::Here(kind) => Site::Here(Local::new(&request, Network::set_up(*kind).await?, seed)?),
        #[cfg(feature = "kubernetes")]
        Place::Cluster(_) => Site::Cluster,
    };
    let mut notes = Vec::new();
    let planned = experiment::plan(&request, &site, &mut notes)?;
    report::check_writable(&request.out)?;
    let mut results = empty_results(&request, &site, seed);
    let fleet: Box<dyn Fleet> = match (site, &request.place) {
        (Site::Here(local), _) => {
            notes.extend(local.notes().await);
            Box::new(local)
        }
        #[cfg(feature = "kubernetes")]
        (Site::Cluster, Place::Cluster(cluster)) => {
            notes.insert(0, Kubernetes::NO_LEDGER.into());
            tokio::select! {
                reached = Kubernetes::reach(cluster, seed) => Box::new(reached?),
                // Nothing is applied yet.
                () = interrupt.wait() => return Ok(false),
            }
        }
        #[cfg(feature = "kubernetes")]
        (Site::Cluster, Place::Here(_)) => return Err(PlanError::NothingOnCluster.into()),
    };
    if !request.json {
        eprintln!("{}", fleet.introduction());
        notes.iter().for_each(|note| eprintln!("note: {note}"));
    }
    results.notes = notes;
    make(&request, &planned, fleet, &mut interrupt, results).await
}

/// Makes what is planned, and writes the report.
async fn make(
    request: &CompareRequest,
    planned: &[Box<dyn Planned>],
    mut fleet: Box<dyn Fleet>,
    interrupt: &mut Interrupt,
    mut results: Results,
) -> Result<bool, CompareError> {
    let notes_of_the_plan = results.notes.len();
    let (watch, begun) = (MachineWatch::start(), Instant::now());
    let steps = planned.iter().map(|planned| planned.steps()).sum();
    let progress = Progress::new(steps, request.json);
    let progress = if request.is_for_cluster() { progress.for_logs() } else { progress };
    let mut ended = Ok(());
    for planned in planned {
        if ended.is_ok() && !interrupt.is_heard() {
            let mut run = Run { progress: &progress, interrupt, results: &mut results };
            ended = planned.run(&mut *fleet, &mut run).await;
        }
    }
    let cleared = fleet.clear(&progress).await;
    progress.finish();

    results.took_s = begun.elapsed().as_secs_f64();
    results.machine = watch.finish(results.machine.file_descriptors);
    results.complete = ended.is_ok() && !interrupt.is_heard();
    fleet.annotate(&mut results);
    // A cluster that broke before it measured anything leaves no report.
    let measured =
        results.notes.len() > notes_of_the_plan || !(results.spread.is_empty() && results.churn.is_empty());
    match &ended {
        Err(error) => results.notes.push(format!("The run broke off: {error}.")),
        Ok(()) if interrupt.is_heard() => {
            results.notes.push("The run was interrupted; what is here was measured before.".into());
        }
        Ok(()) => {}
    }
    if measured || !request.is_for_cluster() {
        report::publish(&results, &request.out, request.json)?;
    }
    ended.and(cleared).map_err(CompareError::of)?;
    Ok(results.complete)
}

impl CompareError {
    fn of(error: FleetError) -> Self {
        match error {
            #[cfg(feature = "kubernetes")]
            FleetError::Cluster(error) => Self::Cluster(error),
            error => Self::Broke(error),
        }
    }
}

fn empty_results(request: &CompareRequest, site: &Site, seed: u32) -> Results {
    let local = site.local();
    let file_descriptors = local.map_or(0, |local| local.limits.file_descriptors);
    Results {
        schema_version: 2,
        command: request.command(seed),
        seed: seed.into(),
        started_at: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        took_s: 0.0,
        complete: false,
        versions: machine::versions(),
        network: local.map_or("kubernetes", |local| local.network.name()).into(),
        machine: MachineWatch::start().finish(file_descriptors),
        settings: settings(request),
        burst: Vec::new(),
        spread: Vec::new(),
        churn: Vec::new(),
        events: Vec::new(),
        levelling: Vec::new(),
        bounce: Vec::new(),
        notes: Vec::new(),
    }
}

/// The request as the results tell it.
fn settings(request: &CompareRequest) -> Settings {
    let milliseconds = |duration: Duration| duration.as_secs_f64() * 1e3;
    Settings {
        service_time_ms: milliseconds(request.service_time),
        deadline_ms: milliseconds(request.deadline),
        rounds: if request.is_for_cluster() { 0 } else { request.rounds },
        backends: request.backends.into(),
        rate: request.rate,
        seconds: spread::plan::length(request).as_secs_f64(),
        max_connection_age_ms: milliseconds(request.max_connection_age),
        max_connection_age_grace_ms: milliseconds(request.max_connection_age_grace),
        churn: churn::plan::settings(request),
    }
}

/// What is said when a signal ends a run of this kind early.
pub fn interrupted(place: &Place) -> &'static str {
    match place {
        Place::Here(_) => {
            "ending the run early; the report will hold what was measured until now (a second signal ends it at once)"
        }
        #[cfg(feature = "kubernetes")]
        Place::Cluster(_) => {
            "ending the run early: reading what was measured until now, then deleting what was applied (a second signal \
             ends this program at once; `kubectl delete all,serviceaccount,role,rolebinding -l app.kubernetes.io/managed-by=meshless-lab` \
             in its namespace deletes the rest)"
        }
    }
}
