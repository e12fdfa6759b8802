//! What the parts of one connection share: its driver, its wire, and its calls.
//!
//! The lifetime machine stands behind a lock that is held for a few instructions and never across an `await`; it is taken
//! twice per call (h2 takes its own dozens of times), and otherwise only when something happens.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use meshless_core::{GoAwayReason, Lifetime};
use tokio::sync::Notify;

/// The shared state of one connection.
#[derive(Debug)]
pub(super) struct ConnectionState {
    lifetime: Mutex<Lifetime>,
    calls_started: AtomicU64,
    no_calls: Notify,
    going_away: OnceLock<GoAwayReason>,
    finish_go_away: AtomicBool,
}

impl ConnectionState {
    pub(super) fn new(lifetime: Lifetime) -> Arc<Self> {
        Arc::new(Self {
            lifetime: Mutex::new(lifetime),
            calls_started: AtomicU64::new(0),
            no_calls: Notify::new(),
            going_away: OnceLock::new(),
            finish_go_away: AtomicBool::new(false),
        })
    }

    pub(super) fn lifetime(&self) -> MutexGuard<'_, Lifetime> {
        self.lifetime.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Orders the wire to accompany the two GOAWAYs.
    pub(super) fn go_away(&self, reason: GoAwayReason) {
        // The machine sends a connection away once.
        let _ = self.going_away.set(reason);
    }

    pub(super) fn going_away(&self) -> Option<GoAwayReason> {
        self.going_away.get().copied()
    }

    /// Orders the wire to bring about the second GOAWAY.
    pub(super) fn finish_go_away(&self) {
        self.finish_go_away.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_go_away_to_finish(&self) -> bool {
        self.finish_go_away.load(Ordering::Relaxed)
    }

    /// Counts a call in, until the lease is dropped.
    pub(super) fn start_call(self: &Arc<Self>) -> CallLease {
        self.calls_started.fetch_add(1, Ordering::Relaxed);
        self.lifetime().handle_call_started();
        CallLease { state: self.clone() }
    }

    /// How many calls were accepted.
    pub(super) fn calls_started(&self) -> u64 {
        self.calls_started.load(Ordering::Relaxed)
    }

    /// Waits until no call is left.
    pub(super) async fn no_calls(&self) {
        loop {
            let notified = self.no_calls.notified();
            if self.lifetime().calls() == 0 {
                return;
            }
            notified.await;
        }
    }
}

/// One open call. Dropping it ends the call, however that came about.
#[derive(Debug)]
pub(super) struct CallLease {
    state: Arc<ConnectionState>,
}

impl Drop for CallLease {
    fn drop(&mut self) {
        let now = tokio::time::Instant::now().into_std();
        let mut lifetime = self.state.lifetime();
        lifetime.handle_call_ended(now);
        if lifetime.calls() == 0 {
            self.state.no_calls.notify_waiters();
        }
    }
}
