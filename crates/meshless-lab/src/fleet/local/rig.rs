//! The processes of one strategy while nothing happens to them: its servers, its clients, and what
//! stands between them.
//!
//! Set up for one row of the results and torn down after it, so that rows share nothing, neither
//! warm caches nor memory that an earlier burst left behind.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use super::client;
use super::front::Front;
use super::machine::Local;
use super::server::{self, duration_argument, usage};
use crate::clock;
use crate::control::{FromServer, RunTotals, ServerUsage, ToServer};
use crate::fleet::error::FleetError;
use crate::fleet::load::Conditions;
use crate::pacer::Pacing;
use crate::process::Process;
use crate::record::CallRecord;
use crate::stats::{Round, Sample};
use crate::strategy::{Entrance, Strategy};

/// Running processes, ready for calls.
pub(crate) struct Rig {
    strategy: Strategy,
    servers: Vec<Process>,
    client: Process,
    next_id: u64,
    /// Held, because it stops when it is dropped.
    _front: Front,
}

/// What a rig is made of.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    /// How its clients connect.
    pub(crate) strategy: Strategy,
    /// What to, if not to what is usual for the strategy.
    pub(crate) entrance: Entrance,
    /// One server each.
    pub(crate) addresses: Vec<Ipv4Addr>,
    /// How many clients its client process is.
    pub(crate) clients: usize,
    pub(crate) deadline: Duration,
    /// How each server is started, beside where it listens and what it is called.
    pub(crate) server_arguments: Vec<String>,
}

impl Setup {
    /// One client of this strategy, and servers as all strategies of a load have them.
    pub(crate) fn new(conditions: &Conditions, strategy: Strategy, addresses: &[Ipv4Addr]) -> Self {
        Self {
            strategy,
            entrance: strategy.entrance(),
            addresses: addresses.to_vec(),
            clients: 1,
            deadline: conditions.deadline,
            server_arguments: server_arguments(conditions, strategy.ages()),
        }
    }
}

/// How servers are started under these conditions.
pub(super) fn server_arguments(conditions: &Conditions, ages: bool) -> Vec<String> {
    let mut arguments = vec!["--service-time".to_owned(), duration_argument(conditions.service_time)];
    if ages {
        arguments.extend(["--max-connection-age".into(), duration_argument(conditions.max_age)]);
        arguments.extend(["--max-connection-age-grace".into(), duration_argument(conditions.max_age_grace)]);
    }
    arguments
}

impl Rig {
    /// Starts one server per address, what leads there, and the client. `direct` leaves out the
    /// virtual address, where there is one server only, if the network's costs more than a
    /// ClusterIP does.
    ///
    /// # Errors
    /// If a process does not start or a port cannot be bound.
    pub(crate) async fn set_up(local: &Local, setup: &Setup, direct: bool) -> Result<Self, FleetError> {
        let (servers, addresses) = start_servers(local, setup).await?;
        let direct =
            direct && setup.entrance == Entrance::VirtualAddress && !local.network.cluster_ip_is_free();
        let front = match direct {
            true => Front::Nothing(addresses[0]),
            false => Front::open(local, setup.entrance, &addresses).await?,
        };
        let target = front.target(setup.strategy, addresses[0].port(), setup.deadline, setup.clients);
        let client = client::start(local, target).await?;
        Ok(Self { strategy: setup.strategy, servers, client, next_id: 1, _front: front })
    }

    /// Makes the calls of one run and waits until the servers are done with them. `on_progress`
    /// hears how many have ended.
    ///
    /// # Errors
    /// If a process dies.
    pub(crate) async fn round(
        &mut self,
        pacing: Pacing,
        on_progress: impl FnMut(u64),
    ) -> Result<Round, FleetError> {
        self.make(pacing, on_progress, None).await
    }

    /// The same, and asks the servers every `period` how many connections they serve.
    ///
    /// # Errors
    /// If a process dies.
    pub(crate) async fn sampled_round(
        &mut self,
        pacing: Pacing,
        period: Duration,
    ) -> Result<Round, FleetError> {
        self.make(pacing, |_| {}, Some(period)).await
    }

    async fn make(
        &mut self,
        pacing: Pacing,
        on_progress: impl FnMut(u64),
        sample_every: Option<Duration>,
    ) -> Result<Round, FleetError> {
        // A service in use has its connection; what the first call after a connect costs is
        // connection-per-call's row.
        if self.strategy.keeps_connection() {
            client::warm_up(&mut self.client).await?;
        }
        self.collect().await?;
        let before = self.usage().await?;
        let mut round = Round::default();
        let run = client::run(&mut self.client, pacing, self.next_id, on_progress);
        (round.calls, round.totals, round.samples) = match sample_every {
            None => run.await.map(|(calls, totals)| (calls, totals, Vec::new()))?,
            Some(period) => sampled(run, &mut self.servers, period).await?,
        };
        self.next_id += round.calls.len() as u64;
        let after = self.settle().await?;
        round.server_cpu = after.cpu.saturating_sub(before.cpu);
        round.server_busy = after.busy.saturating_sub(before.busy);
        (round.executed, round.rotations_ns) = self.collect().await?;
        Ok(round)
    }

    /// Waits until no handler works and the servers rest: a burst whose callers have all given up
    /// is not yet over for a server that still reads what they sent.
    async fn settle(&mut self) -> Result<ServerUsage, FleetError> {
        let give_up = tokio::time::Instant::now() + SETTLE_LIMIT;
        let mut last = self.usage().await?;
        loop {
            tokio::time::sleep(SETTLE_PERIOD).await;
            let now = self.usage().await?;
            let rests =
                now.cpu.saturating_sub(last.cpu) < SETTLE_PERIOD / 10 && now.executed == last.executed;
            if now.in_flight == 0 && rests {
                return Ok(now);
            }
            if tokio::time::Instant::now() >= give_up {
                tracing::warn!(in_flight = now.in_flight, "the servers still work on calls that are over");
                return Ok(now);
            }
            last = now;
        }
    }

    /// All servers together.
    async fn usage(&mut self) -> Result<ServerUsage, FleetError> {
        let mut sum = ServerUsage::default();
        for server in &mut self.servers {
            let usage = usage(server).await?;
            sum.cpu += usage.cpu;
            sum.in_flight += usage.in_flight;
            sum.executed += usage.executed;
            sum.busy += usage.busy;
            sum.connections += usage.connections;
        }
        Ok(sum)
    }

    async fn collect(&mut self) -> Result<(Vec<u64>, Vec<u64>), FleetError> {
        let mut all = (Vec::new(), Vec::new());
        for server in &mut self.servers {
            match server.ask(&ToServer::Collect).await? {
                FromServer::Collected { executed, rotations_ns } => {
                    all.0.extend(executed);
                    all.1.extend(rotations_ns);
                }
                other => return Err(server.error(format!("answered with {other:?}")).into()),
            }
        }
        Ok(all)
    }
}

/// Waits for the run, and meanwhile asks each server every `period` how many connections it serves.
async fn sampled(
    run: impl Future<Output = Result<(Vec<CallRecord>, RunTotals), FleetError>>,
    servers: &mut [Process],
    period: Duration,
) -> Result<(Vec<CallRecord>, RunTotals, Vec<Sample>), FleetError> {
    let mut run = std::pin::pin!(run);
    let mut ticks = tokio::time::interval(period);
    let mut samples = Vec::new();
    loop {
        tokio::select! {
            ran = &mut run => return ran.map(|(calls, totals)| (calls, totals, samples)),
            _ = ticks.tick() => {
                let mut connections = Vec::with_capacity(servers.len());
                for server in servers.iter_mut() {
                    connections.push(usage(server).await?.connections);
                }
                samples.push(Sample { at_ns: clock::now_ns(), connections });
            }
        }
    }
}

/// Starts the servers. Where each has an address of its own they share one port, because a DNS name
/// carries no ports.
async fn start_servers(local: &Local, setup: &Setup) -> Result<(Vec<Process>, Vec<SocketAddr>), FleetError> {
    let mut attempt = 1;
    loop {
        match start_on_one_port(local, setup).await {
            // The port that the first server got may be taken on the address of another.
            Err(_) if attempt < server::PORT_ATTEMPTS => attempt += 1,
            result => return result,
        }
    }
}

async fn start_on_one_port(
    local: &Local,
    setup: &Setup,
) -> Result<(Vec<Process>, Vec<SocketAddr>), FleetError> {
    let own_address = setup.addresses.iter().all(|address| *address != Ipv4Addr::LOCALHOST);
    let (mut servers, mut listening): (Vec<_>, Vec<SocketAddr>) = (Vec::new(), Vec::new());
    for (index, address) in setup.addresses.iter().enumerate() {
        let port = listening.first().filter(|_| own_address).map_or(0, SocketAddr::port);
        let listen = SocketAddr::from((*address, port));
        let mut server = server::start(local, *address, listen, index, &setup.server_arguments).await?;
        listening.push(server::listening(&mut server).await?);
        servers.push(server);
    }
    Ok((servers, listening))
}

/// How often a server is asked whether it rests. One that uses less than a tenth of a processor
/// does.
const SETTLE_PERIOD: Duration = Duration::from_millis(50);

/// After this, a server that does not rest is left to itself, with a warning.
const SETTLE_LIMIT: Duration = Duration::from_secs(10);
