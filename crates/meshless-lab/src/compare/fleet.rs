//! The backends of one strategy in the churn experiment, which can be hurt while its client calls
//! them.
//!
//! Each strategy has a fleet of its own, so that what one client does to its backends, such as
//! sending calls again, is not felt by another. A fleet obeys [`Action`]s; when they are due is the
//! business of `churn`.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use rustix::process::Signal;

use super::rig::{RigError, SERVER_LIMITS, SERVICE_NAME, backend_name, duration_argument, publish};
use crate::compare::Plan;
use crate::control::{FromServer, Target, ToServer};
use crate::event::{Action, BACKENDS, Event, FLEET, SERVICE_TIME};
use crate::journal;
use crate::network::{Network, Relay, Service};
use crate::process::Process;
use crate::strategy::{Entrance, Strategy};
use meshless_testkit::api_server::{ApiServer, PodCondition};
use meshless_testkit::dns_server::DnsServer;

/// Running backends, and what leads to them.
pub(crate) struct Fleet {
    /// What comes before `--listen` in a server's command line, by index.
    arguments: Vec<Vec<String>>,
    backends: Vec<Backend>,
    entry: Entry,
    network: Network,
    relayed: bool,
    journals: PathBuf,
}

/// One backend, which may not run, or no longer.
struct Backend {
    host: Ipv4Addr,
    address: SocketAddr,
    process: Option<Process>,
    relay: Option<Relay>,
    /// What the control plane says of its pod; none before it was first started.
    pod: Option<PodCondition>,
}

enum Entry {
    Name(DnsServer),
    EndpointSlices(ApiServer),
    Service(Service),
}

impl Fleet {
    /// Starts the backends that an event begins with; `journals` is a folder of this fleet alone.
    ///
    /// # Errors
    /// If a process does not start or a port cannot be bound.
    pub(crate) async fn start(
        plan: &Plan,
        strategy: Strategy,
        event: Event,
        journals: &Path,
    ) -> Result<Self, RigError> {
        let arguments: Vec<_> =
            (0..FLEET).map(|index| arguments(plan, strategy, event, index, journals)).collect();
        let any_port = SocketAddr::from((plan.network.node_address(), 0));
        let seed = u64::from(plan.seed);
        let entry = match strategy.entrance() {
            Entrance::Name => Entry::Name(DnsServer::bind(any_port, seed).await?),
            Entrance::EndpointSlices => Entry::EndpointSlices(ApiServer::bind(any_port).await?),
            Entrance::VirtualAddress => Entry::Service(plan.network.service(Vec::new(), seed).await?),
            Entrance::Proxy => return Err(RigError::NoProxy),
        };
        // Fleets run side by side; where each has addresses of its own, these are this one's.
        let addresses = plan.network.addresses(FLEET as u8).unwrap_or_default();
        let at = |port| {
            let backend = |address: &Ipv4Addr| Backend {
                host: *address,
                address: SocketAddr::from((*address, port)),
                process: None,
                relay: None,
                pod: None,
            };
            addresses.iter().map(backend).collect()
        };
        let mut fleet = Self {
            arguments,
            backends: at(0),
            entry,
            network: plan.network.clone(),
            // A pod that can be cut off needs no relay to become a black hole.
            relayed: event.needs_relays() && !plan.network.can_cut_off(),
            journals: journals.to_owned(),
        };
        let mut attempt = 1;
        loop {
            match fleet.start_on_one_port(at).await {
                // The port that the first backend got may be taken on the address of another.
                Err(_) if attempt < PORT_ATTEMPTS => attempt += 1,
                started => break started?,
            }
        }
        fleet.list(&(0..BACKENDS).collect::<Vec<_>>()).await?;
        Ok(fleet)
    }

    /// Whom a client of this fleet calls.
    pub(crate) fn target(&self, plan: &Plan, strategy: Strategy) -> Target {
        let to = |authority| Target {
            strategy,
            authority,
            dns: None,
            api_server: None,
            deadline: plan.churn_deadline,
            clients: 1,
        };
        match &self.entry {
            Entry::Name(dns) => {
                let target = to(format!("{SERVICE_NAME}:{}", self.backends[0].address.port()));
                Target { dns: Some(dns.address), ..target }
            }
            Entry::EndpointSlices(api_server) => {
                Target { api_server: Some(api_server.address), ..to(ApiServer::target()) }
            }
            Entry::Service(service) => to(service.local_addr().to_string()),
        }
    }

    /// Does it.
    ///
    /// # Errors
    /// If a process does not start, or one that should be well does not obey.
    pub(crate) async fn obey(&mut self, action: &Action) -> Result<(), RigError> {
        match action {
            Action::Nothing => {}
            Action::Start(indices) => {
                self.start_some(indices).await?;
                self.publish_pods();
            }
            Action::List(indices) => self.list(indices).await?,
            Action::Terminate(indices) => {
                for index in indices {
                    self.backends[*index].pod = Some(PodCondition::Draining);
                }
                self.publish_pods();
                self.signal(indices, Signal::TERM);
            }
            Action::Kill(indices) => {
                self.signal(indices, Signal::KILL);
                for index in indices {
                    if let Some(mut process) = self.backends[*index].process.take() {
                        process.ended().await?;
                    }
                }
            }
            Action::Suspend(index) => self.signal(&[*index], Signal::STOP),
            Action::Swallow(index) => {
                let backend = &self.backends[*index];
                match (&backend.relay, &backend.process) {
                    (Some(relay), _) => relay.swallow(),
                    (None, Some(process)) => process.pod().cut_off().await?,
                    (None, None) => {}
                }
            }
            Action::Fault(index, fault) => {
                if let Some(process) = &mut self.backends[*index].process {
                    match process.ask(&ToServer::Fault(*fault)).await? {
                        FromServer::Obeyed => {}
                        other => return Err(process.error(format!("answered with {other:?}")).into()),
                    }
                }
            }
            Action::Dns(trouble) => {
                if let Entry::Name(dns) = &self.entry {
                    dns.set_trouble(*trouble);
                }
            }
        }
        Ok(())
    }

    /// How many calls each backend has begun to execute so far.
    pub(crate) fn executions(&self) -> Vec<u64> {
        (0..FLEET).map(|index| journal::length(&journal_path(&self.journals, index))).collect()
    }

    /// The calls that all backends have executed, also those that are no more: once per execution.
    ///
    /// # Errors
    /// If a journal cannot be read.
    pub(crate) fn executed(&self) -> Result<Vec<u64>, RigError> {
        let mut executed = Vec::new();
        for index in 0..FLEET {
            executed.extend(journal::read(&journal_path(&self.journals, index))?);
        }
        Ok(executed)
    }

    async fn start_on_one_port(&mut self, at: impl Fn(u16) -> Vec<Backend>) -> Result<(), RigError> {
        self.backends = at(0);
        self.start_some(&[0]).await?;
        let first = self.backends.swap_remove(0);
        self.backends = at(first.address.port());
        self.backends[0] = first;
        self.start_some(&(1..BACKENDS).collect::<Vec<_>>()).await
    }

    /// All at once, then waits for each.
    async fn start_some(&mut self, indices: &[usize]) -> Result<(), RigError> {
        for index in indices {
            // Behind a relay the server is not at the address that clients know.
            let listen = match self.relayed {
                true => SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
                false => self.backends[*index].address,
            };
            let mut arguments = self.arguments[*index].clone();
            arguments.extend(["--listen".into(), listen.to_string()]);
            let pod = self.network.pod(self.backends[*index].host).await?;
            self.backends[*index].process = Some(Process::spawn(pod, &backend_name(*index), &arguments)?);
            self.backends[*index].pod = Some(PodCondition::Unready);
        }
        for index in indices {
            let backend = &mut self.backends[*index];
            let Some(process) = &mut backend.process else { continue };
            let bound = match process.receive().await? {
                FromServer::Ready { addresses } => addresses.first().copied(),
                other => return Err(process.error(format!("began with {other:?}")).into()),
            };
            let Some(bound) = bound else { return Err(process.error("listens nowhere").into()) };
            backend.address = match self.relayed {
                true => {
                    let relay = Relay::bind(backend.address, bound).await?;
                    let address = relay.local_addr();
                    backend.relay = Some(relay);
                    address
                }
                false => bound,
            };
        }
        Ok(())
    }

    async fn list(&mut self, indices: &[usize]) -> Result<(), RigError> {
        for (index, backend) in self.backends.iter_mut().enumerate() {
            backend.pod = match (backend.pod, indices.contains(&index)) {
                (_, true) => Some(PodCondition::Ready),
                // Who is no longer listed and lives has been deleted, and who does not has crashed.
                (Some(PodCondition::Ready), false) if backend.process.is_some() => {
                    Some(PodCondition::Leaving)
                }
                (Some(PodCondition::Ready), false) => Some(PodCondition::Unready),
                (other, false) => other,
            };
        }
        self.publish_pods();
        let addresses: Vec<_> = indices.iter().map(|index| self.backends[*index].address).collect();
        match &self.entry {
            Entry::Name(dns) => {
                publish(dns, &addresses);
            }
            Entry::EndpointSlices(_) => {}
            Entry::Service(service) => service.set_backends(addresses).await?,
        }
        Ok(())
    }

    /// Tells the API server, where there is one, of all pods that were ever started: one that is
    /// gone stays as the drained one that it was.
    fn publish_pods(&self) {
        let Entry::EndpointSlices(api_server) = &self.entry else { return };
        let pods = self.backends.iter().filter_map(|backend| Some((backend.address, backend.pod?)));
        let pods: Vec<_> = pods.map(|(address, condition)| (address.ip(), condition)).collect();
        api_server.set_pods(self.backends[0].address.port(), &pods);
    }

    fn signal(&self, indices: &[usize], signal: Signal) {
        for process in indices.iter().filter_map(|index| self.backends[*index].process.as_ref()) {
            process.signal(signal);
        }
    }
}

fn arguments(plan: &Plan, strategy: Strategy, event: Event, index: usize, journals: &Path) -> Vec<String> {
    let mut arguments = vec!["serve".to_owned(), "--control".into(), "--name".into(), backend_name(index)];
    arguments.extend(SERVER_LIMITS.map(str::to_owned));
    arguments.extend(["--journal".into(), journal_path(journals, index).display().to_string()]);
    arguments.extend(["--service-time".into(), duration_argument(SERVICE_TIME)]);
    arguments.extend(event.server_arguments().iter().map(|&argument| argument.to_owned()));
    let age = match (event.ages_quickly(), strategy.ages()) {
        (true, _) => Some(plan.max_age),
        (false, true) => Some(plan.churn_age),
        (false, false) => None,
    };
    if let Some(age) = age {
        // One stream per backend, or all would age their n-th connections at the same age.
        let seed = u64::from(plan.seed) | (index as u64) << 32;
        arguments.extend(["--seed".into(), seed.to_string()]);
        arguments.extend(["--max-connection-age".into(), duration_argument(age)]);
        arguments.extend(["--max-connection-age-grace".into(), duration_argument(plan.max_age_grace)]);
    }
    arguments
}

fn journal_path(journals: &Path, index: usize) -> PathBuf {
    journals.join(backend_name(index))
}

/// Tries to find a port that is free on the addresses of all backends.
const PORT_ATTEMPTS: u32 = 5;
