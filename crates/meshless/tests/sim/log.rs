//! What a run leaves behind: calls, executions, disturbances, connects, and every breach that was
//! seen on the way.
//!
//! Everything of the simulation writes it; the invariants read it at the end.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::Instant;
use tonic::Code;

/// The record of one run.
pub(crate) struct Log {
    pub(crate) epoch: Instant,
    notes: Mutex<Notes>,
}

#[derive(Default)]
pub(crate) struct Notes {
    pub(crate) calls: Vec<Call>,
    /// By the number of the call.
    pub(crate) executions: BTreeMap<u64, Vec<Execution>>,
    pub(crate) disturbances: Vec<Disturbance>,
    /// Host, and from when until when the resolver listed it.
    pub(crate) listed: Vec<(usize, Instant, Option<Instant>)>,
    /// From when until when a process listened there.
    pub(crate) connects: Vec<Instant>,
    /// Connections that were made to each host.
    pub(crate) made: BTreeMap<usize, usize>,
    /// Processes that were started on each host.
    pub(crate) started: BTreeMap<usize, usize>,
    pub(crate) violations: Vec<String>,
    /// Of everything that was traced.
    pub(crate) trace: DefaultHasher,
}

/// A call as its caller saw it.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) id: u64,
    pub(crate) streaming: bool,
    pub(crate) wait_for_ready: bool,
    pub(crate) begun: Instant,
    pub(crate) ended: Instant,
    pub(crate) deadline: Duration,
    pub(crate) end: CallEnd,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum CallEnd {
    Answered,
    Failed(Code, String),
    /// By its caller.
    Cancelled,
}

/// A handler began to work on a call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Execution {
    pub(crate) host: usize,
    pub(crate) at: Instant,
    pub(crate) designed: Designed,
}

/// How a handler was told to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Designed {
    Answer,
    Fail(Code),
    Hang,
}

/// Something is wrong with a host. A kill is a disturbance from then until its process is back.
#[derive(Clone, Debug)]
pub(crate) struct Disturbance {
    pub(crate) host: usize,
    pub(crate) kind: Kind,
    pub(crate) from: Instant,
    pub(crate) to: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The process ended without a word.
    Killed,
    /// Packets do not pass.
    Held,
    /// It drains, or is gone after that.
    Drained,
    /// Its handlers fail or hang.
    Sick,
    /// Packets take this long, one way. All else is well.
    Far(Duration),
}

impl Log {
    pub(crate) fn new() -> Self {
        Self { epoch: Instant::now(), notes: Mutex::default() }
    }

    pub(crate) fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap()
    }

    /// Something happened now, in this order. Not kept, but two runs that differ in it differ.
    pub(crate) fn trace(&self, what: impl Hash) {
        let at = self.epoch.elapsed();
        (at, what).hash(&mut self.notes().trace);
    }

    /// The breach of an invariant.
    pub(crate) fn violation(&self, what: String) {
        let at = self.epoch.elapsed();
        self.notes().violations.push(format!("at {at:?}: {what}"));
    }

    pub(crate) fn disturb(&self, host: usize, kind: Kind) {
        self.trace(("disturbed", host));
        tracing::info!(host, ?kind, "disturbed");
        self.notes().disturbances.push(Disturbance { host, kind, from: Instant::now(), to: None });
    }

    /// The host's disturbances are over.
    pub(crate) fn recover(&self, host: usize) {
        tracing::info!(host, "undisturbed");
        let now = Instant::now();
        let mut notes = self.notes();
        let open = notes.disturbances.iter_mut().filter(|one| one.host == host && one.to.is_none());
        open.for_each(|one| one.to = Some(now));
    }

    /// The resolver says that these hosts are all there are.
    pub(crate) fn list(&self, hosts: &[usize]) {
        tracing::info!(?hosts, "listed");
        let now = Instant::now();
        let mut notes = self.notes();
        let mut missing: Vec<usize> = hosts.to_vec();
        for (host, _, to) in notes.listed.iter_mut().filter(|(_, _, to)| to.is_none()) {
            match missing.iter().position(|one| one == host) {
                Some(known) => drop(missing.swap_remove(known)),
                None => *to = Some(now),
            }
        }
        notes.listed.extend(missing.into_iter().map(|host| (host, now, None)));
    }
}
