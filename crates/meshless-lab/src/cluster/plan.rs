//! What a run on a cluster will do, decided before anything is applied.

use std::time::Duration;

use meshless_core::Rng;

use super::ClusterRequest;
use super::error::ClusterError;
use super::event::ClusterEvent;
use crate::compare::{ExperimentName, random_seed};
use crate::results::{ChurnSettings, Settings};
use crate::strategy::{Entrance, Strategy};

/// A run that can be made.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Name of everything that it applies, and value of its label.
    pub(crate) run: String,
    pub(crate) seed: u32,
    pub(crate) image: String,
    pub(crate) workers: u32,
    pub(crate) endpoint_slices: bool,
    /// How long pods may take to start.
    pub(crate) start_within: Duration,
    pub(crate) replicas: i32,
    pub(crate) spreads: Vec<Strategy>,
    pub(crate) churns: Vec<Strategy>,
    pub(crate) events: Vec<ClusterEvent>,
    pub(crate) deadline: Duration,
    pub(crate) service_time: Duration,
    pub(crate) max_age: Duration,
    pub(crate) max_age_grace: Duration,
    /// Calls per second of the spread, all workers together, and of each strategy in the churn.
    pub(crate) rate: f64,
    pub(crate) churn_rate: f64,
    /// Length of the spread for each strategy, and how long an event is watched.
    pub(crate) length: Duration,
    pub(crate) watch: Duration,
    pub(crate) notes: Vec<String>,
}

impl Plan {
    /// Plans what `request` asks for.
    ///
    /// # Errors
    /// If nothing of it can be measured on a cluster.
    pub(crate) fn new(request: &ClusterRequest) -> Result<Self, ClusterError> {
        let compare = &request.compare;
        let mut notes = vec![
            "Servers on a cluster keep no ledger for the lab: failed calls that may have been executed count as not executed, \
             and rotations are the connections that clients opened beyond their first ones."
                .to_owned(),
        ];
        let mut strategies = match compare.strategies.is_empty() {
            true => STRATEGIES.to_vec(),
            false => compare.strategies.clone(),
        };
        let proxied = |strategy: &Strategy| strategy.entrance() == Entrance::Proxy;
        if strategies.iter().any(proxied) {
            notes.push("l7-proxy was left out: the lab brings no proxy to a cluster.".into());
            strategies.retain(|strategy| !proxied(strategy));
        }
        if strategies.contains(&Strategy::RoundRobinKubernetes) {
            notes.push(
                "round_robin+kubernetes was left out: on a cluster --endpoint-slices makes every channel one of its kind.".into(),
            );
            strategies.retain(|strategy| *strategy != Strategy::RoundRobinKubernetes);
        }
        if strategies.contains(&Strategy::GrpcGo) {
            notes.push("grpc-go was left out: the image has no client of it.".into());
            strategies.retain(|strategy| *strategy != Strategy::GrpcGo);
        }
        let mut seen = Vec::new();
        strategies.retain(|strategy| {
            !seen.contains(strategy) && {
                seen.push(*strategy);
                true
            }
        });
        let of = |experiment| match compare.makes(experiment) {
            true => strategies.clone(),
            false => Vec::new(),
        };
        let (spreads, churns) = (of(ExperimentName::Spread), of(ExperimentName::Churn));
        if spreads.is_empty() && churns.is_empty() {
            return Err(ClusterError::Plan(
                "on a cluster only spread and churn are measured, and not with l7-proxy or grpc-go; name others with --experiments and --strategies"
                    .into(),
            ));
        }
        let seed = compare.seed.unwrap_or_else(random_seed);
        let seconds = |default| Duration::from_secs(u64::from(compare.seconds.unwrap_or(default)));
        // The run is named anew also when its seed is repeated: what an earlier one left behind
        // does not stand in its way.
        let run = format!("meshless-lab-{:05x}", Rng::new(random_seed().into(), 0).next_u64() & 0xf_ffff);
        Ok(Self {
            run,
            seed,
            image: request.image.clone(),
            workers: request.workers,
            endpoint_slices: request.endpoint_slices,
            start_within: request.start_within,
            replicas: i32::from(compare.backends),
            events: if request.events.is_empty() {
                ClusterEvent::ALL.to_vec()
            } else {
                request.events.clone()
            },
            spreads,
            churns,
            deadline: compare.deadline,
            service_time: compare.service_time,
            max_age: compare.max_connection_age,
            max_age_grace: compare.max_connection_age_grace,
            rate: compare.rate,
            churn_rate: compare.rate / 5.0,
            length: seconds(SPREAD_SECONDS),
            watch: seconds(WATCH_SECONDS),
            notes,
        })
    }

    /// Whether servers are needed that age their connections, or that do not.
    pub(crate) fn needs(&self, ages: bool) -> bool {
        self.spreads.iter().chain(&self.churns).any(|strategy| strategy.ages() == ages)
    }

    /// How long load runs before an event.
    pub(crate) fn before(&self) -> Duration {
        self.watch / 5
    }

    /// The plan as the results tell it.
    pub(crate) fn settings(&self) -> Settings {
        let milliseconds = |duration: Duration| duration.as_secs_f64() * 1e3;
        Settings {
            service_time_ms: milliseconds(self.service_time),
            deadline_ms: milliseconds(self.deadline),
            rounds: 0,
            backends: self.replicas as usize,
            rate: self.rate,
            seconds: self.length.as_secs_f64(),
            max_connection_age_ms: milliseconds(self.max_age),
            max_connection_age_grace_ms: milliseconds(self.max_age_grace),
            churn: ChurnSettings {
                rate: self.churn_rate,
                service_time_ms: milliseconds(self.service_time),
                deadline_ms: milliseconds(self.deadline),
                seconds: self.watch.as_secs_f64(),
                max_connection_age_ms: milliseconds(self.max_age),
            },
        }
    }

    /// Steps of its progress: seconds of load.
    pub(crate) fn steps(&self) -> u64 {
        let events = if self.churns.is_empty() { 0 } else { self.events.len() as u32 };
        (self.length * self.spreads.len() as u32 + (self.before() + self.watch) * events).as_secs()
    }
}

/// One of each kind.
const STRATEGIES: [Strategy; 5] = [
    Strategy::SingleConnection,
    Strategy::MaxAgeL4,
    Strategy::MaxAgeDns,
    Strategy::RoundRobin,
    Strategy::PeakEwma,
];

const SPREAD_SECONDS: u32 = 10;

/// Long enough for a rollout, and for records that a cluster's DNS keeps for up to 30 s.
const WATCH_SECONDS: u32 = 40;
