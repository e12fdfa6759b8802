//! The owner of all services: what is declared, what clients dial, what sources say.
//!
//! ```text
//!   sources ──▶ Held ─┐
//!   policies ─────────┼─▶ Registry ──(debounced)──▶ Snapshot ──▶ streams
//!   streams' names ───┘
//! ```
//!
//! One task owns it. Streams read snapshots and tell which names they want; nothing else is shared.

mod entry;

use std::collections::{BTreeMap, BTreeSet};
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use meshless::Resolver;
use meshless::resolver::Resolution;
use meshless_core::Debounce;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant as TokioInstant, sleep_until};

use crate::hold::{Held, Known};
use crate::policy::PolicyBook;
use crate::snapshot::{Service, Snapshot};
use crate::source::{Declared, Source, Sources};
use crate::stats::Stats;
use crate::status::{ServiceState, ServiceStatus};
use entry::{Entry, SourceTask};

/// What the registry is told.
#[derive(Debug)]
pub(crate) enum Command {
    /// A stream wants these services.
    Subscribe { names: Vec<Arc<str>>, zone: Option<Arc<str>> },
    /// A stream wants these no longer.
    Unsubscribe { names: Vec<Arc<str>>, zone: Option<Arc<str>> },
    /// A source has answered.
    Resolved { name: Arc<str>, epoch: u64, resolution: Resolution, resolved_by: Option<Arc<str>> },
    /// A namespace can be read.
    Probed { namespace: String },
    /// Other policies hold.
    Policies(PolicyBook),
    /// These are declared, and no others.
    Declared(Declared),
    /// Somebody wants to see the services.
    Report(oneshot::Sender<Vec<ServiceStatus>>),
}

/// Sends commands. The queue has no bound of its own: streams send only when their names change,
/// which their rate of requests bounds, and sources wait for events of theirs.
pub(crate) type Commands = mpsc::UnboundedSender<Command>;

pub(crate) struct Registry {
    entries: BTreeMap<Arc<str>, Entry>,
    sources: Sources,
    policies: PolicyBook,
    hold: Duration,
    /// Namespaces that have not been read yet.
    unread: BTreeSet<String>,
    probes: Vec<SourceTask>,
    /// Services that clients are to be told of anew, and whether listener or cluster changed too.
    changed: BTreeMap<Arc<str>, bool>,
    snapshot: watch::Sender<Arc<Snapshot>>,
    ready: watch::Sender<bool>,
    commands: Commands,
    stats: Arc<Stats>,
    last_epoch: u64,
}

/// What a registry is made of.
pub(crate) struct RegistryConfig {
    pub(crate) sources: Sources,
    pub(crate) policies: PolicyBook,
    pub(crate) declared: Declared,
    pub(crate) hold: Duration,
    pub(crate) debounce: Debounce,
}

/// What others have of it.
#[derive(Clone, Debug)]
pub(crate) struct RegistryHandle {
    pub(crate) commands: Commands,
    pub(crate) snapshot: watch::Receiver<Arc<Snapshot>>,
    pub(crate) ready: watch::Receiver<bool>,
}

/// Starts a registry on this runtime. It ends when the task does, whose handle the caller keeps.
pub(crate) fn start(
    config: RegistryConfig,
    stats: Arc<Stats>,
) -> (RegistryHandle, tokio::task::JoinHandle<()>) {
    let (commands, received) = mpsc::unbounded_channel();
    let (snapshot, snapshots) = watch::channel(Arc::default());
    let (ready, is_ready) = watch::channel(false);
    let handle = RegistryHandle { commands: commands.clone(), snapshot: snapshots, ready: is_ready };
    let unread = config.sources.namespaces.iter().cloned().collect();
    let registry = Registry {
        entries: BTreeMap::new(),
        sources: config.sources,
        policies: config.policies,
        hold: config.hold,
        unread,
        probes: Vec::new(),
        changed: BTreeMap::new(),
        snapshot,
        ready,
        commands,
        stats,
        last_epoch: 0,
    };
    let task = tokio::spawn(registry.run(config.declared, config.debounce, received));
    (handle, task)
}

impl Registry {
    async fn run(
        mut self,
        declared: Declared,
        mut debounce: Debounce,
        mut commands: mpsc::UnboundedReceiver<Command>,
    ) {
        self.handle_declared(declared);
        self.probe_namespaces();
        let mut swept = now();
        loop {
            if !self.changed.is_empty() {
                debounce.handle_change(now());
            }
            let held = self.entries.values().filter_map(|entry| entry.held.poll_timeout()).min();
            let wake =
                [debounce.poll_timeout(), held, Some(swept + SWEEP_INTERVAL)].into_iter().flatten().min();
            tokio::select! {
                command = commands.recv() => match command {
                    Some(command) => self.handle_command(command),
                    None => return,
                },
                () = sleep_until(TokioInstant::from_std(wake.unwrap_or_else(now))) => {}
            }
            let now = now();
            self.handle_timeout(now);
            if now >= swept + SWEEP_INTERVAL {
                swept = now;
                self.sweep(now);
            }
            if debounce.take_due(now) {
                self.publish();
            }
            self.update_readiness();
            self.count();
        }
    }

    fn handle_command(&mut self, command: Command) {
        match command {
            Command::Subscribe { names, zone } => {
                for name in names {
                    self.subscribe(name, zone.clone());
                }
            }
            Command::Unsubscribe { names, zone } => {
                for name in names {
                    if let Some(entry) = self.entries.get_mut(&name)
                        && entry.remove_client(&zone, now())
                    {
                        self.changed.entry(name).or_default();
                    }
                }
            }
            Command::Resolved { name, epoch, resolution, resolved_by } => {
                self.handle_resolution(name, epoch, resolution, resolved_by);
            }
            Command::Probed { namespace } => {
                self.unread.remove(&namespace);
            }
            Command::Policies(policies) => self.handle_policies(policies),
            Command::Declared(declared) => self.handle_declared(declared),
            // Who asked may have gone.
            Command::Report(reply) => drop(reply.send(self.report(now()))),
        }
    }

    fn subscribe(&mut self, name: Arc<str>, zone: Option<Arc<str>>) {
        if !self.entries.contains_key(&name) && !self.add_undeclared(&name) {
            return;
        }
        if let Some(entry) = self.entries.get_mut(&name)
            && entry.add_client(zone)
        {
            self.changed.entry(name).or_default();
        }
    }

    /// Returns false if there is no room: the name then stays unanswered, and others are unharmed.
    fn add_undeclared(&mut self, name: &Arc<str>) -> bool {
        if self.entries.values().filter(|entry| entry.declared.is_none()).count() >= UNDECLARED_MAX {
            let missing =
                self.entries.values().find(|entry| entry.is_missing()).map(|entry| entry.name.clone());
            let Some(missing) = missing else {
                tracing::warn!(%name, "{UNDECLARED_MAX} services are dialled that nobody has declared; one more is not served");
                return false;
            };
            self.remove(&missing);
        }
        let mut entry = self.entry(name, None);
        match self.sources.undeclared(name) {
            Ok(resolver) => self.follow(&mut entry, resolver),
            Err(refusal) => entry.refusal = Some(refusal.into()),
        }
        self.entries.insert(Arc::clone(name), entry);
        self.changed.insert(Arc::clone(name), true);
        true
    }

    fn handle_declared(&mut self, declared: Declared) {
        let gone: Vec<_> = self
            .entries
            .values()
            .filter(|entry| entry.declared.is_some() && !declared.contains_key(&entry.name))
            .map(|entry| Arc::clone(&entry.name))
            .collect();
        gone.iter().for_each(|name| self.undeclare(name));
        for (name, source) in declared {
            match self.entries.remove(&name) {
                Some(entry) if entry.declared.as_ref() == Some(&source) => {
                    self.entries.insert(name, entry);
                }
                Some(entry) => self.declare(entry, source),
                None => {
                    let entry = self.entry(&name, None);
                    self.declare(entry, source);
                }
            }
        }
    }

    /// A service with clients becomes one that is only dialled.
    fn undeclare(&mut self, name: &Arc<str>) {
        tracing::info!(%name, "no longer declared");
        let Some(mut entry) = self.entries.remove(name) else { return };
        self.changed.insert(Arc::clone(name), true);
        if entry.clients() == 0 {
            return;
        }
        entry.declared = None;
        match self.sources.undeclared(name) {
            Ok(resolver) => self.follow(&mut entry, resolver),
            Err(refusal) => entry.refusal = Some(refusal.into()),
        }
        self.entries.insert(Arc::clone(name), entry);
    }

    /// The service has this source from now on. What is known of it holds until that answers.
    fn declare(&mut self, mut entry: Entry, source: Source) {
        entry.refusal = None;
        match self.sources.declared(&source) {
            Ok(resolver) => self.follow(&mut entry, resolver),
            Err(error) => tracing::error!(name = %entry.name, %error, "the declared service has no source"),
        }
        entry.declared = Some(source);
        self.changed.insert(Arc::clone(&entry.name), true);
        self.entries.insert(Arc::clone(&entry.name), entry);
    }

    fn handle_resolution(
        &mut self,
        name: Arc<str>,
        epoch: u64,
        resolution: Resolution,
        resolved_by: Option<Arc<str>>,
    ) {
        let Some(entry) = self.entries.get_mut(&name).filter(|entry| entry.epoch == epoch) else { return };
        let was_holding = entry.held.holding_since().is_some();
        let had_trouble = entry.held.trouble().is_some();
        entry.was_tried = true;
        entry.resolved_by = resolved_by;
        let changed = entry.held.handle_resolution(now(), resolution);
        let is_holding = entry.held.holding_since().is_some();
        match entry.held.trouble() {
            Some(trouble) if is_holding && !was_holding => {
                tracing::warn!(%name, trouble, hold = ?self.hold, "the last endpoints are held");
            }
            Some(trouble) if !had_trouble => tracing::warn!(%name, trouble, "the source gives no endpoints"),
            None if had_trouble => tracing::info!(%name, "the source gives endpoints again"),
            _ => {}
        }
        if changed {
            self.changed.entry(name).or_default();
        }
    }

    fn handle_policies(&mut self, policies: PolicyBook) {
        for (name, entry) in &mut self.entries {
            if entry.set_policy(policies.policy(name)) {
                self.changed.insert(Arc::clone(name), true);
            }
        }
        self.policies = policies;
    }

    fn handle_timeout(&mut self, now: Instant) {
        for (name, entry) in &mut self.entries {
            if entry.held.handle_timeout(now) {
                tracing::warn!(%name, "the held endpoints are given up: the source has named none for too long");
                self.changed.entry(Arc::clone(name)).or_default();
            }
        }
    }

    /// Forgets what was dialled and is not any more.
    fn sweep(&mut self, now: Instant) {
        let is_over = |entry: &Entry| {
            let keep = if entry.is_missing() { UNUSED_MISSING_MAX } else { UNUSED_MAX };
            entry.unused_since().is_some_and(|since| now.saturating_duration_since(since) >= keep)
        };
        let over: Vec<_> = self
            .entries
            .values()
            .filter(|entry| is_over(entry))
            .map(|entry| Arc::clone(&entry.name))
            .collect();
        over.iter().for_each(|name| self.remove(name));
    }

    fn remove(&mut self, name: &Arc<str>) {
        self.entries.remove(name);
        self.changed.insert(Arc::clone(name), true);
    }

    fn publish(&mut self) {
        let mut services = self.snapshot.borrow().services.clone();
        for (name, is_new) in std::mem::take(&mut self.changed) {
            let Some(entry) = self.entries.get(&name) else {
                services.remove(&name);
                continue;
            };
            let before: Option<&Service> = services.get(&name).filter(|_| !is_new).map(|service| &**service);
            let service = Arc::new(entry.service(before, &self.stats));
            services.insert(name, service);
        }
        self.snapshot.send_replace(Arc::new(Snapshot { services }));
    }

    /// Ready once every namespace has been listed, and every declared service has endpoints or a
    /// reason not to; and from then on.
    fn update_readiness(&mut self) {
        if *self.ready.borrow() || !self.changed.is_empty() || !self.unread.is_empty() {
            return;
        }
        let is_known = |entry: &Entry| match &entry.declared {
            None => true,
            Some(Source::Target(target)) if is_kubernetes(target) => *entry.held.known() != Known::Nothing,
            Some(_) => entry.was_tried,
        };
        if self.entries.values().all(is_known) {
            tracing::info!(services = self.entries.len(), "ready: every source has been read");
            self.probes.clear();
            self.ready.send_replace(true);
        }
    }

    fn count(&self) {
        let count =
            |of: &dyn Fn(&Entry) -> bool| self.entries.values().filter(|entry| of(entry)).count() as u64;
        let set = |number: &AtomicU64, count: u64| number.store(count, Ordering::Relaxed);
        set(&self.stats.services, self.entries.len() as u64);
        set(&self.stats.services_holding, count(&|entry| entry.held.holding_since().is_some()));
        set(&self.stats.services_unreadable, count(&|entry| entry.held.trouble().is_some()));
    }

    fn entry(&self, name: &Arc<str>, declared: Option<Source>) -> Entry {
        let policy = Arc::clone(self.policies.policy(name));
        Entry::new(Arc::clone(name), declared, Held::new(self.hold), policy)
    }

    fn follow(&mut self, entry: &mut Entry, mut resolver: Box<dyn Resolver>) {
        self.last_epoch += 1;
        entry.epoch = self.last_epoch;
        let (epoch, name, commands) = (entry.epoch, Arc::clone(&entry.name), self.commands.clone());
        let task = tokio::spawn(async move {
            loop {
                let resolution = poll_fn(|cx| resolver.poll_resolution(cx)).await;
                let resolved_by = resolver.source();
                let name = Arc::clone(&name);
                if commands.send(Command::Resolved { name, epoch, resolution, resolved_by }).is_err() {
                    return;
                }
            }
        });
        entry.task = Some(SourceTask(task.abort_handle()));
    }

    #[cfg(feature = "kubernetes")]
    fn probe_namespaces(&mut self) {
        for namespace in self.unread.clone() {
            let (mut resolver, commands) = (self.sources.probe(&namespace), self.commands.clone());
            let task = tokio::spawn(async move {
                loop {
                    match poll_fn(|cx| resolver.poll_resolution(cx)).await {
                        Err(error) if !error.says_gone() => {
                            tracing::warn!(namespace, %error, "cannot read the namespace; not ready");
                        }
                        _ => return drop(commands.send(Command::Probed { namespace })),
                    }
                }
            });
            self.probes.push(SourceTask(task.abort_handle()));
        }
    }

    #[cfg(not(feature = "kubernetes"))]
    fn probe_namespaces(&mut self) {
        self.unread.clear();
    }

    fn report(&self, now: Instant) -> Vec<ServiceStatus> {
        let age = |at: Option<Instant>| at.map(|at| now.saturating_duration_since(at).as_secs());
        let status = |entry: &Entry| ServiceStatus {
            name: entry.name.to_string(),
            declared: entry.declared.is_some(),
            state: match (&entry.refusal, entry.held.known()) {
                (Some(_), _) => ServiceState::Missing,
                (None, Known::Nothing) => ServiceState::Waiting,
                (None, Known::NoService(_)) => ServiceState::Missing,
                (None, Known::Endpoints(_)) if entry.held.holding_since().is_some() => ServiceState::Holding,
                (None, Known::Endpoints(endpoints)) if endpoints.is_empty() => ServiceState::Empty,
                (None, Known::Endpoints(_)) => ServiceState::Ok,
            },
            endpoints: match entry.held.known() {
                Known::Endpoints(endpoints) => endpoints
                    .iter()
                    .map(|endpoint| (endpoint.address.to_string(), endpoint.zone.clone()))
                    .collect(),
                _ => Vec::new(),
            },
            clients: entry.clients(),
            source: entry.resolved_by.as_deref().map(str::to_owned),
            policies: entry.policy().balancing.iter().map(|policy| policy.name().to_owned()).collect(),
            trouble: entry.refusal.as_deref().or(entry.held.trouble()).map(str::to_owned),
            holding_seconds: age(entry.held.holding_since()),
            answered_seconds_ago: age(entry.held.heard()),
        };
        self.entries.values().map(status).collect()
    }
}

fn is_kubernetes(target: &meshless::Target) -> bool {
    matches!(target.kind(), meshless::resolver::TargetKind::Kubernetes { .. })
}

/// tokio's clock, which tests can stop.
fn now() -> Instant {
    TokioInstant::now().into_std()
}

/// Services that clients dial without anyone having declared them. Each is a watch of its own.
const UNDECLARED_MAX: usize = 2_000;
/// A service that nobody dials any more is followed for so long, so that a client that comes back is
/// answered at once.
const UNUSED_MAX: Duration = Duration::from_secs(600);
const UNUSED_MISSING_MAX: Duration = Duration::from_secs(60);
const SWEEP_INTERVAL: Duration = Duration::from_secs(10);
