//! A table of timers that knows which one is next.
//!
//! Each machine names its timers with an enum. A driver asks for the next timer whenever its task
//! is woken, several times a call, but timers change far less often. So the next timer is computed
//! when one is set.

use std::marker::PhantomData;
use std::time::Instant;

/// The timers of one machine. `T` names them, and there are `N`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timers<T, const N: usize> {
    at: [Option<Instant>; N],
    next: Option<Instant>,
    names: PhantomData<T>,
}

/// The name of a timer, with its index in the table.
pub(crate) trait TimerName: Copy {
    /// Returns the index: below the number of timers.
    fn index(self) -> usize;
}

impl<T: TimerName, const N: usize> Timers<T, N> {
    /// Replaces a timer; `None` turns it off.
    pub(crate) fn set(&mut self, timer: T, at: Option<Instant>) {
        self.at[timer.index()] = at;
        self.next = self.at.into_iter().fold(None, sooner);
    }

    pub(crate) fn at(&self, timer: T) -> Option<Instant> {
        self.at[timer.index()]
    }

    pub(crate) fn is_due(&self, timer: T, now: Instant) -> bool {
        self.at(timer).is_some_and(|at| at <= now)
    }

    /// Returns when the first of them is due.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.next
    }
}

impl<T, const N: usize> Default for Timers<T, N> {
    fn default() -> Self {
        Self { at: [None; N], next: None, names: PhantomData }
    }
}

/// Returns the earlier of two timers. Either may be off.
pub(crate) fn sooner(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
