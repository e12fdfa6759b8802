//! The timers of a lifetime. They change a few times in a connection's life.

use crate::timers::TimerName;

/// All timers of a lifetime.
pub(super) type Timers = crate::timers::Timers<Timer, TIMERS>;

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
    Keepalive,
}

impl TimerName for Timer {
    fn index(self) -> usize {
        self as usize
    }
}

const TIMERS: usize = Timer::Keepalive as usize + 1;
