//! The timers of a lifetime: they change a few times in the connection's life.

use crate::timers::TimerName;

/// All of them.
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
