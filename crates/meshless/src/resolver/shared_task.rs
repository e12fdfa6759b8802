//! One task for each name, for every channel of the process.
//!
//! A process often has many channels to one service, and a rotation or an outage makes them all
//! doubt its addresses at the same moment. The first [`SharedTasks::join`] for a key starts a task;
//! later ones join it; it ends with the last. A task lives on the runtime of its subscribers, since
//! its sockets belong to one, so runtimes do not share.
//!
//! Used by the resolvers for DNS and for Kubernetes, which say what a task does.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use meshless_core::{ResolveHint, Rng};
use tokio::runtime::{Handle, Id};
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;

/// The tasks of one kind that run in this process. What a task finds is a `T`.
#[derive(Debug)]
pub(super) struct SharedTasks<K, T> {
    /// An entry without subscribers is swept when the next one is added.
    running: Mutex<TasksByKey<K, T>>,
}

/// A runtime and a key have one task.
type TasksByKey<K, T> = HashMap<(Id, K), Weak<SharedTask<T>>>;

impl<K, T> Default for SharedTasks<K, T> {
    fn default() -> Self {
        Self { running: Mutex::default() }
    }
}

impl<K: Eq + Hash, T> SharedTasks<K, T> {
    /// The task for `key` on `runtime`, and whether it is new: then `begin` has started it.
    pub(super) fn join(
        &self,
        runtime: &Handle,
        key: K,
        begin: impl FnOnce() -> SharedTask<T>,
    ) -> (Arc<SharedTask<T>>, bool) {
        let key = (runtime.id(), key);
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let joined = running.get(&key).and_then(Weak::upgrade);
        if let Some(joined) = joined.filter(|joined| !joined.task.is_finished()) {
            return (joined, false);
        }
        running.retain(|_, task| task.strong_count() > 0);
        let task = Arc::new(begin());
        running.insert(key, Arc::downgrade(&task));
        (task, true)
    }
}

/// The subscribers' end of a task. The task ends when this is dropped.
#[derive(Debug)]
pub(super) struct SharedTask<T> {
    hints: Arc<Hints>,
    found: watch::Receiver<T>,
    task: AbortHandle,
}

impl<T> SharedTask<T> {
    /// Starts a task, which is given its hints and where to put what it finds. Nothing is found but
    /// `first` so far.
    pub(super) fn spawn<F>(
        runtime: &Handle,
        first: T,
        run: impl FnOnce(Arc<Hints>, watch::Sender<T>) -> F,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let hints = Arc::new(Hints::default());
        let (sender, found) = watch::channel(first);
        let task = runtime.spawn(run(Arc::clone(&hints), sender)).abort_handle();
        Self { hints, found, task }
    }

    /// What it finds from now on.
    pub(super) fn found(&self) -> watch::Receiver<T> {
        self.found.clone()
    }

    /// Asks it to look before its time.
    pub(super) fn resolve_now(&self, hint: ResolveHint) {
        self.hints.add(hint);
    }
}

impl<T> Drop for SharedTask<T> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Hints that the task has not seen yet: only the strongest counts.
#[derive(Debug, Default)]
pub(super) struct Hints {
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

    /// Waits for one. Loses nothing when it is dropped.
    pub(super) async fn next(&self) -> ResolveHint {
        loop {
            match self.take() {
                Some(hint) => return hint,
                None => self.added.notified().await,
            }
        }
    }
}

/// A random stream that only keeps clients out of step with each other, so a hash that differs from
/// process to process is enough.
pub(super) fn own_rng(of: &str) -> Rng {
    Rng::new(RandomState::new().hash_one(of), 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Counts = SharedTasks<&'static str, u32>;

    /// Joins a task that counts its hints.
    fn join(tasks: &Counts, key: &'static str) -> (Arc<SharedTask<u32>>, bool) {
        let runtime = Handle::current();
        tasks.join(&runtime, key, || {
            SharedTask::spawn(&runtime, 0, |hints, counts| async move {
                loop {
                    if hints.next().await == ResolveHint::AllFailed {
                        panic!("as a task of little care does");
                    }
                    counts.send_modify(|count| *count += 1);
                }
            })
        })
    }

    #[tokio::test]
    async fn a_name_has_one_task_which_ends_with_its_last_subscriber() {
        let tasks = Counts::default();
        let (first, began) = join(&tasks, "echo");
        assert!(began);
        let (second, began) = join(&tasks, "echo");
        assert!(!began && Arc::ptr_eq(&first, &second));
        assert!(join(&tasks, "other").1, "a name of its own");
        let mut found = second.found();
        second.resolve_now(ResolveHint::Stale);
        found.changed().await.unwrap();
        drop(first);
        assert_eq!(*found.borrow_and_update(), 1);
        second.resolve_now(ResolveHint::Stale);
        found.changed().await.unwrap();
        drop(second);
        assert!(found.changed().await.is_err(), "it has ended");
        assert!(join(&tasks, "echo").1, "and begins anew");
        assert_eq!(tasks.running.lock().unwrap().len(), 1, "what has no subscribers is swept");
    }

    #[tokio::test]
    async fn a_task_that_has_panicked_is_replaced() {
        let tasks = Counts::default();
        let (broken, _) = join(&tasks, "echo");
        broken.resolve_now(ResolveHint::AllFailed);
        assert!(broken.found().changed().await.is_err());
        let (fresh, began) = join(&tasks, "echo");
        assert!(began && !Arc::ptr_eq(&broken, &fresh));
        drop(broken);
        assert!(!join(&tasks, "echo").1, "the end of the old one is none of the new one's");
    }

    #[tokio::test]
    async fn of_hints_that_wait_the_strongest_counts() {
        let hints = Hints::default();
        for hint in [ResolveHint::Newcomer, ResolveHint::AllFailed, ResolveHint::Stale] {
            hints.add(hint);
        }
        assert_eq!(hints.next().await, ResolveHint::Newcomer.max(ResolveHint::AllFailed));
        assert_eq!(hints.take(), None);
    }
}
