//! One task per name looks it up for every channel of the process ([`SharedTask`]).
//!
//! A task follows the [`DnsSchedule`] and publishes what its lookups find.

use std::collections::BTreeSet;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use meshless_core::{DnsSchedule, ResolveHint};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::Instant;

use super::config::DnsConfig;
use super::lookup::DnsLookup;
use crate::resolver::ResolveError;
use crate::resolver::shared_task::{Hints, SharedTask, SharedTasks, own_rng};
use crate::shared::catch_panic::catch_panic;
use crate::shared::file_descriptors::Reserve;

/// Subscribers with an equal question share lookups.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Question {
    pub(super) host: String,
    pub(super) name_server: Option<SocketAddr>,
    pub(super) config: DnsConfig,
}

/// The last answer; `None` before the first.
pub(super) type DnsAnswer = Option<Addresses>;

/// The result of one lookup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FoundAddresses {
    pub(super) addresses: Vec<IpAddr>,
    /// The shortest TTL of the records.
    pub(super) ttl: Duration,
    /// All families that were asked for have answered.
    pub(super) complete: bool,
}

impl FoundAddresses {
    /// Returns the same, after it has been in use for `by`.
    pub(super) fn aged(mut self, by: Duration) -> Self {
        self.ttl = self.ttl.saturating_sub(by);
        self
    }
}

/// Takes the first addresses of a lookup that is still running.
pub(super) struct Early<'a> {
    answers: &'a watch::Sender<DnsAnswer>,
    found: Mutex<Option<FoundAddresses>>,
}

impl<'a> Early<'a> {
    fn new(answers: &'a watch::Sender<DnsAnswer>) -> Self {
        Self { answers, found: Mutex::new(None) }
    }

    /// Publishes them to the subscribers.
    pub(super) fn publish(&self, found: &FoundAddresses) {
        publish(self.answers, Ok(found.addresses.clone().into()));
        *self.found.lock().unwrap_or_else(PoisonError::into_inner) = Some(found.clone());
    }

    /// Returns the addresses that were published last.
    pub(super) fn take(&self) -> Option<FoundAddresses> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Looks a name up: hickory, or a script in tests.
pub(super) trait LookUp: Send + 'static {
    /// Runs one lookup, bounded in time. It may be dropped once something is in `early`.
    fn look(
        &mut self,
        early: &Early<'_>,
    ) -> impl Future<Output = Result<FoundAddresses, ResolveError>> + Send;
}

/// The subscribers' end of a name's task.
pub(super) type SharedLookup = SharedTask<DnsAnswer>;

/// Joins the lookups of `question` on `runtime`, or begins them. A set that is known is there at
/// once, and looked up again soon; an old failure is not, and a fresh answer is asked for instead.
pub(super) fn subscribe(
    question: &Question,
    runtime: &Handle,
) -> (Arc<SharedLookup>, watch::Receiver<DnsAnswer>) {
    let begin = || spawn(DnsLookup::new(question.clone()), question.config, runtime);
    let (shared, began) = LOOKUPS.join(runtime, question.clone(), begin);
    let mut answers = shared.found();
    if !began {
        shared.resolve_now(ResolveHint::Newcomer);
        answers.mark_unchanged();
        if matches!(&*answers.borrow(), Some(Ok(_))) {
            answers.mark_changed();
        }
    }
    (shared, answers)
}

fn spawn(look: impl LookUp, config: DnsConfig, runtime: &Handle) -> SharedLookup {
    let schedule = DnsSchedule::new(config.schedule, own_rng("dns"), Instant::now().into_std());
    DESCRIPTORS.fill();
    SharedTask::spawn(runtime, None, |hints, answers| run(look, schedule, hints, answers))
}

async fn run(
    mut look: impl LookUp,
    mut schedule: DnsSchedule,
    hints: Arc<Hints>,
    answers: watch::Sender<DnsAnswer>,
) {
    let now = || Instant::now().into_std();
    loop {
        while !schedule.handle_timeout(now()) {
            let due = schedule.poll_timeout().expect("a schedule that is not looking waits for a moment");
            tokio::select! {
                () = tokio::time::sleep_until(due.into()) => {}
                hint = hints.next() => schedule.handle_hint(hint, now()),
            }
        }
        let outcome = {
            let _descriptors = DESCRIPTORS.release();
            let early = Early::new(&answers);
            let mut lookup = pin!(catch_panic(look.look(&early)));
            loop {
                tokio::select! {
                    outcome = &mut lookup => break outcome.unwrap_or_else(|text| Err(panicked(&text))),
                    hint = hints.next() => {
                        schedule.handle_hint(hint, now());
                        // Ends the wait for the rest of a known answer: a new lookup is due.
                        if let (ResolveHint::AllFailed, Some(found)) = (hint, early.take()) {
                            break Ok(found);
                        }
                    }
                }
            }
        };
        let answer = match outcome {
            Ok(found) => {
                schedule.handle_success(found.ttl, found.complete, now());
                Ok(found.addresses.into())
            }
            Err(error) => {
                schedule.handle_failure(now());
                Err(error)
            }
        };
        // The answer is older than the hint that the next lookup, due now, follows. So it is only
        // published if its addresses are new.
        let follows = schedule.poll_timeout().is_some_and(|due| due <= now());
        if !(follows && (answer.is_err() || is_known(&answers, &answer))) {
            publish(&answers, answer);
        }
    }
}

type Addresses = Result<Arc<[IpAddr]>, ResolveError>;

fn publish(answers: &watch::Sender<DnsAnswer>, answer: Addresses) {
    report(answers.borrow().as_ref(), &answer);
    answers.send_replace(Some(answer));
}

fn is_known(answers: &watch::Sender<DnsAnswer>, answer: &Addresses) -> bool {
    match (&*answers.borrow(), answer) {
        (Some(Ok(before)), Ok(addresses)) => same_set(before, addresses),
        _ => false,
    }
}

/// A lookup that panics counts as a failed one: the next one follows after the pause.
fn panicked(text: &str) -> ResolveError {
    ResolveError::other(format!("the DNS lookup panicked, which is a bug: {text}"))
}

/// Logs every change of the addresses, and the first of consecutive failures. At DEBUG, because
/// each channel reports failures itself.
fn report(before: Option<&Addresses>, answer: &Addresses) {
    match (before, answer) {
        (Some(Err(_)), Err(error)) => tracing::debug!(%error, "DNS still fails"),
        (_, Err(error)) => tracing::debug!(%error, "DNS fails"),
        (Some(Ok(before)), Ok(addresses)) if same_set(before, addresses) => {}
        (_, Ok(addresses)) => tracing::debug!(?addresses, "DNS answers with new addresses"),
    }
}

/// DNS servers shuffle their answers.
fn same_set(a: &[IpAddr], b: &[IpAddr]) -> bool {
    let set = |addresses: &[IpAddr]| addresses.iter().copied().collect::<BTreeSet<_>>();
    set(a) == set(b)
}

/// Keeps descriptors for DNS when the process has none left.
static DESCRIPTORS: Reserve = Reserve::new();

/// The names that are being looked up.
static LOOKUPS: LazyLock<SharedTasks<Question, DnsAnswer>> = LazyLock::new(SharedTasks::default);

#[cfg(test)]
mod tests;
