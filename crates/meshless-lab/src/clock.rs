//! One clock for all processes of a run.
//!
//! A call's times are taken by the client's process and a rotation's by a server's; both are laid
//! on one axis by reading `CLOCK_MONOTONIC`, which counts from the same moment for every process of
//! a machine. `std::time::Instant` hides its value, so it cannot be sent to another process.

use std::time::Duration;

use rustix::time::{ClockId, Timespec, clock_gettime};

/// Nanoseconds since a moment that all processes of this machine share.
pub(crate) fn now_ns() -> u64 {
    nanoseconds(clock_gettime(ClockId::Monotonic))
}

/// Processor time that this process has used so far, user and system, all threads.
pub(crate) fn cpu_time() -> Duration {
    Duration::from_nanos(nanoseconds(clock_gettime(ClockId::ProcessCPUTime)))
}

fn nanoseconds(time: Timespec) -> u64 {
    // Both clocks count up from zero: neither field is ever negative.
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
