//! `compare --kubernetes`: the spread and the churn where the users' traffic runs.
//!
//! This process only conducts, with a namespace admin's rights: it applies servers and Services
//! (`stage`, `objects`), starts the load as an Indexed Job whose pods run `worker`, lets events
//! happen through the API (`event`), reads what each worker measured from its log (`score`), and
//! takes everything away again, whatever happened. Servers in a cluster keep no ledger for us, so
//! what is known of a call is what its caller knows.
//!
//! Workers and conductor lay what they saw on one axis by the time of day. Results are as exact as
//! the clocks of the nodes and of this machine agree: milliseconds where they are disciplined by
//! NTP, as nodes must be.

mod access;
mod error;
mod event;
mod objects;
mod plan;
mod rows;
mod score;
mod stage;
mod worker;

use std::time::{Duration, Instant, SystemTime};

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};

use crate::compare::CompareRequest;
use crate::interrupt::Interrupt;
use crate::machine::{self, MachineWatch};
use crate::progress::Progress;
use crate::report;
use crate::results::Results;

pub use error::ClusterError;
pub use event::ClusterEvent;
use plan::Plan;
use stage::Stage;
pub use worker::{INTERRUPTED as WORKER_INTERRUPTED, work};

/// Spread and churn on which cluster, and where on it.
#[derive(Clone, Debug, Default)]
pub struct ClusterRequest {
    /// What to compare. A cluster has its own network and its own events, and no burst.
    pub compare: CompareRequest,
    /// Events of the churn. None: all.
    pub events: Vec<ClusterEvent>,
    /// Context of the kubeconfig. `None`: its current one; in a pod, the pod's own cluster.
    pub context: Option<String>,
    /// Namespace, which must exist. `None`: the context's.
    pub namespace: Option<String>,
    /// Image of servers and load.
    pub image: String,
    /// Pods that make the load.
    pub workers: u32,
    /// How long pods may take to start, their image's pull included.
    pub start_within: Duration,
    /// True to have the channels read EndpointSlices rather than ask DNS.
    pub endpoint_slices: bool,
}

/// Makes the run on a cluster and writes its report. False means that it was interrupted. Nothing
/// is left on the cluster.
///
/// # Errors
/// If it could not be made or finished; what was measured until then is in the report.
pub async fn run(request: ClusterRequest, mut interrupt: Interrupt) -> Result<bool, ClusterError> {
    let plan = Plan::new(&request)?;
    report::check_writable(&request.compare.out)?;
    let mut results = empty_results(&plan, &request.compare);
    let reached = async {
        let (client, namespace) = connect(&request).await?;
        access::check(&client, &namespace, plan.endpoint_slices).await?;
        Ok::<_, ClusterError>((client, namespace))
    };
    let (client, namespace) = tokio::select! {
        reached = reached => reached?,
        // Nothing is applied yet.
        () = interrupt.wait() => return Ok(false),
    };
    if !request.compare.json {
        eprintln!(
            "seed {}; run {} in namespace {namespace}; Ctrl-C ends it early, keeps what was measured and cleans up",
            plan.seed, plan.run
        );
        plan.notes.iter().for_each(|note| eprintln!("note: {note}"));
    }
    let watch = MachineWatch::start();
    let begun = Instant::now();
    let progress = Progress::new(plan.steps(), request.compare.json).for_logs();
    let mut stage = Stage::new(client, &namespace, &plan);
    let ended = tokio::select! {
        ended = stage.perform(&plan, &progress, &mut results) => ended,
        () = interrupt.wait() => Ok(()),
    };
    if ended.is_err() || interrupt.is_heard() {
        progress.show("reading what the workers have measured until now".into());
        stage.recall(&plan, &mut results).await;
    }
    progress.show("deleting what was applied".into());
    let cleaned = stage.clear().await;
    progress.finish();

    results.took_s = begun.elapsed().as_secs_f64();
    results.machine = watch.finish(0);
    results.complete = ended.is_ok() && !interrupt.is_heard();
    results.notes.extend(stage.notes());
    results.notes.extend(lateness(&results));
    // Notes of the plan are no result.
    let noted = results.notes.len() > plan.notes.len();
    let measured = noted || !(results.spread.is_empty() && results.churn.is_empty());
    match &ended {
        Err(error) => results.notes.push(format!("The run broke off: {error}.")),
        Ok(()) if interrupt.is_heard() => {
            results.notes.push("The run was interrupted; what is here was measured before.".into());
        }
        Ok(()) => {}
    }
    if measured {
        report::publish(&results, &request.compare.out, request.compare.json)?;
    }
    ended?;
    cleaned?;
    Ok(results.complete)
}

/// The cluster of a context, or the one that the kubeconfig or the pod's service account names, and
/// the namespace to use.
async fn connect(request: &ClusterRequest) -> Result<(Client, String), ClusterError> {
    let no_cluster = |reason: String| ClusterError::NoCluster { reason };
    let mut config = match &request.context {
        Some(context) => {
            let kubeconfig = Kubeconfig::read().map_err(|error| no_cluster(error.to_string()))?;
            let known: Vec<_> = kubeconfig.contexts.iter().map(|context| context.name.clone()).collect();
            if !known.contains(context) {
                return Err(ClusterError::NoContext { context: context.clone(), known: known.join(", ") });
            }
            let options =
                KubeConfigOptions { context: Some(context.clone()), ..KubeConfigOptions::default() };
            Config::from_custom_kubeconfig(kubeconfig, &options)
                .await
                .map_err(|error| no_cluster(error.to_string()))?
        }
        None => Config::infer().await.map_err(|error| no_cluster(error.to_string()))?,
    };
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    config.read_timeout = Some(READ_TIMEOUT);
    let namespace = request.namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
    let client = Client::try_from(config).map_err(|error| no_cluster(error.to_string()))?;
    Ok((client, namespace))
}

/// What a reader must know where the nodes had no time for the load.
fn lateness(results: &Results) -> Option<String> {
    let lags = results.spread.iter().map(|row| row.start_lag_ms_p99);
    let worst = lags.chain(results.churn.iter().map(|row| row.start_lag_ms_p99)).fold(0.0, f64::max);
    (worst > LATE_MS).then(|| {
        format!(
            "Workers began calls up to {worst:.0} ms late (99th percentile of a row): their nodes were too busy, and calls may have \
             failed for that reason alone. Ask for less with --rate, or share it among more --workers."
        )
    })
}

fn empty_results(plan: &Plan, request: &CompareRequest) -> Results {
    Results {
        schema_version: 2,
        command: request.command(plan.seed),
        seed: plan.seed.into(),
        started_at: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
        took_s: 0.0,
        complete: false,
        versions: machine::versions(),
        network: "kubernetes".into(),
        machine: MachineWatch::start().finish(0),
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
pub const INTERRUPTED: &str = "ending the run early: reading what was measured until now, then deleting what was applied (a second signal \
     ends this program at once; `kubectl delete all,serviceaccount,role,rolebinding -l app.kubernetes.io/managed-by=meshless-lab` \
     in its namespace deletes the rest)";

/// Later than this a worker has missed its processor for about as long as a call takes.
const LATE_MS: f64 = 20.0;

/// An API server that has not taken a connection by then is as good as none.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Nothing that is asked takes longer; logs come in pieces.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
