//! The state that the parts of one connection share: its driver, its wire, and its calls.
//!
//! The lifetime machine is behind a lock that is held for a few instructions and never across an
//! `await`. It is taken two or three times per call (h2 takes its own dozens of times), and
//! otherwise only when something happens.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use meshless_core::{GoAwayReason, Lifetime};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::call::Call;
use super::event::Carried;
use super::request_body::UnreadBodies;

/// The shared state of one connection.
#[derive(Debug)]
pub(super) struct ConnectionState {
    lifetime: Mutex<Lifetime>,
    calls_started: AtomicU64,
    health_checks: AtomicU64,
    no_calls: Notify,
    going_away: OnceLock<GoAwayReason>,
    sent_away: Notify,
    finish_go_away: AtomicBool,
    blocked: AtomicUsize,
    turn: AtomicU32,
    received: AtomicBool,
    ping: AtomicBool,
    /// The client's limit of header lists; without one in its SETTINGS it accepts all.
    client_header_list_max: AtomicU32,
    /// How many bytes the headers of the open calls pin.
    pinned: AtomicUsize,
    /// The call that hyper has accepted and not yet spawned.
    accepted: Mutex<Option<Arc<Call>>>,
    unread_bodies: UnreadBodies,
    write_first: AtomicBool,
    socket_full: AtomicBool,
}

impl ConnectionState {
    pub(super) fn new(lifetime: Lifetime) -> Arc<Self> {
        Arc::new(Self {
            lifetime: Mutex::new(lifetime),
            calls_started: AtomicU64::new(0),
            health_checks: AtomicU64::new(0),
            no_calls: Notify::new(),
            going_away: OnceLock::new(),
            sent_away: Notify::new(),
            finish_go_away: AtomicBool::new(false),
            blocked: AtomicUsize::new(0),
            turn: AtomicU32::new(0),
            received: AtomicBool::new(false),
            ping: AtomicBool::new(false),
            client_header_list_max: AtomicU32::new(u32::MAX),
            pinned: AtomicUsize::new(0),
            accepted: Mutex::new(None),
            unread_bodies: UnreadBodies::default(),
            write_first: AtomicBool::new(false),
            socket_full: AtomicBool::new(false),
        })
    }

    pub(super) fn lifetime(&self) -> MutexGuard<'_, Lifetime> {
        self.lifetime.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the wire handle the two GOAWAYs that h2 sends next.
    pub(super) fn go_away(&self, reason: GoAwayReason) {
        // The machine orders this once.
        let _ = self.going_away.set(reason);
        self.sent_away.notify_waiters();
    }

    pub(super) fn going_away(&self) -> Option<GoAwayReason> {
        self.going_away.get().copied()
    }

    /// Waits until the connection gets a GOAWAY.
    pub(super) async fn sent_away(&self) -> GoAwayReason {
        loop {
            let notified = self.sent_away.notified();
            if let Some(reason) = self.going_away() {
                return reason;
            }
            notified.await;
        }
    }

    /// Makes the wire let h2 send the second GOAWAY.
    pub(super) fn finish_go_away(&self) {
        self.finish_go_away.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_go_away_to_finish(&self) -> bool {
        self.finish_go_away.load(Ordering::Relaxed)
    }

    /// Counts a call with this timeout until its lease is dropped.
    ///
    /// The call is kept for [`ConnectionState::take_accepted`]: hyper spawns a call right after it
    /// has asked the service for it.
    pub(super) fn start_call(self: &Arc<Self>, timeout: Option<Duration>) -> Arc<Call> {
        let now = Instant::now();
        self.calls_started.fetch_add(1, Ordering::Relaxed);
        let age = {
            let mut lifetime = self.lifetime();
            lifetime.handle_call_started();
            // The received bytes belong to the call: its time is enough for both.
            self.take_received();
            lifetime.handle_received(now.into_std());
            lifetime.stream_age(now.into_std())
        };
        // A deadline that cannot be represented is never reached.
        let deadline = timeout.and_then(|timeout| now.checked_add(timeout));
        let call = Arc::new(Call::new(self.clone(), deadline, age));
        *self.accepted.lock().unwrap_or_else(PoisonError::into_inner) = Some(call.clone());
        call
    }

    /// Returns the call that was started last, once.
    pub(super) fn take_accepted(&self) -> Option<Arc<Call>> {
        self.accepted.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(super) fn end_call(&self) {
        let now = Instant::now().into_std();
        let mut lifetime = self.lifetime();
        lifetime.handle_call_ended(now);
        if lifetime.calls() == 0 {
            self.no_calls.notify_waiters();
        }
    }

    /// Pins this many bytes for the headers of a call, until they are unpinned. Returns the sum of
    /// all calls.
    pub(super) fn pin_headers(&self, bytes: usize) -> usize {
        self.pinned.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes)
    }

    pub(super) fn unpin_headers(&self, bytes: usize) {
        self.pinned.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Returns the longest header list that the client accepts.
    pub(super) fn client_header_list_max(&self) -> u32 {
        self.client_header_list_max.load(Ordering::Relaxed)
    }

    pub(super) fn set_client_header_list_max(&self, max: u32) {
        self.client_header_list_max.store(max, Ordering::Relaxed);
    }

    /// Notes that the next call to start is a health check.
    pub(super) fn note_health_check(&self) {
        self.health_checks.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns what the connection has carried so far.
    pub(super) fn carried(&self) -> Carried {
        Carried {
            calls: self.calls_started.load(Ordering::Relaxed),
            health_checks: self.health_checks.load(Ordering::Relaxed),
        }
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

    /// Called when the connection's task has been woken: it may read again.
    pub(super) fn begin_turn(&self) {
        // Only that task writes and reads it.
        self.turn.store(self.turn().wrapping_add(1), Ordering::Relaxed);
    }

    /// Returns how often that has happened, wrapping.
    pub(super) fn turn(&self) -> u32 {
        self.turn.load(Ordering::Relaxed)
    }

    /// Called when bytes have arrived from the client.
    pub(super) fn note_received(&self) {
        self.received.store(true, Ordering::Relaxed);
    }

    /// Returns true if bytes have arrived since the last call.
    pub(super) fn take_received(&self) -> bool {
        take(&self.received)
    }

    /// Makes the wire send a PING.
    pub(super) fn ping(&self) {
        self.ping.store(true, Ordering::Relaxed);
    }

    /// Returns true once if a PING is ordered.
    pub(super) fn take_ping(&self) -> bool {
        take(&self.ping)
    }

    /// What handlers have dropped of their requests.
    pub(super) fn unread_bodies(&self) -> &UnreadBodies {
        &self.unread_bodies
    }

    /// Orders the wire to let h2 write before it reads.
    pub(super) fn write_first(&self) {
        self.write_first.store(true, Ordering::Relaxed);
    }

    /// Whether it is to do so, once.
    pub(super) fn take_write_first(&self) -> bool {
        take(&self.write_first)
    }

    /// The socket takes no bytes for now, or some again.
    pub(super) fn set_socket_full(&self, full: bool) {
        self.socket_full.store(full, Ordering::Relaxed);
    }

    pub(super) fn is_socket_full(&self) -> bool {
        self.socket_full.load(Ordering::Relaxed)
    }

    /// Marks that a response, or the socket, waits for the client to take bytes. Dropping the
    /// result ends that.
    pub(super) fn block(self: &Arc<Self>) -> Blocked {
        self.blocked.fetch_add(1, Ordering::Relaxed);
        self.lifetime().handle_blocked(Instant::now().into_std());
        Blocked { state: self.clone() }
    }

    /// Returns true if there is such a mark.
    pub(super) fn is_blocked(&self) -> bool {
        self.blocked.load(Ordering::Relaxed) > 0
    }
}

/// Something that waits for the client to take bytes.
#[derive(Debug)]
pub(super) struct Blocked {
    state: Arc<ConnectionState>,
}

impl Drop for Blocked {
    fn drop(&mut self) {
        self.state.blocked.fetch_sub(1, Ordering::Relaxed);
        self.state.lifetime().handle_unblocked();
    }
}

/// Reads and clears a flag that only the connection's task uses.
fn take(flag: &AtomicBool) -> bool {
    let was_set = flag.load(Ordering::Relaxed);
    if was_set {
        flag.store(false, Ordering::Relaxed);
    }
    was_set
}
