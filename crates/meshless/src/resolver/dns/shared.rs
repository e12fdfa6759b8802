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

/// What a lookup is shared by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Question {
    pub(super) host: String,
    pub(super) name_server: Option<SocketAddr>,
    pub(super) config: DnsConfig,
}

/// The last answer; `None` before the first.
pub(super) type DnsAnswer = Option<Addresses>;

/// What one lookup found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FoundAddresses {
    pub(super) addresses: Vec<IpAddr>,
    /// How long the shortest-lived record lives.
    pub(super) ttl: Duration,
    /// Both families have answered, as far as they were asked for.
    pub(super) complete: bool,
}

impl FoundAddresses {
    /// The same, after it has been in use for a while.
    pub(super) fn aged(mut self, by: Duration) -> Self {
        self.ttl = self.ttl.saturating_sub(by);
        self
    }
}

/// Where a lookup that goes on puts what it has so far.
pub(super) struct Early<'a> {
    answers: &'a watch::Sender<DnsAnswer>,
    found: Mutex<Option<FoundAddresses>>,
}

impl<'a> Early<'a> {
    fn new(answers: &'a watch::Sender<DnsAnswer>) -> Self {
        Self { answers, found: Mutex::new(None) }
    }

    /// Hands it to the subscribers.
    pub(super) fn publish(&self, found: &FoundAddresses) {
        publish(self.answers, Ok(found.addresses.clone().into()));
        *self.found.lock().unwrap_or_else(PoisonError::into_inner) = Some(found.clone());
    }

    /// What was published last.
    pub(super) fn take(&self) -> Option<FoundAddresses> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Something that looks a name up: hickory, or a script in tests.
pub(super) trait LookUp: Send + 'static {
    /// One lookup. Bounded in time. It may be dropped once something is in `early`.
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
                        // The rest of a known answer is not worth the wait; a lookup that is due
                        // is.
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
        // It is older than the hint that the next lookup, due now, answers. So it says nothing
        // unless it is news.
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

/// A lookup that panics counts as one that failed: the next one follows after the pause.
fn panicked(text: &str) -> ResolveError {
    ResolveError::other(format!("the DNS lookup panicked, which is a bug: {text}"))
}

/// Logs what is new: every change of the addresses, and the first failure of a row. At DEBUG,
/// because each channel that asks says what fails.
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

/// So that DNS can be asked when nothing else can be opened.
static DESCRIPTORS: Reserve = Reserve::new();

/// The names that are being looked up.
static LOOKUPS: LazyLock<SharedTasks<Question, DnsAnswer>> = LazyLock::new(SharedTasks::default);

#[cfg(test)]
mod tests;
