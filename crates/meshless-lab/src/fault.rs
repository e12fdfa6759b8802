//! What can be wrong with a backend that still runs: it is slow, or it fails at once.
//!
//! `compare` asks for it through `control`, the echo service does it. A backend is well until it is
//! told otherwise.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Something to do to a backend.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Fault {
    /// Work so many times as long on each call.
    Slow(f64),
    /// Answer each call with UNAVAILABLE, at once.
    FailFast,
}

/// The faults that a backend has now.
#[derive(Debug)]
pub(crate) struct Faults {
    /// Working time in thousandths of the usual.
    slowness: AtomicU32,
    fails_fast: AtomicBool,
}

impl Faults {
    /// From now on.
    pub(crate) fn begin(&self, fault: Fault) {
        match fault {
            Fault::Slow(factor) => self.slowness.store((factor * 1e3) as u32, Ordering::Relaxed),
            Fault::FailFast => self.fails_fast.store(true, Ordering::Relaxed),
        }
    }

    /// How long what usually takes `time` takes now.
    pub(crate) fn stretched(&self, time: Duration) -> Duration {
        time.mul_f64(f64::from(self.slowness.load(Ordering::Relaxed)) / 1e3)
    }

    /// Whether calls are answered with UNAVAILABLE.
    pub(crate) fn fails_fast(&self) -> bool {
        self.fails_fast.load(Ordering::Relaxed)
    }
}

impl Default for Faults {
    fn default() -> Self {
        Self { slowness: AtomicU32::new(1000), fails_fast: AtomicBool::new(false) }
    }
}
