//! When the process has no file descriptor left for a connection.
//!
//! EMFILE and ENFILE say nothing about the endpoint. Its backoff stays as it is, and no other endpoint is tried in its
//! place: that attempt would fail alike. All connects of the channel pause instead, so that the resolver, and the
//! application, get what becomes free. Calls fail with the reason while nothing serves, and recover with the first
//! connect that succeeds.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Balancer;
use crate::connection_id::ConnectionId;

/// Whether connects pause.
#[derive(Debug, Default)]
pub(super) struct Descriptors {
    paused_until: Option<Instant>,
}

impl<C> Balancer<C> {
    /// An attempt could not be made, because the process or the system has no file descriptor left. Connects pause for
    /// 1 s, and the resolver is asked. Returns true if this begins the pause: something to tell people.
    pub fn handle_out_of_descriptors(
        &mut self,
        now: Instant,
        id: ConnectionId,
        error: impl Into<Arc<str>>,
    ) -> bool {
        let Some(&endpoint) = self.owners.get(&id) else { return false };
        let Some(subchannel) = self.subchannels.get_mut(&endpoint) else { return false };
        let Some(attempt) = subchannel.attempt.filter(|attempt| attempt.id == id) else { return false };
        subchannel.attempt_not_made(error.into());
        if attempt.held_since.is_none() {
            self.budget.end();
        }
        self.owners.remove(&id);
        let begins = !self.connects_pause(now);
        if begins {
            self.descriptors.paused_until = Some(now + DESCRIPTOR_PAUSE);
            self.request_resolution(false);
        }
        self.settle(now);
        begins
    }

    /// Returns true, and sees to being called when the pause is over, if no connect may begin now.
    pub(super) fn connects_are_paused(&mut self, now: Instant) -> bool {
        let pause = self.connects_pause(now);
        if let Some(until) = self.descriptors.paused_until.filter(|_| pause) {
            self.wake_at(until);
        }
        pause
    }

    fn connects_pause(&self, now: Instant) -> bool {
        self.descriptors.paused_until.is_some_and(|until| until > now)
    }
}

/// Long enough for the resolver to ask, and for an application's own sockets to close; short beside gRPC's backoff.
const DESCRIPTOR_PAUSE: Duration = Duration::from_secs(1);
