//! What goes wrong, and when: faults at random instants, one at a time on each host, and the way
//! back from each.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use meshless::Endpoint;
use meshless::resolver::{Resolution, ResolveError};
use meshless_core::Rng;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::backend::Backends;
use crate::log::{Designed, Kind, Log};
use crate::network::{LATENCY, Network, address};
use crate::scenario::{Fault, Scenario, ms};

/// Everything that a fault can touch.
pub(crate) struct World {
    pub(crate) network: Arc<Network>,
    pub(crate) backends: Arc<Backends>,
    pub(crate) directory: Directory,
    pub(crate) log: Arc<Log>,
    /// Hosts with a fault under way.
    pub(crate) busy: Mutex<BTreeSet<usize>>,
}

/// Which hosts there are, and what the resolver says of it.
pub(crate) struct Directory {
    members: Mutex<BTreeSet<usize>>,
    answers: mpsc::Sender<Resolution>,
    log: Arc<Log>,
}

impl Directory {
    pub(crate) fn new(members: BTreeSet<usize>, log: &Arc<Log>) -> (Self, mpsc::Receiver<Resolution>) {
        let (answers, resolver) = mpsc::channel(ANSWERS_MAX);
        (Self { members: Mutex::new(members), answers, log: Arc::clone(log) }, resolver)
    }

    pub(crate) fn members(&self) -> Vec<usize> {
        self.members.lock().unwrap().iter().copied().collect()
    }

    fn change(&self, change: impl FnOnce(&mut BTreeSet<usize>)) {
        change(&mut self.members.lock().unwrap());
        self.tell(&self.members());
    }

    /// The resolver answers with these hosts.
    pub(crate) fn tell(&self, hosts: &[usize]) {
        self.log.list(hosts);
        self.answer(Ok(hosts.iter().map(|host| Endpoint::new(address(*host))).collect()));
    }

    fn answer(&self, resolution: Resolution) {
        self.answers.try_send(resolution).expect("the channel reads its resolver");
    }
}

/// Lets faults happen until `end`, and returns when everything is well again.
pub(crate) async fn run(world: Arc<World>, scenario: Scenario, mut rng: Rng, end: Instant) {
    let mut under_way = JoinSet::new();
    while Instant::now() < end {
        sleep(rng.jittered(scenario.fault_interval, 0.9)).await;
        let fault = scenario.faults[rng.below(scenario.faults.len())];
        let free: Vec<_> = {
            let busy = world.busy.lock().unwrap();
            world.directory.members().into_iter().filter(|host| !busy.contains(host)).collect()
        };
        if free.is_empty() {
            continue;
        }
        let host = free[rng.below(free.len())];
        let rng = Rng::new(rng.next_u64(), 0);
        let world = Arc::clone(&world);
        world.busy.lock().unwrap().insert(host);
        under_way.spawn(async move {
            world.suffer(fault, host, rng).await;
            world.busy.lock().unwrap().remove(&host);
        });
        while under_way.try_join_next().is_some() {}
    }
    while under_way.join_next().await.is_some() {}
    world.directory.tell(&world.directory.members());
}

impl World {
    async fn suffer(&self, fault: Fault, host: usize, mut rng: Rng) {
        let Self { network, backends, directory, log, .. } = self;
        let while_it_lasts = Self::duration(&mut rng);
        tracing::info!(host, ?fault, "fault");
        match fault {
            Fault::Crash => {
                log.disturb(host, Kind::Killed);
                backends.kill(host);
                sleep(while_it_lasts).await;
                backends.start(host);
                log.recover(host);
            }
            Fault::Partition => {
                log.disturb(host, Kind::Held);
                network.hold(host, true);
                sleep(while_it_lasts).await;
                network.hold(host, false);
                log.recover(host);
            }
            Fault::NodeLoss => {
                log.disturb(host, Kind::Held);
                log.disturb(host, Kind::Killed);
                network.hold(host, true);
                backends.kill(host);
                sleep(while_it_lasts).await;
                backends.start(host);
                network.hold(host, false);
                log.recover(host);
            }
            Fault::Latency => {
                let latency = ms(5 + rng.below(150) as u64);
                log.disturb(host, Kind::Far(latency));
                network.set_latency(host, latency);
                sleep(while_it_lasts).await;
                network.set_latency(host, LATENCY);
                log.recover(host);
            }
            Fault::Drain => {
                log.disturb(host, Kind::Drained);
                backends.drain(host);
                sleep(while_it_lasts).await;
                backends.start(host);
                log.recover(host);
            }
            Fault::Replace => self.replace(host, &mut rng).await,
            Fault::GoAwayStorm => {
                for _ in 0..2 + rng.below(10) {
                    backends.drain(host);
                    backends.start(host);
                    sleep(ms(rng.below(300) as u64)).await;
                }
                log.recover(host);
            }
            Fault::ResolverError => {
                let name = || "backend.sim".to_owned();
                directory.answer(Err(match rng.below(3) {
                    0 => ResolveError::NoSuchName { name: name() },
                    1 => ResolveError::Timeout { name: name(), after: while_it_lasts },
                    _ => ResolveError::Dns { name: name(), reason: "SERVFAIL".to_owned() },
                }));
                sleep(while_it_lasts).await;
                directory.tell(&directory.members());
            }
            Fault::ResolverEmpty => {
                directory.answer(Ok(Vec::new()));
                sleep(while_it_lasts).await;
                directory.tell(&directory.members());
            }
            Fault::ResolverFlap => {
                for _ in 0..1 + rng.below(10) {
                    let mut some = directory.members();
                    rng.shuffle(&mut some);
                    some.truncate(1 + rng.below(some.len()));
                    directory.tell(&some);
                    sleep(ms(rng.below(500) as u64)).await;
                    directory.tell(&directory.members());
                    sleep(ms(rng.below(500) as u64)).await;
                }
            }
            Fault::Slow => {
                backends.set_mood(host, Designed::Answer, 3);
                sleep(while_it_lasts).await;
                backends.set_mood(host, Designed::Answer, 1);
            }
            Fault::Failing(code) => self.sicken(host, Designed::Fail(code), while_it_lasts).await,
            Fault::Hanging => self.sicken(host, Designed::Hang, while_it_lasts).await,
        }
    }

    async fn sicken(&self, host: usize, designed: Designed, while_it_lasts: Duration) {
        self.log.disturb(host, Kind::Sick);
        self.backends.set_mood(host, designed, 1);
        sleep(while_it_lasts).await;
        self.backends.set_mood(host, Designed::Answer, 1);
        self.log.recover(host);
    }

    /// A rolling update of one backend. Its successor is ready before it is listed; it leaves
    /// before or after it is unlisted.
    async fn replace(&self, host: usize, rng: &mut Rng) {
        let Some(successor) = (0..HOSTS_MAX).find(|host| {
            !self.backends.is_running(*host)
                && !self.directory.members().contains(host)
                && self.busy.lock().unwrap().insert(*host)
        }) else {
            return;
        };
        self.backends.start(successor);
        sleep(ms(rng.below(1000) as u64)).await;
        self.directory.change(|members| _ = members.insert(successor));
        sleep(ms(rng.below(3000) as u64)).await;
        if rng.below(2) == 0 {
            self.log.disturb(host, Kind::Drained);
            self.backends.drain(host);
            sleep(ms(rng.below(3000) as u64)).await;
            self.directory.change(|members| _ = members.remove(&host));
        } else {
            self.directory.change(|members| _ = members.remove(&host));
            sleep(ms(rng.below(3000) as u64)).await;
            self.log.disturb(host, Kind::Drained);
            self.backends.drain(host);
        }
        self.busy.lock().unwrap().remove(&successor);
        // Its address may be given to another pod after a while.
        sleep(ms(6000)).await;
        self.log.recover(host);
    }

    /// Short ones and long ones alike.
    fn duration(rng: &mut Rng) -> Duration {
        [ms(50), ms(1000), ms(5000), ms(15_000)][rng.below(4)].mul_f64(0.5 + rng.unit())
    }
}

/// Hosts that there are.
pub(crate) const HOSTS_MAX: usize = 16;

/// Answers of the resolver that the channel has not read yet.
const ANSWERS_MAX: usize = 64;
