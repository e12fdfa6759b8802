//! The servers of one strategy while something happens to them.
//!
//! They obey [`Action`]s; when those are due is the business of `stand`.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use meshless_testkit::api_server::PodCondition;
use rustix::process::Signal;

use super::front::Front;
use super::machine::Local;
use super::rig::server_arguments;
use super::server::{self, backend_name};
use crate::control::{FromServer, Target, ToServer};
use crate::event::{Action, BACKENDS, Event, FLEET};
use crate::fleet::error::FleetError;
use crate::fleet::load::Conditions;
use crate::journal;
use crate::network::Relay;
use crate::process::Process;
use crate::strategy::Strategy;

/// Running servers, and what leads to them.
pub(super) struct Backends {
    local: Local,
    /// How each is started, beside where it listens, what it is called and its journal.
    arguments: Vec<String>,
    all: Vec<Backend>,
    front: Front,
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

impl Backends {
    /// Starts the servers that an event begins with; `journals` is a folder of theirs alone.
    ///
    /// # Errors
    /// If a process does not start or a port cannot be bound.
    pub(super) async fn start(
        local: &Local,
        conditions: &Conditions,
        strategy: Strategy,
        event: Event,
        journals: &Path,
    ) -> Result<Self, FleetError> {
        let mut arguments = server_arguments(conditions, strategy.ages() || event.ages_quickly());
        arguments.extend(event.server_arguments().iter().map(|&argument| argument.to_owned()));
        let front = Front::open(local, strategy.entrance(), &[]).await?;
        // Strategies run side by side; where each has addresses of its own, these are this one's.
        let addresses = local.addresses(FLEET);
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
        let mut backends = Self {
            local: local.clone(),
            arguments,
            all: at(0),
            front,
            // A pod that can be cut off needs no relay to become a black hole.
            relayed: event.needs_relays() && !local.network.can_cut_off(),
            journals: journals.to_owned(),
        };
        let mut attempt = 1;
        loop {
            match backends.start_on_one_port(at).await {
                // The port that the first one got may be taken on the address of another.
                Err(_) if attempt < server::PORT_ATTEMPTS => attempt += 1,
                started => break started?,
            }
        }
        backends.list(&(0..BACKENDS).collect::<Vec<_>>()).await?;
        Ok(backends)
    }

    /// Whom a client calls.
    pub(super) fn target(&self, strategy: Strategy, deadline: Duration) -> Target {
        self.front.target(strategy, self.all[0].address.port(), deadline, 1)
    }

    /// Does it.
    ///
    /// # Errors
    /// If a process does not start, or one that should be well does not obey.
    pub(super) async fn obey(&mut self, action: &Action) -> Result<(), FleetError> {
        match action {
            Action::Nothing => {}
            Action::Start(indices) => {
                self.start_some(indices).await?;
                self.publish_pods();
            }
            Action::List(indices) => self.list(indices).await?,
            Action::Terminate(indices) => {
                for index in indices {
                    self.all[*index].pod = Some(PodCondition::Draining);
                }
                self.publish_pods();
                self.signal(indices, Signal::TERM);
            }
            Action::Kill(indices) => {
                self.signal(indices, Signal::KILL);
                for index in indices {
                    if let Some(mut process) = self.all[*index].process.take() {
                        process.ended().await?;
                    }
                }
            }
            Action::Suspend(index) => self.signal(&[*index], Signal::STOP),
            Action::Swallow(index) => {
                let backend = &self.all[*index];
                match (&backend.relay, &backend.process) {
                    (Some(relay), _) => relay.swallow(),
                    (None, Some(process)) => process.pod().cut_off().await?,
                    (None, None) => {}
                }
            }
            Action::Fault(index, fault) => {
                if let Some(process) = &mut self.all[*index].process {
                    match process.ask(&ToServer::Fault(*fault)).await? {
                        FromServer::Obeyed => {}
                        other => return Err(process.error(format!("answered with {other:?}")).into()),
                    }
                }
            }
            Action::Dns(trouble) => self.front.set_dns_trouble(*trouble),
        }
        Ok(())
    }

    /// How many calls each backend has begun to execute so far.
    pub(super) fn executions(&self) -> Vec<u64> {
        (0..FLEET).map(|index| journal::length(&journal_path(&self.journals, index))).collect()
    }

    /// The calls that all backends have executed, also those that are no more: once per execution.
    ///
    /// # Errors
    /// If a journal cannot be read.
    pub(super) fn executed(&self) -> Result<Vec<u64>, FleetError> {
        let mut executed = Vec::new();
        for index in 0..FLEET {
            executed.extend(journal::read(&journal_path(&self.journals, index))?);
        }
        Ok(executed)
    }

    async fn start_on_one_port(&mut self, at: impl Fn(u16) -> Vec<Backend>) -> Result<(), FleetError> {
        self.all = at(0);
        self.start_some(&[0]).await?;
        let first = self.all.swap_remove(0);
        self.all = at(first.address.port());
        self.all[0] = first;
        self.start_some(&(1..BACKENDS).collect::<Vec<_>>()).await
    }

    /// All at once, then waits for each.
    async fn start_some(&mut self, indices: &[usize]) -> Result<(), FleetError> {
        for index in indices {
            let backend = &mut self.all[*index];
            // Behind a relay the server is not at the address that clients know.
            let listen = match self.relayed {
                true => SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
                false => backend.address,
            };
            let mut arguments = self.arguments.clone();
            let journal = journal_path(&self.journals, *index);
            arguments.extend(["--journal".into(), journal.display().to_string()]);
            let process = server::start(&self.local, backend.host, listen, *index, &arguments).await?;
            backend.process = Some(process);
            backend.pod = Some(PodCondition::Unready);
        }
        for index in indices {
            let backend = &mut self.all[*index];
            let Some(process) = &mut backend.process else { continue };
            let bound = server::listening(process).await?;
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

    async fn list(&mut self, indices: &[usize]) -> Result<(), FleetError> {
        for (index, backend) in self.all.iter_mut().enumerate() {
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
        let addresses: Vec<_> = indices.iter().map(|index| self.all[*index].address).collect();
        self.front.list(&addresses).await
    }

    /// Tells the API server, where there is one, of all pods that were ever started: one that is
    /// gone stays as the drained one that it was.
    fn publish_pods(&self) {
        let pods = self.all.iter().filter_map(|backend| Some((backend.address, backend.pod?)));
        self.front.set_pods(&pods.collect::<Vec<_>>());
    }

    fn signal(&self, indices: &[usize], signal: Signal) {
        for process in indices.iter().filter_map(|index| self.all[*index].process.as_ref()) {
            process.signal(signal);
        }
    }
}

fn journal_path(journals: &Path, index: usize) -> PathBuf {
    journals.join(backend_name(index))
}
