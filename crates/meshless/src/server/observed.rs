//! A value that some change and many wait for.
//!
//! As tokio's `watch`, but that those who wait are woken in the order in which they began to. Tokio
//! draws that order at random, and a simulated run would take another course each time.
//!
//! Used for what all connections of a server are told.

use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// The value, shared by all.
#[derive(Debug)]
pub(super) struct Observed<T> {
    value: Mutex<T>,
    changed: Notify,
}

impl<T> Observed<T> {
    pub(super) fn new(value: T) -> Self {
        Self { value: Mutex::new(value), changed: Notify::new() }
    }

    /// Changes it. Wakes those who wait if `change` returns true.
    pub(super) fn change(&self, change: impl FnOnce(&mut T) -> bool) {
        if change(&mut self.value()) {
            self.changed.notify_waiters();
        }
    }

    pub(super) fn read<R>(&self, read: impl FnOnce(&T) -> R) -> R {
        read(&self.value())
    }

    /// Waits until `find` finds in it what it looks for.
    pub(super) async fn wait_for<R>(&self, mut find: impl FnMut(&T) -> Option<R>) -> R {
        loop {
            // Before the look: what is changed after it is not missed.
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            if let Some(found) = self.read(&mut find) {
                return found;
            }
            changed.await;
        }
    }

    fn value(&self) -> MutexGuard<'_, T> {
        self.value.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn those_who_wait_are_woken_in_their_order() {
        for _ in 0..20 {
            let value = Arc::new(Observed::new(0));
            let woken = Arc::new(Mutex::new(Vec::new()));
            let mut tasks = tokio::task::JoinSet::new();
            for nth in 0..8 {
                let (value, woken) = (Arc::clone(&value), Arc::clone(&woken));
                tasks.spawn(async move {
                    value.wait_for(|value| (*value == 2).then_some(())).await;
                    woken.lock().unwrap().push(nth);
                });
            }
            for change in [1, 2] {
                tokio::task::yield_now().await;
                value.change(|value| {
                    *value = change;
                    true
                });
            }
            tasks.join_all().await;
            assert_eq!(*woken.lock().unwrap(), (0..8).collect::<Vec<_>>());
        }
    }

    #[tokio::test]
    async fn what_was_there_before_is_found_at_once() {
        let value = Observed::new(7);
        assert_eq!(value.wait_for(|value| Some(*value)).await, 7);
        value.change(|value| std::mem::replace(value, 8) != 8);
        assert_eq!(value.read(|value| *value), 8);
    }
}
