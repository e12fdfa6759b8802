//! When the process has no file descriptor left for a connection.
//!
//! EMFILE and ENFILE say nothing about the endpoint. Its backoff stays as it is, and no other
//! endpoint is tried in its place: that attempt would fail alike. All connects of the channel pause
//! instead, so that the resolver, and the application, get what becomes free. Calls fail with the
//! reason while nothing serves, and recover with the first connect that succeeds.

use std::time::{Duration, Instant};

/// Whether connects pause.
#[derive(Debug, Default)]
pub(super) struct DescriptorPause {
    until: Option<Instant>,
}

impl DescriptorPause {
    /// An attempt could not be made. Returns true if this begins the pause.
    pub(super) fn begin(&mut self, now: Instant) -> bool {
        let begins = self.until(now).is_none();
        if begins {
            self.until = Some(now + DESCRIPTOR_PAUSE);
        }
        begins
    }

    /// When connects may begin again; `None` if they may now.
    pub(super) fn until(&self, now: Instant) -> Option<Instant> {
        self.until.filter(|until| *until > now)
    }
}

/// Long enough for the resolver to ask, and for an application's own sockets to close; short beside
/// gRPC's backoff.
const DESCRIPTOR_PAUSE: Duration = Duration::from_secs(1);
