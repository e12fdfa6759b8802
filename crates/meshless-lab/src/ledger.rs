//! What a backend executed: counts, and for a parent process the ids of the calls.
//!
//! A server may run for weeks, so nothing here grows with the calls that have ended. Ids are kept
//! only where a parent process asks for them ([`Ledger::for_parent`]), in a [`Pending`] list that
//! has a bound.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::journal::Journal;

/// What a backend executed. An execution counts from its begin, whether or not its answer arrived
/// anywhere.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Ids of calls. `None` where nobody would take them away.
    executed: Option<Pending<u64>>,
    in_flight: AtomicU64,
    busy_ns: AtomicU64,
    journal: Option<Journal>,
}

impl Ledger {
    /// A ledger whose ids a parent process takes away, and which is also kept in `journal`, if
    /// there is one.
    pub(crate) fn for_parent(journal: Option<Journal>) -> Self {
        Self { executed: Some(Pending::new(EXECUTED_MAX)), journal, ..Self::default() }
    }

    /// Notes that a handler begins; it ends when the guard is dropped, also by cancellation.
    pub(crate) fn begin(self: &Arc<Self>, id: Option<u64>) -> Execution {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        if let Some(id) = id {
            if let Some(journal) = &self.journal {
                journal.executed(id);
            }
            if let Some(executed) = &self.executed {
                executed.note(id);
            }
        }
        Execution { ledger: Arc::clone(self), begun: Instant::now() }
    }

    /// Takes the ids of the executions since the last time, one entry each.
    ///
    /// # Errors
    /// If there were more than a ledger holds.
    pub(crate) fn take(&self) -> Result<Vec<u64>, Overflow> {
        self.executed.as_ref().map_or_else(|| Ok(Vec::new()), Pending::take)
    }

    /// Executions with an id since [`take`](Self::take).
    pub(crate) fn executed(&self) -> u64 {
        self.executed.as_ref().map_or(0, Pending::count)
    }

    /// How long executions that have ended took, all together.
    pub(crate) fn busy(&self) -> Duration {
        Duration::from_nanos(self.busy_ns.load(Ordering::Relaxed))
    }

    /// Executions that have not ended.
    pub(crate) fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::Relaxed)
    }
}

/// One execution of the handler.
#[derive(Debug)]
pub(crate) struct Execution {
    ledger: Arc<Ledger>,
    begun: Instant,
}

impl Drop for Execution {
    fn drop(&mut self) {
        let took = self.begun.elapsed().as_nanos() as u64;
        self.ledger.busy_ns.fetch_add(took, Ordering::Relaxed);
        self.ledger.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a parent process has not taken away yet. Holds so much and no more, and says so when it is
/// asked.
#[derive(Debug)]
pub(crate) struct Pending<T> {
    noted: Mutex<Noted<T>>,
    max: usize,
}

#[derive(Debug)]
struct Noted<T> {
    items: Vec<T>,
    /// Those that found no room.
    missed: u64,
}

/// More was noted than could be kept: what is left would be a wrong answer.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{missed} entries were lost, because nobody took away the {max} before them")]
pub(crate) struct Overflow {
    missed: u64,
    max: usize,
}

impl<T> Pending<T> {
    /// An empty list that holds at most `max`.
    pub(crate) fn new(max: usize) -> Self {
        Self { noted: Mutex::new(Noted::default()), max }
    }

    pub(crate) fn note(&self, item: T) {
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        if noted.items.len() < self.max {
            noted.items.push(item);
        } else {
            noted.missed += 1;
        }
    }

    /// Takes all of them away.
    ///
    /// # Errors
    /// If some found no room. The list is empty after that, too.
    pub(crate) fn take(&self) -> Result<Vec<T>, Overflow> {
        let noted = std::mem::take(&mut *self.noted.lock().unwrap_or_else(PoisonError::into_inner));
        match noted.missed {
            0 => Ok(noted.items),
            missed => Err(Overflow { missed, max: self.max }),
        }
    }

    /// How many there are, those without room among them.
    pub(crate) fn count(&self) -> u64 {
        let noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        noted.items.len() as u64 + noted.missed
    }
}

impl<T> Default for Noted<T> {
    fn default() -> Self {
        Self { items: Vec::new(), missed: 0 }
    }
}

/// Ids that are kept at once: 128 MiB. A client that makes more calls in one run has no room for
/// its own records of them.
const EXECUTED_MAX: usize = 1 << 24;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_parent_nothing_is_kept_of_a_call() {
        let ledger = Arc::new(Ledger::default());
        for id in 0..1000 {
            drop(ledger.begin(Some(id)));
        }
        assert!(ledger.executed.is_none(), "there is no place to keep it in");
        assert_eq!((ledger.executed(), ledger.in_flight(), ledger.take()), (0, 0, Ok(Vec::new())));
    }

    #[test]
    fn a_parent_takes_each_id_once() {
        let ledger = Arc::new(Ledger::for_parent(None));
        for id in [7, 9, 9] {
            drop(ledger.begin(Some(id)));
        }
        assert_eq!((ledger.executed(), ledger.take()), (3, Ok(vec![7, 9, 9])));
        assert_eq!((ledger.executed(), ledger.take()), (0, Ok(Vec::new())));
    }

    #[test]
    fn a_list_that_nobody_empties_stops_to_grow_and_is_no_answer() {
        let pending = Pending::new(4);
        for item in 0..1_000_000 {
            pending.note(item);
        }
        assert_eq!(pending.noted.lock().unwrap().items.capacity(), 4);
        assert_eq!(pending.count(), 1_000_000);
        assert_eq!(pending.take(), Err(Overflow { missed: 999_996, max: 4 }));
        // The next run begins anew.
        pending.note(5);
        assert_eq!(pending.take(), Ok(vec![5]));
    }
}
