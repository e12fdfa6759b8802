//! A fleet of pods on a Kubernetes cluster, where the users' traffic runs.
//!
//! With a namespace admin's rights it applies servers and Services (`objects`, `applied`), makes a
//! load as an Indexed Job (`job`) whose pods run [`worker`](crate::worker), lets events happen
//! through the API (`event`), reads what each worker measured from its log, and takes everything
//! away again, whatever happened. Servers in a cluster keep no ledger for us, so what is known of a
//! call is what its caller knows.
//!
//! Workers and this process lay what they saw on one axis by the time of day. Results are as exact
//! as the clocks of the nodes and of this machine agree: milliseconds where they are disciplined by
//! NTP, as nodes must be.

mod access;
mod applied;
mod event;
mod job;
mod objects;
mod pods;
mod recall;
mod servers;

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::time::Duration;

use kube::{Api, Client};
use meshless_core::Rng;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{Calls, ClusterError, Fleet, FleetError, Happening, Load, Making, Measurement, Recalled};
use crate::event::Happened;
use crate::fleet::local::LATE_MS;
use crate::progress::Progress;
use crate::request::ClusterRequest;
use crate::results::{EventNote, Results};
use crate::seed;
use crate::strategy::{Entrance, Strategy};
use crate::worker::score::{Measured, Part};
use applied::Applied;
use job::Jobs;
use objects::{Blueprint, fleet_name, headless_name};
use pods::Pods;
use servers::Servers;

/// A run's part of a cluster.
pub(crate) struct Kubernetes {
    client: Client,
    namespace: String,
    seed: u32,
    blueprint: Blueprint,
    /// How long pods may take to start.
    start_within: Duration,
    applied: Applied,
    /// Those that a load has needed so far.
    servers: Vec<Servers>,
    jobs: Jobs,
    /// By what channels found their backends, and the strategies of these channels.
    found_by: BTreeMap<String, BTreeSet<&'static str>>,
}

impl Kubernetes {
    /// What a reader must know of every run on a cluster.
    pub(crate) const NO_LEDGER: &str = "Servers on a cluster keep no ledger for the lab: failed calls that may have been executed count as not executed, \
         and rotations are the connections that clients opened beyond their first ones.";

    /// Why this strategy cannot take part, in a sentence; none if it can.
    pub(crate) fn lacks(strategy: Strategy) -> Option<&'static str> {
        match strategy {
            Strategy::L7Proxy => Some("l7-proxy was left out: the lab brings no proxy to a cluster."),
            Strategy::RoundRobinKubernetes => Some(
                "round_robin+kubernetes was left out: on a cluster --endpoint-slices makes every channel one of its kind.",
            ),
            Strategy::GrpcGo => Some("grpc-go was left out: the image has no client of it."),
            _ => None,
        }
    }

    /// Connects to the cluster, and sees whether all that a run does is allowed. Nothing is applied
    /// yet.
    ///
    /// # Errors
    /// If there is no such cluster, or rights are missing.
    pub(crate) async fn reach(request: &ClusterRequest, seed: u32) -> Result<Self, ClusterError> {
        let (client, namespace) = access::connect(request).await?;
        access::check(&client, &namespace, request.endpoint_slices).await?;
        // The run is named anew also when its seed is repeated: what an earlier one left behind
        // does not stand in its way.
        let name = Rng::new(seed::random().into(), 0).next_u64() & 0xf_ffff;
        let blueprint = Blueprint {
            run: format!("meshless-lab-{name:05x}"),
            image: request.image.clone(),
            workers: request.workers,
            endpoint_slices: request.endpoint_slices,
        };
        let pods = Pods::new(Api::namespaced(client.clone(), &namespace), &request.image);
        let jobs = Api::namespaced(client.clone(), &namespace);
        Ok(Self {
            jobs: Jobs::new(jobs, pods, &blueprint, request.start_within),
            applied: Applied::new(client.clone(), &namespace),
            client,
            namespace,
            seed,
            blueprint,
            start_within: request.start_within,
            servers: Vec::new(),
            found_by: BTreeMap::new(),
        })
    }

    /// Sees to it that the servers which a load needs are there and whole.
    async fn settle(&mut self, load: &Load, progress: &Progress) -> Result<(), ClusterError> {
        let begun = Instant::now();
        if self.servers.is_empty() {
            progress.show("starting the servers".into());
            if self.blueprint.endpoint_slices {
                self.applied.apply(objects::reader(&self.blueprint)).await?;
            }
        }
        let mut started = false;
        for ages in [true, false] {
            let needed = load.strategies.iter().any(|strategy| strategy.ages() == ages);
            if !needed || self.servers.iter().any(|servers| servers.ages == ages) {
                continue;
            }
            let replicas = i32::try_from(load.backends).unwrap_or(i32::MAX);
            let objects = objects::servers(&self.blueprint, &load.conditions, replicas, ages);
            self.applied.apply(objects).await?;
            let (pods, blueprint) = (self.jobs.pods.clone(), &self.blueprint);
            self.servers.push(Servers::new(&self.client, &self.namespace, blueprint, replicas, ages, pods));
            started = true;
        }
        for servers in &self.servers {
            servers.settle(self.start_within).await?;
        }
        if started {
            self.jobs.set_lead(begun.elapsed());
        }
        Ok(())
    }

    fn part(&self, load: &Load, strategy: Strategy, at: Duration) -> Part {
        let fleet = fleet_name(&self.blueprint.run, strategy.ages());
        let service = match strategy.entrance() {
            Entrance::Name | Entrance::EndpointSlices => headless_name(&fleet),
            Entrance::VirtualAddress | Entrance::Proxy => fleet,
        };
        Part {
            strategy,
            service: format!("{service}.{}", self.namespace),
            endpoint_slices: self.blueprint.endpoint_slices,
            at,
            length: load.length,
            rate: load.rate / f64::from(self.blueprint.workers),
            seed: self.seed.into(),
        }
    }

    fn note_sources(&mut self, load: &Load, measured: &[Measured]) {
        for (strategy, measured) in load.strategies.iter().zip(measured) {
            for source in &measured.totals.found_by {
                self.found_by.entry(source.clone()).or_default().insert(strategy.name());
            }
        }
    }

    fn measurement(&self, strategy: Strategy, backends: Vec<String>, measured: Measured) -> Measurement {
        let clients = self.blueprint.workers;
        Measurement { strategy, backends, clients, calls: Calls::Binned(measured) }
    }

    /// The servers of a strategy; they are there once [`settle`](Self::settle) has ended.
    fn servers_of(&self, strategy: Strategy) -> Option<&Servers> {
        self.servers.iter().find(|servers| servers.ages == strategy.ages())
    }

    async fn steady(
        &mut self,
        load: &Load,
        progress: &Progress,
        seen: &mut dyn FnMut(Measurement),
    ) -> Result<(), ClusterError> {
        self.settle(load, progress).await?;
        let turns = (0u32..).zip(&load.strategies);
        let parts: Vec<_> =
            turns.map(|(turn, strategy)| self.part(load, *strategy, (load.length + PAUSE) * turn)).collect();
        let (workers, count) = (self.blueprint.workers, parts.len());
        progress.show(format!("{} · {workers} workers · {count} strategies in turn", load.name));
        self.jobs.start(&mut self.applied, load, parts).await?;
        let measured = self.jobs.finish(progress).await?;
        self.note_sources(load, &measured);
        for (strategy, measured) in load.strategies.iter().zip(measured) {
            let Some(servers) = self.servers_of(*strategy) else { continue };
            seen(self.measurement(*strategy, servers.pod_names().await?, measured));
        }
        Ok(())
    }

    async fn eventful(
        &mut self,
        load: &Load,
        happening: &Happening,
        progress: &Progress,
    ) -> Result<Vec<(Measurement, Happened)>, ClusterError> {
        self.settle(load, progress).await?;
        let parts = load.strategies.iter().map(|strategy| self.part(load, *strategy, Duration::ZERO));
        let parts = parts.collect();
        let begin = self.jobs.start(&mut self.applied, load, parts).await?;
        let mut happen = JoinSet::new();
        for servers in &self.servers {
            let (servers, happening, seed) = (servers.clone(), *happening, self.seed);
            happen.spawn(async move {
                let happened = event::happen(&servers, &happening, begin, seed).await?;
                Ok::<_, ClusterError>((servers.ages, happened))
            });
        }
        let measured = self.jobs.finish(progress).await?;
        self.note_sources(load, &measured);
        let mut happened = BTreeMap::new();
        while let Some(ended) = happen.join_next().await {
            let (ages, what) = ended.expect("an event does not panic")?;
            happened.insert(ages, what);
        }
        let all = load.strategies.iter().zip(measured).filter_map(|(strategy, measured)| {
            let happened = happened.get(&strategy.ages())?.clone();
            Some((self.measurement(*strategy, Vec::new(), measured), happened))
        });
        Ok(all.collect())
    }
}

impl Fleet for Kubernetes {
    fn introduction(&self) -> String {
        format!(
            "seed {}; run {} in namespace {}; Ctrl-C ends it early, keeps what was measured and cleans up",
            self.seed, self.blueprint.run, self.namespace
        )
    }

    fn in_turn<'a>(
        &'a mut self,
        load: &'a Load,
        progress: &'a Progress,
        seen: &'a mut dyn FnMut(Measurement),
    ) -> Making<'a, ()> {
        Box::pin(async move { Ok(self.steady(load, progress, seen).await?) })
    }

    fn at_once<'a>(
        &'a mut self,
        load: &'a Load,
        happening: &'a Happening,
        progress: &'a Progress,
    ) -> Making<'a, Vec<(Measurement, Happened)>> {
        Box::pin(async move { Ok(self.eventful(load, happening, progress).await?) })
    }

    fn event_note(&self, happening: &Happening) -> EventNote {
        event::note(happening)
    }

    fn recall<'a>(&'a mut self, progress: &'a Progress) -> Pin<Box<dyn Future<Output = Vec<Recalled>> + 'a>> {
        Box::pin(async move {
            let Some((running, measured)) = recall::recall(&mut self.jobs, progress).await else {
                return Vec::new();
            };
            let load = &running.load;
            self.note_sources(load, &measured);
            let called = |measured: &Measured| !measured.bins.is_empty();
            let parts = load.strategies.iter().zip(measured).filter(|(_, measured)| called(measured));
            let recalled = parts.map(|(strategy, measured)| Recalled {
                is_whole: recall::is_whole(&measured, load.length),
                note: recall::note(load.name, *strategy, load.length, &measured),
                measurement: self.measurement(*strategy, recall::pods_of(&measured), measured),
            });
            recalled.collect()
        })
    }

    fn annotate(&self, results: &mut Results) {
        results.notes.extend(self.jobs.late.iter().cloned());
        // A run that should read EndpointSlices, and was not allowed to, has measured DNS.
        results.notes.extend(self.found_by.iter().map(|(source, strategies)| {
            let strategies: Vec<_> = strategies.iter().copied().collect();
            format!("Backends of {} were found by {source}.", strategies.join(", "))
        }));
        results.notes.extend(lateness(results));
    }

    fn clear<'a>(&'a mut self, progress: &'a Progress) -> Making<'a, ()> {
        progress.show("deleting what was applied".into());
        Box::pin(async move {
            let cleared = self.applied.clear(&self.jobs.pods, &self.blueprint.run).await;
            cleared.map_err(FleetError::Cluster)
        })
    }
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

/// Between two strategies of a load in turn: calls end, connections close.
const PAUSE: Duration = Duration::from_secs(2);
