//! One task per name looks it up for every channel of the process.
//!
//! A process often has many channels to one service, and a rotation or an outage makes them all
//! doubt its addresses at the same moment. The first [`SharedLookup::subscribe`] to a [`Question`] starts
//! a task that follows the [`DnsSchedule`]; later ones join it; it ends with the last. A task lives
//! on the runtime of its subscribers, since a lookup's sockets belong to one, so runtimes do not
//! share.

use std::collections::{BTreeSet, HashMap};
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};
use std::time::Duration;

use meshless_core::{DnsSchedule, ResolveHint, Rng};
use tokio::runtime::{Handle, Id};
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::config::DnsConfig;
use super::lookup::DnsLookup;
use crate::resolver::ResolveError;
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

/// The subscribers' end of a name's task. The task ends when the last clone is dropped.
#[derive(Debug)]
pub(super) struct SharedLookup {
    hints: Arc<Hints>,
    answers: watch::Receiver<DnsAnswer>,
    task: AbortHandle,
}

impl SharedLookup {
    /// Joins the lookups of `question` on `runtime`, or begins them. A set that is known is there
    /// at once, and looked up again soon; an old failure is not, and a fresh answer is asked for
    /// instead.
    pub(super) fn subscribe(
        question: &Question,
        runtime: &Handle,
    ) -> (Arc<Self>, watch::Receiver<DnsAnswer>) {
        let key = (runtime.id(), question.clone());
        let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(shared) =
            names.get(&key).and_then(Weak::upgrade).filter(|shared| !shared.task.is_finished())
        {
            shared.resolve_now(ResolveHint::Newcomer);
            let mut answers = shared.answers.clone();
            answers.mark_unchanged();
            if matches!(&*answers.borrow(), Some(Ok(_))) {
                answers.mark_changed();
            }
            return (shared, answers);
        }
        names.retain(|_, shared| shared.strong_count() > 0);
        let shared = Arc::new(Self::spawn(DnsLookup::new(question.clone()), question.config, runtime));
        names.insert(key, Arc::downgrade(&shared));
        let answers = shared.answers.clone();
        (shared, answers)
    }

    /// Asks for a lookup before its time.
    pub(super) fn resolve_now(&self, hint: ResolveHint) {
        self.hints.add(hint);
    }

    fn spawn(look: impl LookUp, config: DnsConfig, runtime: &Handle) -> Self {
        let hints = Arc::new(Hints::default());
        let (sender, answers) = watch::channel(None);
        // Only keeps clients out of step with each other, so a hash that differs from process to
        // process is enough.
        let seed = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), "dns");
        let schedule = DnsSchedule::new(config.schedule, Rng::new(seed, 0), Instant::now().into_std());
        DESCRIPTORS.fill();
        let task = runtime.spawn(run(look, schedule, Arc::clone(&hints), sender)).abort_handle();
        Self { hints, answers, task }
    }
}

impl Drop for SharedLookup {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Hints that the task has not seen yet: only the strongest counts.
#[derive(Debug, Default)]
struct Hints {
    strongest: Mutex<Option<ResolveHint>>,
    added: Notify,
}

impl Hints {
    fn add(&self, hint: ResolveHint) {
        let mut strongest = self.strongest.lock().unwrap_or_else(PoisonError::into_inner);
        *strongest = (*strongest).max(Some(hint));
        self.added.notify_one();
    }

    fn take(&self) -> Option<ResolveHint> {
        self.strongest.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    async fn next(&self) -> ResolveHint {
        loop {
            match self.take() {
                Some(hint) => return hint,
                None => self.added.notified().await,
            }
        }
    }
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

/// The names that are being looked up. An entry without subscribers is swept when the next name is
/// added.
static NAMES: LazyLock<Mutex<LookupsByQuestion>> = LazyLock::new(Mutex::default);

type LookupsByQuestion = HashMap<(Id, Question), Weak<SharedLookup>>;

#[cfg(test)]
mod tests;
