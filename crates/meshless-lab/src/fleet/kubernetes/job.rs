//! A load as an Indexed Job: created with its score, waited for, and read from its workers' logs.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::LogParams;
use tokio::time::{Instant, sleep};

use super::applied::Applied;
use super::objects::{self, Blueprint};
use super::pods::{self, POLL, Pods};
use crate::fleet::error::ClusterError;
use crate::fleet::load::Load;
use crate::progress::Progress;
use crate::worker::score::{LogEnd, Measured, Part, Score, read_log};

/// The loads of a run, one at a time.
pub(super) struct Jobs {
    pub(super) api: Api<Job>,
    pub(super) pods: Pods,
    blueprint: Blueprint,
    /// How long pods may take to start.
    start_within: Duration,
    /// How long workers get from their Job's creation until their load begins.
    lead: Duration,
    /// The load whose results are not read yet.
    pub(super) running: Option<RunningLoad>,
    /// What was said of workers that came late.
    pub(super) late: Vec<String>,
}

/// A load that was started.
#[derive(Clone, Debug)]
pub(super) struct RunningLoad {
    /// Of its Job.
    pub(super) name: String,
    pub(super) load: Load,
    begin: Instant,
    /// From the first call of the first strategy to the last of the last.
    length: Duration,
}

impl Jobs {
    /// None yet.
    pub(super) fn new(api: Api<Job>, pods: Pods, blueprint: &Blueprint, start_within: Duration) -> Self {
        let (blueprint, lead) = (blueprint.clone(), LEAD_MIN);
        Self { api, pods, blueprint, start_within, lead, running: None, late: Vec::new() }
    }

    /// Gives workers no longer than the servers took to start: those were scheduled and their image
    /// pulled as well.
    pub(super) fn set_lead(&mut self, servers_took: Duration) {
        self.lead = (servers_took * 3 / 2).clamp(LEAD_MIN, self.start_within.max(LEAD_MIN));
    }

    /// Creates the Job of a load, and tells when its calls begin.
    ///
    /// # Errors
    /// If the cluster refuses.
    pub(super) async fn start(
        &mut self,
        applied: &mut Applied,
        load: &Load,
        parts: Vec<Part>,
    ) -> Result<Instant, ClusterError> {
        let name = format!("{}-{}", self.blueprint.run, load.name);
        let length = parts.iter().map(|part| part.at + part.length).max().unwrap_or_default();
        let begin = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() + self.lead;
        let score = Score { begin_ms: begin.as_millis() as u64, deadline: load.conditions.deadline, parts };
        let score = serde_json::to_string(&score).expect("a score is plain data");
        let begin = Instant::now() + self.lead;
        let limit = self.lead + length + self.start_within + FINISH_LIMIT;
        // Before it is applied: an interrupt may come between the API server's answer and here.
        self.running = Some(RunningLoad { name: name.clone(), load: load.clone(), begin, length });
        applied.apply(vec![objects::load(&self.blueprint, &name, &score, limit)]).await?;
        Ok(begin)
    }

    /// Waits for the load that is running and reads what its workers measured, strategy by strategy.
    ///
    /// # Errors
    /// If a worker does not start, or does not end as it should.
    pub(super) async fn finish(&mut self, progress: &Progress) -> Result<Vec<Measured>, ClusterError> {
        let Some(running) = self.running.clone() else { return Ok(Vec::new()) };
        self.wait(&running, progress).await?;
        let measured = self.read(&running).await?;
        self.running = None;
        Ok(measured)
    }

    /// Waits until all its workers have ended.
    async fn wait(&self, running: &RunningLoad, progress: &Progress) -> Result<(), ClusterError> {
        let RunningLoad { name, begin, length, .. } = running;
        let workers = self.blueprint.workers;
        let selector = running.selector();
        let mut shown = 0;
        loop {
            let job = self.api.get(name).await.map_err(ClusterError::of("read the load's Job"))?;
            let status = job.status.unwrap_or_default();
            if status.succeeded.is_some_and(|pods| pods.cast_unsigned() >= workers) {
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
                return Err(ClusterError::Pod { pod: name.clone(), what: format!("failed: {what}") });
            }
            let late = begin.elapsed();
            let started = pods.iter().filter(|pod| pods::phase(pod) != "Pending").count();
            if late > self.start_within && started < workers as usize {
                let seconds = (self.lead + self.start_within).as_secs();
                return Err(ClusterError::Late { what: "load".into(), seconds, reason: pods::reason(&pods) });
            }
            if late > *length + FINISH_LIMIT + self.start_within {
                let seconds = late.as_secs();
                let reason = "its workers run, and do not end".into();
                return Err(ClusterError::Late { what: "end of the load".into(), seconds, reason });
            }
            let seconds = late.min(*length).as_secs();
            progress.advance(seconds.saturating_sub(shown));
            shown = shown.max(seconds);
            sleep(POLL).await;
        }
        progress.advance(length.as_secs().saturating_sub(shown));
        Ok(())
    }

    /// Reads the logs of its workers.
    async fn read(&mut self, running: &RunningLoad) -> Result<Vec<Measured>, ClusterError> {
        let RunningLoad { name, load, .. } = running;
        let workers = self.blueprint.workers;
        let selector = running.selector();
        let mut measured = vec![Measured::default(); load.strategies.len()];
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
        if done.len() < workers as usize {
            let reason = format!("only {} of {} workers left one", done.len(), workers);
            return Err(ClusterError::Result { pod: name.clone(), reason });
        }
        if let Some(worst) = late.iter().max() {
            self.late.push(format!(
                "{} of {} workers of {name} came up to {worst} ms late: what they would have called by then is missing.",
                late.len(),
                workers
            ));
        }
        Ok(measured)
    }
}

impl RunningLoad {
    /// What selects its workers.
    pub(super) fn selector(&self) -> String {
        format!("batch.kubernetes.io/job-name={}", self.name)
    }
}

/// A pod whose image is there has started by then on an idle cluster.
const LEAD_MIN: Duration = Duration::from_secs(6);

/// From the last call until a worker has ended: it packs and prints what it measured.
const FINISH_LIMIT: Duration = Duration::from_secs(60);
