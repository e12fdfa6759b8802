//! The timers of a balancer. Each belongs to one part, which sets it whenever that part has run.

use crate::timers::TimerName;

/// All timers of a balancer.
pub(super) type Timers = crate::timers::Timers<Timer, TIMERS>;

/// What a timer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timer {
    /// The connect planner: a backoff, a stagger or a pause is over, or the budget has room.
    Connect,
    /// The outage reconnects: checks if calls have asked.
    Outage,
    /// The resolver update: calls have waited for the resolver long enough.
    LookupWait,
    /// The outlier detection: endpoints are compared.
    Comparison,
    /// The outlier detection: an ejection or a probation is over, or a panic may be.
    Ejection,
    /// The weights follow reports and the slow start.
    Weights,
}

impl TimerName for Timer {
    fn index(self) -> usize {
        self as usize
    }
}

const TIMERS: usize = Timer::Weights as usize + 1;
