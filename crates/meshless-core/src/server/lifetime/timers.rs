//! The timers of one connection, and which of them is the next.
//!
//! The driver asks for the next one whenever its task is woken, several times a call; they change a few times in the
//! connection's life. So it is found when one is set. Owned by the lifetime machine.

use std::time::Instant;

/// All of them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Timers {
    at: [Option<Instant>; TIMERS],
    next: Option<Instant>,
}

/// What a timer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timer {
    Handshake,
    Age,
    Idle,
    Finish,
    Grace,
    Drain,
    SlowReader,
}

impl Timers {
    pub(super) fn set(&mut self, timer: Timer, at: Option<Instant>) {
        self.at[timer as usize] = at;
        self.next = self.at.into_iter().fold(None, sooner);
    }

    pub(super) fn at(&self, timer: Timer) -> Option<Instant> {
        self.at[timer as usize]
    }

    pub(super) fn is_due(&self, timer: Timer, now: Instant) -> bool {
        self.at(timer).is_some_and(|at| at <= now)
    }

    /// When the first of them is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.next
    }
}

/// The earlier of two timers, either of which may be off.
pub(super) fn sooner(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

const TIMERS: usize = Timer::SlowReader as usize + 1;
