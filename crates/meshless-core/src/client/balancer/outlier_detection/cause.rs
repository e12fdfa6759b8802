//! Why endpoints are ejected, and how often they were.

use std::fmt;
use std::time::Instant;

/// Why an endpoint was ejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EjectionCause {
    /// This many consecutive calls failed.
    ConsecutiveFailures(u32),
    /// The test call after an ejection failed, too.
    ProbeFailed,
    /// This percentage of its calls failed.
    FailurePercentage(u8),
    /// This percentage of its calls succeeded, far fewer than its peers'.
    SuccessRate(u8),
}

/// The ejection of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ejection {
    /// Why it was ejected.
    pub cause: EjectionCause,
    /// It gets no call until then. After that, one test call at a time goes ahead until one has
    /// ended.
    pub until: Instant,
}

/// Numbers of endpoints found to be failing since the balancer was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct EjectionCounts {
    /// Endpoints that were ejected.
    pub enforced: CountsByCause,
    /// Endpoints that a comparison found but did not eject, since enough others were already out of
    /// service.
    pub unenforced: CountsByCause,
}

/// Counts by [`EjectionCause`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CountsByCause {
    /// [`EjectionCause::ConsecutiveFailures`].
    pub consecutive_failures: u64,
    /// [`EjectionCause::ProbeFailed`].
    pub probe_failed: u64,
    /// [`EjectionCause::FailurePercentage`].
    pub failure_percentage: u64,
    /// [`EjectionCause::SuccessRate`].
    pub success_rate: u64,
}

impl CountsByCause {
    pub(super) fn of(&mut self, cause: EjectionCause) -> &mut u64 {
        match cause {
            EjectionCause::ConsecutiveFailures(_) => &mut self.consecutive_failures,
            EjectionCause::ProbeFailed => &mut self.probe_failed,
            EjectionCause::FailurePercentage(_) => &mut self.failure_percentage,
            EjectionCause::SuccessRate(_) => &mut self.success_rate,
        }
    }
}

impl fmt::Display for EjectionCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ConsecutiveFailures(n) => write!(f, "{n} calls in a row failed"),
            Self::ProbeFailed => f.write_str("the call that tried it again failed"),
            Self::FailurePercentage(percent) => write!(f, "{percent} % of its calls failed"),
            Self::SuccessRate(percent) => write!(f, "{percent} % of its calls succeeded, unlike its peers'"),
        }
    }
}
