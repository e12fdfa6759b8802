//! One task per name looks it up for every channel of the process ([`SharedTask`]).
//!
//! A task follows the [`DnsSchedule`] and publishes what its lookups find.

use std::pin::pin;
use std::sync::{Arc, LazyLock};

use meshless_core::{DnsSchedule, ResolveHint};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::Instant;

use super::answers::{DnsAnswer, is_known, publish};
use super::config::DnsConfig;
use super::lookup::DnsLookup;
use super::question::{Early, LookUp, Question};
use crate::resolver::ResolveError;
use crate::resolver::shared_task::{Hints, SharedTask, SharedTasks, own_rng};
use crate::shared::catch_panic::catch_panic;
use crate::shared::file_descriptors::Reserve;

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

/// A lookup that panics counts as a failed one: the next one follows after the pause.
fn panicked(text: &str) -> ResolveError {
    ResolveError::other(format!("the DNS lookup panicked, which is a bug: {text}"))
}

/// Keeps descriptors for DNS when the process has none left.
static DESCRIPTORS: Reserve = Reserve::new();

/// The names that are being looked up.
static LOOKUPS: LazyLock<SharedTasks<Question, DnsAnswer>> = LazyLock::new(SharedTasks::default);

#[cfg(test)]
mod tests;
