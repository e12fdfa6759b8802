//! The pause after the process has run out of file descriptors.
//!
//! EMFILE and ENFILE say nothing about the endpoint. Its backoff stays as it is. No other endpoint
//! is tried in its place, since that attempt would fail too. All connects of the channel pause
//! instead, and leave free descriptors to the resolver and the application. Calls fail with this
//! reason while nothing serves, and recover with the first successful connect.

use std::time::{Duration, Instant};

/// If and until when connects pause.
#[derive(Debug, Default)]
pub(super) struct DescriptorPause {
    until: Option<Instant>,
}

impl DescriptorPause {
    /// An attempt could not be made. Returns true if the pause begins now.
    pub(super) fn begin(&mut self, now: Instant) -> bool {
        let begins = self.until(now).is_none();
        if begins {
            self.until = Some(now + DESCRIPTOR_PAUSE);
        }
        begins
    }

    /// Returns when connects may begin again; `None` if they may now.
    pub(super) fn until(&self, now: Instant) -> Option<Instant> {
        self.until.filter(|until| *until > now)
    }
}

/// Long enough for a lookup, and for the application to close sockets; short compared to gRPC's
/// backoff.
const DESCRIPTOR_PAUSE: Duration = Duration::from_secs(1);
