//! The processes of one strategy: its backends, its client, and what stands between them.
//!
//! Set up for one row of the results and torn down after it, so that rows share nothing, neither
//! warm caches nor memory that an earlier burst left behind.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use crate::clock;
use crate::compare::Plan;
use crate::control::{FromClient, FromServer, RunTotals, ServerUsage, Target, ToClient, ToServer};
use crate::network::{NetworkError, ProxyError, RunningProxy, Service};
use crate::pacer::Pacing;
use crate::process::{Process, ProcessError};
use crate::record::CallRecord;
use crate::stats::{Round, Sample};
use crate::strategy::{Entrance, Strategy};
use meshless_testkit::api_server::{ApiServer, PodCondition};
use meshless_testkit::dns_server::{DnsServer, Script};

/// Running processes, ready for calls.
pub(crate) struct Rig {
    strategy: Strategy,
    servers: Vec<Process>,
    client: Process,
    next_id: u64,
    /// Held, because it stops when it is dropped.
    _between: Between,
}

/// What a rig is made of.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    /// How its clients connect.
    pub(crate) strategy: Strategy,
    /// What to, if not to what is usual for the strategy.
    pub(crate) entrance: Entrance,
    /// One backend each.
    pub(crate) addresses: Vec<Ipv4Addr>,
    /// How many clients its client process is.
    pub(crate) clients: usize,
    pub(crate) deadline: Duration,
    /// How each backend is started, beside where it listens and what it is called.
    pub(crate) server_arguments: Vec<String>,
}

impl Setup {
    /// One client of this strategy, and backends as all strategies of the plan have them.
    pub(crate) fn new(plan: &Plan, strategy: Strategy, addresses: &[Ipv4Addr]) -> Self {
        let mut server_arguments = vec!["--service-time".into(), duration_argument(plan.service_time)];
        if strategy.ages() {
            server_arguments.extend(["--max-connection-age".into(), duration_argument(plan.max_age)]);
            server_arguments
                .extend(["--max-connection-age-grace".into(), duration_argument(plan.max_age_grace)]);
        }
        Self {
            strategy,
            entrance: strategy.entrance(),
            addresses: addresses.to_vec(),
            clients: 1,
            deadline: plan.deadline,
            server_arguments,
        }
    }
}

/// A rig could not be set up, or broke.
#[derive(Debug, thiserror::Error)]
pub enum RigError {
    /// One of its processes.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// A pod or the virtual address.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// The DNS server, a relay, or the temporary folder.
    #[error("cannot listen, or use the temporary folder (see TMPDIR): {0}")]
    Io(#[from] io::Error),
    /// The proxy.
    #[error(transparent)]
    Proxy(#[from] ProxyError),
    /// The plan has a strategy without what it needs.
    #[error("l7-proxy needs a proxy")]
    NoProxy,
}

/// What stands between the client and its backends, held until the row is measured.
enum Between {
    Nothing,
    VirtualAddress { _service: Service },
    Name { _dns: DnsServer },
    EndpointSlices { _api_server: ApiServer },
    Proxy { _proxy: RunningProxy },
}

impl Rig {
    /// Starts one backend per address, the client, and the strategy's entrance. `direct` leaves out
    /// the virtual address, where there is one backend only, if the network's costs more than a
    /// ClusterIP does.
    ///
    /// # Errors
    /// If a process does not start or a port cannot be bound.
    pub(crate) async fn start(
        plan: &Plan,
        strategy: Strategy,
        addresses: &[Ipv4Addr],
        direct: bool,
    ) -> Result<Self, RigError> {
        Self::set_up(plan, &Setup::new(plan, strategy, addresses), direct).await
    }

    /// Starts what `setup` describes.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub(crate) async fn set_up(plan: &Plan, setup: &Setup, direct: bool) -> Result<Self, RigError> {
        let (servers, backends) = start_servers(plan, setup).await?;
        let (between, target) = enter(plan, setup, &backends, direct).await?;
        let strategy = setup.strategy;
        let client = start_client(plan, target).await?;
        Ok(Self { strategy, servers, client, next_id: 1, _between: between })
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
    ) -> Result<Round, RigError> {
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
    ) -> Result<Round, RigError> {
        self.make(pacing, |_| {}, Some(period)).await
    }

    async fn make(
        &mut self,
        pacing: Pacing,
        on_progress: impl FnMut(u64),
        sample_every: Option<Duration>,
    ) -> Result<Round, RigError> {
        // A service in use has its connection; what the first call after a connect costs is
        // connection-per-call's row.
        if self.strategy.keeps_connection() {
            warm_up(&mut self.client).await?;
        }
        self.collect().await?;
        let before = self.usage().await?;
        let mut round = Round::default();
        let run = run_client(&mut self.client, pacing, self.next_id, on_progress);
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
    async fn settle(&mut self) -> Result<ServerUsage, RigError> {
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
    async fn usage(&mut self) -> Result<ServerUsage, RigError> {
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

    async fn collect(&mut self) -> Result<(Vec<u64>, Vec<u64>), RigError> {
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

/// Starts the client of a strategy and tells it whom to call.
pub(crate) async fn start_client(plan: &Plan, target: Target) -> Result<Process, RigError> {
    let pod = plan.network.client_pod().await?;
    let mut client = match (target.strategy, &plan.grpc_go) {
        (Strategy::GrpcGo, Some(program)) => Process::spawn_other(pod, "the client of grpc-go", program)?,
        _ => Process::spawn(pod, "the client", &["client".into()])?,
    };
    client.send(&ToClient::Target(target)).await?;
    Ok(client)
}

async fn usage(server: &mut Process) -> Result<ServerUsage, RigError> {
    match server.ask(&ToServer::Usage).await? {
        FromServer::Usage(usage) => Ok(usage),
        other => Err(server.error(format!("answered with {other:?}")).into()),
    }
}

/// Waits for the run, and meanwhile asks each server every `period` how many connections it serves.
async fn sampled(
    run: impl Future<Output = Result<(Vec<CallRecord>, RunTotals), RigError>>,
    servers: &mut [Process],
    period: Duration,
) -> Result<(Vec<CallRecord>, RunTotals, Vec<Sample>), RigError> {
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

/// Has each client make a call that is not recorded.
pub(crate) async fn warm_up(client: &mut Process) -> Result<(), RigError> {
    match client.ask(&ToClient::WarmUp).await? {
        FromClient::Warm => Ok(()),
        other => Err(client.error(format!("answered a warm-up with {other:?}")).into()),
    }
}

/// Has the client make the calls of one run. `on_progress` hears how many have ended.
pub(crate) async fn run_client(
    client: &mut Process,
    pacing: Pacing,
    first_id: u64,
    mut on_progress: impl FnMut(u64),
) -> Result<(Vec<CallRecord>, RunTotals), RigError> {
    client.send(&ToClient::Run { pacing, first_id }).await?;
    let mut calls = Vec::new();
    loop {
        match client.receive().await? {
            FromClient::Warm => {}
            FromClient::Progress(ended) => on_progress(ended),
            FromClient::Calls(some) => calls.extend(some),
            FromClient::Done(totals) => return Ok((calls, totals)),
        }
    }
}

/// Name of the backend with this index, in the response header and in the results.
pub(crate) fn backend_name(index: usize) -> String {
    format!("backend-{}", index + 1)
}

/// Starts the servers. Where each has an address of its own they share one port, because a DNS name
/// carries no ports.
async fn start_servers(plan: &Plan, setup: &Setup) -> Result<(Vec<Process>, Vec<SocketAddr>), RigError> {
    let mut attempt = 1;
    loop {
        match start_on_one_port(plan, setup).await {
            // The port that the first server got may be taken on the address of another.
            Err(_) if attempt < PORT_ATTEMPTS => attempt += 1,
            result => return result,
        }
    }
}

async fn start_on_one_port(plan: &Plan, setup: &Setup) -> Result<(Vec<Process>, Vec<SocketAddr>), RigError> {
    let addresses = &setup.addresses;
    let own_address = addresses.iter().all(|address| *address != Ipv4Addr::LOCALHOST);
    let (mut servers, mut backends): (Vec<_>, Vec<SocketAddr>) = (Vec::new(), Vec::new());
    for (index, address) in addresses.iter().enumerate() {
        let port = backends.first().filter(|_| own_address).map_or(0, SocketAddr::port);
        let name = backend_name(index);
        let listen = SocketAddr::from((*address, port));
        let pod = plan.network.pod(*address).await?;
        let mut server = Process::spawn(pod, &name, &server_arguments(plan, setup, index, listen))?;
        match server.receive().await? {
            FromServer::Ready { addresses } => backends.extend(addresses),
            other => return Err(server.error(format!("began with {other:?}")).into()),
        }
        servers.push(server);
    }
    Ok((servers, backends))
}

fn server_arguments(plan: &Plan, setup: &Setup, index: usize, listen: SocketAddr) -> Vec<String> {
    let mut arguments = vec!["serve".to_owned(), "--control".into(), "--name".into(), backend_name(index)];
    arguments.extend(SERVER_LIMITS.map(str::to_owned));
    arguments.extend(["--listen".into(), listen.to_string()]);
    // One stream per backend, or all would age their n-th connections at the same age.
    let seed = u64::from(plan.seed) | (index as u64) << 32;
    arguments.extend(["--seed".into(), seed.to_string()]);
    arguments.extend(setup.server_arguments.iter().cloned());
    arguments
}

/// The burst has up to 100 000 calls on one connection, and as many connections: `serve`'s
/// defaults, which are the library's, bound what a hostile client can pin.
pub(crate) const SERVER_LIMITS: [&str; 4] =
    ["--max-concurrent-streams", "100000", "--max-connections", "100000"];

/// A duration as the command line takes it.
pub(crate) fn duration_argument(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

/// What the client is told to call, and what leads there.
async fn enter(
    plan: &Plan,
    setup: &Setup,
    backends: &[SocketAddr],
    direct: bool,
) -> Result<(Between, Target), RigError> {
    let any_port = SocketAddr::from((plan.network.node_address(), 0));
    let seed = u64::from(plan.seed);
    let to = |authority| Target {
        strategy: setup.strategy,
        authority,
        dns: None,
        api_server: None,
        deadline: setup.deadline,
        clients: setup.clients,
    };
    Ok(match setup.entrance {
        Entrance::VirtualAddress if direct && !plan.network.service_is_free() => {
            (Between::Nothing, to(backends[0].to_string()))
        }
        Entrance::VirtualAddress => {
            let service = plan.network.service(backends.to_vec(), seed).await?;
            let authority = service.local_addr().to_string();
            (Between::VirtualAddress { _service: service }, to(authority))
        }
        Entrance::Name => {
            let dns = DnsServer::bind(any_port, seed).await?;
            publish(&dns, backends);
            let target = to(format!("{SERVICE_NAME}:{}", backends[0].port()));
            let target = Target { dns: Some(dns.address), ..target };
            (Between::Name { _dns: dns }, target)
        }
        Entrance::EndpointSlices => {
            let api_server = ApiServer::bind(any_port).await?;
            let pods: Vec<_> = backends.iter().map(|backend| (backend.ip(), PodCondition::Ready)).collect();
            api_server.set_pods(backends[0].port(), &pods);
            let target = Target { api_server: Some(api_server.address), ..to(ApiServer::target()) };
            (Between::EndpointSlices { _api_server: api_server }, target)
        }
        Entrance::Proxy => {
            let proxy = plan.proxy.as_ref().ok_or(RigError::NoProxy)?.start(any_port, backends).await?;
            let authority = proxy.local_addr().to_string();
            (Between::Proxy { _proxy: proxy }, to(authority))
        }
    })
}

/// Lists these backends in DNS.
pub(crate) fn publish(dns: &DnsServer, backends: &[SocketAddr]) {
    let addresses = backends.iter().map(SocketAddr::ip).collect();
    dns.set(SERVICE_NAME, Script::Addresses { addresses, ttl_s: DNS_TTL_S });
}

/// The name of the backends. `.test` is reserved for this (RFC 6761 §6.2).
pub(crate) const SERVICE_NAME: &str = "echo.lab.test";

/// Short, as a headless Service's in effect is: each connection asks anew. In seconds.
const DNS_TTL_S: u32 = 1;

/// Tries to find a port that is free on the addresses of all backends.
const PORT_ATTEMPTS: u32 = 5;

/// How often a server is asked whether it rests. One that uses less than a tenth of a processor
/// does.
const SETTLE_PERIOD: Duration = Duration::from_millis(50);

/// After this, a server that does not rest is left to itself, with a warning.
const SETTLE_LIMIT: Duration = Duration::from_secs(10);
