//! What is on the cluster for a run: it is set up here, performed on, and taken away again.

mod fleet;
mod pods;
mod recall;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, DynamicObject, ListParams, LogParams, PostParams};
use kube::{Api, Client};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::error::ClusterError;
use super::event::{ClusterEvent, Happened};
use super::objects::{self, INSTANCE, Object, fleet_name, headless_name};
use super::plan::Plan;
use super::rows::{churn_row, spread_row};
use super::score::{LogEnd, Measured, Part, Score, read_log};
use crate::progress::Progress;
use crate::results::Results;
use crate::strategy::{Entrance, Strategy};
use fleet::Fleet;
use pods::Pods;

/// A run's part of a cluster.
pub(crate) struct Stage {
    client: Client,
    namespace: String,
    run: String,
    pods: Pods,
    /// What was applied, or may have been: noted before it is asked for.
    applied: Vec<Object>,
    /// How long workers get from their Job's creation until their load begins.
    lead: Duration,
    /// The load whose results are not read yet.
    running: Option<Running>,
    /// By what channels found their backends, and the strategies of these channels.
    found_by: BTreeMap<String, BTreeSet<&'static str>>,
}

/// A load that was started.
#[derive(Clone, Debug)]
struct Running {
    job: String,
    /// What happens to its servers meanwhile; nothing in a spread.
    event: Option<ClusterEvent>,
    parts: usize,
}

impl Stage {
    /// A stage with nothing on it.
    pub(crate) fn new(client: Client, namespace: &str, plan: &Plan) -> Self {
        let pods = Pods::new(Api::namespaced(client.clone(), namespace), &plan.image);
        Self {
            client,
            namespace: namespace.into(),
            run: plan.run.clone(),
            pods,
            applied: Vec::new(),
            lead: LEAD_MIN,
            running: None,
            found_by: BTreeMap::new(),
        }
    }

    /// Makes the experiments and adds their rows. May be dropped at any point; what is applied by
    /// then is known.
    ///
    /// # Errors
    /// If something does not start, or the cluster refuses. Rows that were finished by then are
    /// there.
    pub(crate) async fn perform(
        &mut self,
        plan: &Plan,
        progress: &Progress,
        results: &mut Results,
    ) -> Result<(), ClusterError> {
        progress.show("starting the servers".into());
        let begun = Instant::now();
        if plan.endpoint_slices {
            self.apply(objects::reader(plan)).await?;
        }
        let mut fleets = Vec::new();
        for ages in [true, false].into_iter().filter(|ages| plan.needs(*ages)) {
            self.apply(objects::servers(plan, ages)).await?;
            fleets.push(Fleet::new(&self.client, &self.namespace, plan, ages, self.pods.clone()));
        }
        for fleet in &fleets {
            fleet.settle(plan.start_within).await?;
        }
        // Workers need no longer than the servers did: those were scheduled and their image pulled
        // as well.
        self.lead = (begun.elapsed() * 3 / 2).clamp(LEAD_MIN, plan.start_within.max(LEAD_MIN));
        if !plan.spreads.is_empty() {
            self.spread(plan, &fleets, progress, results).await?;
        }
        for event in plan.events.iter().filter(|_| !plan.churns.is_empty()) {
            self.churn(plan, *event, &fleets, progress, results).await?;
        }
        Ok(())
    }

    /// A note for each source of endpoints that channels used. A run that should read
    /// EndpointSlices, and was not allowed to, has measured DNS.
    pub(crate) fn notes(&self) -> impl Iterator<Item = String> {
        self.found_by.iter().map(|(source, strategies)| {
            let strategies: Vec<_> = strategies.iter().copied().collect();
            format!("Backends of {} were found by {source}.", strategies.join(", "))
        })
    }

    fn note_sources(&mut self, strategies: &[Strategy], measured: &[Measured]) {
        for (strategy, measured) in strategies.iter().zip(measured) {
            for source in &measured.totals.found_by {
                self.found_by.entry(source.clone()).or_default().insert(strategy.name());
            }
        }
    }

    /// Takes everything away, and waits until it is gone, for [`CLEAR_LIMIT`] at most.
    ///
    /// # Errors
    /// If something is left. All of it was tried.
    pub(crate) async fn clear(&mut self) -> Result<(), ClusterError> {
        let applied = std::mem::take(&mut self.applied);
        let cleared = timeout(CLEAR_LIMIT, async {
            self.delete(applied).await?;
            self.until_pods_are_gone().await
        });
        let gave_up = |_| Err(format!("it is not all gone after {} s", CLEAR_LIMIT.as_secs()));
        cleared.await.unwrap_or_else(gave_up).map_err(|reason| ClusterError::LeftBehind {
            reason,
            namespace: self.namespace.clone(),
            run: self.run.clone(),
        })
    }

    /// Deletes the objects, the last one first, several at a time. What is gone already is as good
    /// as deleted.
    async fn delete(&self, applied: Vec<Object>) -> Result<(), String> {
        let mut deleting = JoinSet::new();
        let mut trouble = None;
        for object in applied.into_iter().rev() {
            let api: Api<DynamicObject> =
                Api::namespaced_with(self.client.clone(), &self.namespace, &object.resource);
            deleting.spawn(async move {
                match api.delete(object.name(), &DeleteParams::foreground()).await {
                    Ok(_) => Ok(()),
                    Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
                    Err(error) => Err(ClusterError::of("delete")(error).to_string()),
                }
            });
        }
        while let Some(deleted) = deleting.join_next().await {
            trouble = trouble.or(deleted.expect("a deletion does not panic").err());
        }
        trouble.map_or(Ok(()), Err)
    }

    async fn until_pods_are_gone(&self) -> Result<(), String> {
        let selector = format!("{INSTANCE}={}", self.run);
        // Nobody calls these servers any more: there is nothing to drain.
        let quick = DeleteParams::default().grace_period(1);
        loop {
            let pods = self.pods.of(&selector).await.map_err(|error| error.to_string())?;
            if pods.is_empty() {
                return Ok(());
            }
            for pod in pods.iter().filter(|pod| goes_slowly(pod)) {
                // It may be gone by now, or go by itself.
                let _ = self.pods.api().delete(pods::name(pod), &quick).await;
            }
            sleep(POLL).await;
        }
    }

    /// Strategy after strategy, so that each has the servers for itself.
    async fn spread(
        &mut self,
        plan: &Plan,
        fleets: &[Fleet],
        progress: &Progress,
        results: &mut Results,
    ) -> Result<(), ClusterError> {
        let parts = (0u32..).zip(&plan.spreads).map(|(turn, strategy)| {
            let rate = plan.rate / f64::from(plan.workers);
            self.part(plan, *strategy, (plan.length + PAUSE) * turn, plan.length, rate)
        });
        let parts: Vec<_> = parts.collect();
        progress.show(format!("spread · {} workers · {} strategies in turn", plan.workers, parts.len()));
        let (job, begin) = self.start_load(plan, None, &parts).await?;
        let length = parts.last().map_or(Duration::ZERO, |part| part.at + part.length);
        let measured =
            self.finish_load(plan, &job, begin, length, parts.len(), progress, &mut results.notes).await?;
        self.running = None;
        self.note_sources(&plan.spreads, &measured);
        for (strategy, measured) in plan.spreads.iter().zip(&measured) {
            let Some(fleet) = fleets.iter().find(|fleet| fleet.ages() == strategy.ages()) else { continue };
            results.spread.push(spread_row(*strategy, &fleet.pod_names().await?, plan.workers, measured));
        }
        Ok(())
    }

    /// All strategies at once, while something happens to their servers.
    async fn churn(
        &mut self,
        plan: &Plan,
        event: ClusterEvent,
        fleets: &[Fleet],
        progress: &Progress,
        results: &mut Results,
    ) -> Result<(), ClusterError> {
        for fleet in fleets {
            fleet.settle(plan.start_within).await?;
        }
        let length = plan.before() + plan.watch;
        let parts = plan.churns.iter().map(|strategy| {
            let rate = plan.churn_rate / f64::from(plan.workers);
            self.part(plan, *strategy, Duration::ZERO, length, rate)
        });
        let parts: Vec<_> = parts.collect();
        progress.show(format!(
            "churn · {} · {} workers · {} strategies",
            event.name(),
            plan.workers,
            parts.len()
        ));
        let (job, begin) = self.start_load(plan, Some(event), &parts).await?;
        let mut happening = JoinSet::new();
        for fleet in fleets {
            let fleet = fleet.clone();
            let (before, watch, seed) = (plan.before(), plan.watch, plan.seed);
            happening.spawn(async move {
                Ok::<_, ClusterError>((fleet.ages(), fleet.happen(event, begin, before, watch, seed).await?))
            });
        }
        let measured =
            self.finish_load(plan, &job, begin, length, parts.len(), progress, &mut results.notes).await?;
        self.running = None;
        self.note_sources(&plan.churns, &measured);
        let mut happened: Vec<(bool, Happened)> = Vec::new();
        while let Some(ended) = happening.join_next().await {
            happened.push(ended.expect("an event does not panic")?);
        }
        for (strategy, measured) in plan.churns.iter().zip(&measured) {
            let Some((_, happened)) = happened.iter().find(|(ages, _)| *ages == strategy.ages()) else {
                continue;
            };
            results.churn.push(churn_row(*strategy, event, plan.workers, happened, measured));
        }
        results.events.push(event.note(plan.watch));
        Ok(())
    }

    fn part(&self, plan: &Plan, strategy: Strategy, at: Duration, length: Duration, rate: f64) -> Part {
        let fleet = fleet_name(&self.run, strategy.ages());
        let service = match strategy.entrance() {
            Entrance::Name | Entrance::EndpointSlices => headless_name(&fleet),
            Entrance::VirtualAddress | Entrance::Proxy => fleet,
        };
        Part {
            strategy,
            service: format!("{service}.{}", self.namespace),
            endpoint_slices: plan.endpoint_slices,
            at,
            length,
            rate,
            seed: plan.seed.into(),
        }
    }

    /// Creates the Job of a spread or of an event, and tells when its load begins.
    async fn start_load(
        &mut self,
        plan: &Plan,
        event: Option<ClusterEvent>,
        parts: &[Part],
    ) -> Result<(String, Instant), ClusterError> {
        let name = format!("{}-{}", self.run, event.map_or("spread", ClusterEvent::name));
        let length = parts.iter().map(|part| part.at + part.length).max().unwrap_or_default();
        let begin = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() + self.lead;
        let score =
            Score { begin_ms: begin.as_millis() as u64, deadline: plan.deadline, parts: parts.to_vec() };
        let score = serde_json::to_string(&score).expect("a score is plain data");
        let begin = Instant::now() + self.lead;
        let limit = self.lead + length + plan.start_within + FINISH_LIMIT;
        // Before it is applied: an interrupt may come between the API server's answer and here.
        self.running = Some(Running { job: name.clone(), event, parts: parts.len() });
        self.apply(vec![objects::load(plan, &name, &score, limit)]).await?;
        Ok((name, begin))
    }

    /// Waits for a load of this length and reads what its workers measured, part by part.
    #[expect(
        clippy::too_many_arguments,
        reason = "one caller for each kind of load, which hands on what it has"
    )]
    async fn finish_load(
        &self,
        plan: &Plan,
        name: &str,
        begin: Instant,
        length: Duration,
        parts: usize,
        progress: &Progress,
        notes: &mut Vec<String>,
    ) -> Result<Vec<Measured>, ClusterError> {
        let jobs: Api<Job> = Api::namespaced(self.client.clone(), &self.namespace);
        let selector = format!("batch.kubernetes.io/job-name={name}");
        let mut shown = 0;
        loop {
            let job = jobs.get(name).await.map_err(ClusterError::of("read the load's Job"))?;
            let status = job.status.unwrap_or_default();
            if status.succeeded.is_some_and(|pods| pods.cast_unsigned() >= plan.workers) {
                break;
            }
            let pods = self.pods.of(&selector).await?;
            self.pods.check(&pods)?;
            if let Some(failed) = pods.iter().find(|pod| pods::phase(pod) == "Failed") {
                return Err(self.pods.died(failed).await);
            }
            let ended = status.conditions.unwrap_or_default();
            if let Some(failed) =
                ended.iter().find(|condition| condition.type_ == "Failed" && condition.status == "True")
            {
                let what = failed.message.clone().unwrap_or_default();
                return Err(ClusterError::Pod { pod: name.into(), what: format!("failed: {what}") });
            }
            let late = begin.elapsed();
            let started = pods.iter().filter(|pod| pods::phase(pod) != "Pending").count();
            if late > plan.start_within && started < plan.workers as usize {
                let seconds = (self.lead + plan.start_within).as_secs();
                return Err(ClusterError::Late { what: "load".into(), seconds, reason: pods::reason(&pods) });
            }
            if late > length + FINISH_LIMIT + plan.start_within {
                let seconds = late.as_secs();
                let reason = "its workers run, and do not end".into();
                return Err(ClusterError::Late { what: "end of the load".into(), seconds, reason });
            }
            let seconds = late.min(length).as_secs();
            progress.advance(seconds.saturating_sub(shown));
            shown = shown.max(seconds);
            sleep(POLL).await;
        }
        progress.advance(length.as_secs().saturating_sub(shown));
        let mut measured = vec![Measured::default(); parts];
        let mut late = Vec::new();
        let mut done: Vec<Pod> = self.pods.of(&selector).await?;
        done.retain(|pod| pods::phase(pod) == "Succeeded");
        for pod in &done {
            let pod = pods::name(pod);
            let log = self.pods.api().logs(pod, &LogParams::default()).await;
            let log = log.map_err(ClusterError::of(format!("read the log of {pod}")))?;
            let no_result = |reason: String| ClusterError::Result { pod: pod.into(), reason };
            let (late_ms, end) = read_log(&log, &mut measured).map_err(no_result)?;
            if end == LogEnd::Stopped {
                return Err(no_result("somebody stopped it".into()));
            }
            late.extend((late_ms > 0).then_some(late_ms));
        }
        if done.len() < plan.workers as usize {
            let reason = format!("only {} of {} workers left one", done.len(), plan.workers);
            return Err(ClusterError::Result { pod: name.into(), reason });
        }
        if let Some(worst) = late.iter().max() {
            notes.push(format!(
                "{} of {} workers of {name} came up to {worst} ms late: what they would have called by then is missing.",
                late.len(),
                plan.workers
            ));
        }
        Ok(measured)
    }

    async fn apply(&mut self, objects: Vec<Object>) -> Result<(), ClusterError> {
        for object in objects {
            let what = format!("create the {} {}", object.resource.kind, object.name());
            let api: Api<DynamicObject> =
                Api::namespaced_with(self.client.clone(), &self.namespace, &object.resource);
            let dynamic =
                serde_json::from_value(object.value.clone()).expect("every object has kind and metadata");
            self.applied.push(object);
            match api.create(&PostParams::default(), &dynamic).await {
                Ok(_) => {}
                Err(kube::Error::Api(status)) if status.code == 404 => {
                    return Err(ClusterError::NoNamespace { namespace: self.namespace.clone() });
                }
                Err(error) => return Err(ClusterError::of(what)(error)),
            }
        }
        Ok(())
    }
}

/// Whether it has been told to go, with time for it. Others are not touched: their owner would only
/// replace them.
fn goes_slowly(pod: &Pod) -> bool {
    pod.metadata.deletion_timestamp.is_some()
        && pod.metadata.deletion_grace_period_seconds.is_some_and(|s| s > 1)
}

/// Waits until a moment of a load, and says how long after its begin that is.
async fn moment(begin: Instant, at: Duration) -> Duration {
    sleep_until(begin + at).await;
    begin.elapsed()
}

/// How often the cluster is asked how things are.
const POLL: Duration = Duration::from_millis(250);

/// Between two strategies of a spread: calls end, connections close.
const PAUSE: Duration = Duration::from_secs(2);

/// A pod whose image is there has started by then on an idle cluster.
const LEAD_MIN: Duration = Duration::from_secs(6);

/// From the last call until a worker has ended: it packs and prints what it measured.
const FINISH_LIMIT: Duration = Duration::from_secs(60);

/// Pods that are told to go are gone within some seconds, on a node that is well.
const CLEAR_LIMIT: Duration = Duration::from_secs(60);

/// Everything that belongs to a value of a label.
fn selecting(selector: &str) -> ListParams {
    ListParams::default().labels(selector)
}
