//! One run: a world, a channel in it, a minute of faults under load, half a minute of peace, and an
//! end that leaves nothing.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::hash::{Hash, Hasher};
use std::num::NonZeroU32;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Once};
use std::time::Duration;

use meshless::Channel;
use meshless::balancing::{BackoffConfig, BalancerConfig, EjectionConfig};
use meshless_core::Rng;
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep};

use crate::backend::Backends;
use crate::faults::{self, Directory, HOSTS_MAX, World};
use crate::invariants;
use crate::log::{CallEnd, Log};
use crate::network::{Dialler, Network};
use crate::scenario::{Repeat, Scenario, ms};
use crate::workload;

/// What a run came to.
pub(crate) struct Report {
    scenario: Scenario,
    /// What was broken.
    pub(crate) broken: Vec<String>,
    /// Of every frame that passed and when, and of every call: when and how it ended, and where it was
    /// executed.
    pub(crate) digest: u64,
    failed: Vec<String>,
    calls: usize,
}

/// Runs a scenario to its end.
pub(crate) fn run(scenario: &Scenario) -> Report {
    hear_panics();
    SEED.set(Some(scenario.seed));
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let ran = catch_unwind(AssertUnwindSafe(|| runtime.block_on(simulate(scenario))));
    let panics = PANICS.with_borrow_mut(std::mem::take);
    SEED.set(None);
    let mut report = ran.unwrap_or_else(|_| Report::of_nothing(scenario));
    report.broken.splice(0..0, panics.into_iter().map(|panic| format!("panic: {panic}")));
    report
}

async fn simulate(scenario: &Scenario) -> Report {
    let log = Arc::new(Log::new());
    EPOCH.set(Some(log.epoch));
    let stream = |id| Rng::new(scenario.seed, id);
    let network = Arc::new(Network::new(HOSTS_MAX, stream(1), &log));
    let backends = Arc::new(Backends::new(HOSTS_MAX, scenario, &network, &log));
    (0..scenario.backends).for_each(|host| backends.start(host));
    let (directory, resolver) = Directory::new((0..scenario.backends).collect(), &log);
    directory.tell(&directory.members());
    let channel = channel(scenario, resolver, Dialler(Arc::clone(&network)));
    let world = World {
        network: Arc::clone(&network),
        backends: Arc::clone(&backends),
        directory,
        log: Arc::clone(&log),
        busy: Default::default(),
    };
    let world = Arc::new(world);

    let faults_end = log.epoch + FAULTS;
    let quiet_from = faults_end + RECOVERY;
    let faults = faults::run(Arc::clone(&world), scenario.clone(), stream(2), faults_end);
    let calls =
        workload::run(channel.clone(), scenario.rate, stream(3), Arc::clone(&log), quiet_from + QUIET);
    tokio::join!(faults, calls);
    let members = world.directory.members();

    drop((channel, world));
    let late = backends.end().await;
    sleep(ms(2000)).await;
    let mut broken = invariants::check(scenario, &log.notes(), quiet_from, &members);
    if late > 0 {
        broken.push(format!("5: {late} servers still run after the time of a drain"));
    }
    let tasks = Handle::current().metrics().num_alive_tasks();
    if tasks > 0 || network.ends_alive() > 0 {
        broken.push(format!("5: {tasks} tasks and {} sockets are left", network.ends_alive()));
    }
    Report::new(scenario, broken, &log)
}

fn channel(
    scenario: &Scenario,
    resolver: tokio::sync::mpsc::Receiver<meshless::resolver::Resolution>,
    dialler: Dialler,
) -> Channel {
    let backoff = BackoffConfig::new(ms(500), 1.6, 0.2, ms(3000)).unwrap();
    let ejection = if scenario.ejects {
        let failures = NonZeroU32::new(3).expect("not zero");
        EjectionConfig::default().consecutive_failures(Some(failures)).base_time(ms(1000)).max_time(ms(5000))
    } else {
        EjectionConfig::default().consecutive_failures(None)
    };
    let balancer = BalancerConfig::new(scenario.policy).backoff(backoff).ejection(ejection);
    let mut builder = Channel::builder("dns:///backend.sim:50051")
        .balancer(balancer)
        .resolver(resolver)
        .connector(dialler)
        .seed(scenario.seed);
    builder = match scenario.repeat {
        Repeat::Never => builder,
        Repeat::OnUnavailable => builder.retry(Scenario::retry_policy()).retry_throttle(None),
        Repeat::Hedge => builder.hedging(Scenario::hedging_policy()).retry_throttle(None),
    };
    if scenario.watches_health {
        builder = builder.health_check("");
    }
    builder.connect_lazy().unwrap()
}

impl Report {
    fn new(scenario: &Scenario, broken: Vec<String>, log: &Log) -> Self {
        let notes = log.notes();
        let since = |at: &Instant| at.saturating_duration_since(log.epoch);
        let mut digest = notes.trace.clone();
        for call in &notes.calls {
            (call.id, since(&call.ended), format!("{:?}", call.end)).hash(&mut digest);
        }
        for (id, executions) in &notes.executions {
            executions.iter().for_each(|one| (id, one.host, since(&one.at)).hash(&mut digest));
        }
        let failed = notes.calls.iter().filter_map(|call| match &call.end {
            CallEnd::Failed(code, why) => Some(format!(
                "call {} from {:?} for {:?} (wait for ready: {}): {code:?}: {why}",
                call.id,
                since(&call.begun),
                call.ended - call.begun,
                call.wait_for_ready
            )),
            CallEnd::Answered | CallEnd::Cancelled => None,
        });
        let failed = failed.collect();
        Self { scenario: scenario.clone(), broken, digest: digest.finish(), failed, calls: notes.calls.len() }
    }

    fn of_nothing(scenario: &Scenario) -> Self {
        let broken = vec!["the run did not come to its end".to_owned()];
        Self { scenario: scenario.clone(), broken, digest: 0, failed: Vec::new(), calls: 0 }
    }

    pub(crate) fn calls_that_failed(&self) -> String {
        format!("{} of {} calls failed:\n{}", self.failed.len(), self.calls, self.failed.join("\n"))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {} breaks invariants: {:#?}", self.scenario.seed, self.scenario)?;
        let shown = self.broken.iter().take(SHOWN_MAX);
        shown.clone().try_for_each(|what| writeln!(f, "- {what}"))?;
        writeln!(f, "{} in all", self.broken.len())
    }
}

/// When the run on this thread began, by its own clock.
pub(crate) fn epoch() -> Option<Instant> {
    EPOCH.get()
}

thread_local! {
    static SEED: Cell<Option<u64>> = const { Cell::new(None) };
    static EPOCH: Cell<Option<Instant>> = const { Cell::new(None) };
    /// Of the run on this thread: tokio catches those of its tasks.
    static PANICS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

fn hear_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if let Some(seed) = SEED.get() {
                eprintln!("seed {seed} panics:");
            }
            PANICS.with_borrow_mut(|panics| panics.push(panic.to_string()));
            usual(panic);
        }));
    });
}

/// How long things go wrong.
const FAULTS: Duration = ms(60_000);

/// From the last fault until shares are counted; a fault under way ends in the first third of it.
const RECOVERY: Duration = ms(60_000);

/// How long shares are counted.
const QUIET: Duration = ms(15_000);

/// Breaches that are printed of a run.
const SHOWN_MAX: usize = 8;
