//! One call's deadline: from its header and the channel's settings to an instant, and back into the
//! header.

use std::time::Duration;

use http::HeaderMap;
use tokio::time::Instant;

use crate::shared::grpc::timeout::{self, GRPC_TIMEOUT};

/// Returns when a call must have ended: the earlier of its caller's timeout and its method's.
pub(super) fn deadline(headers: &HeaderMap, most: Option<Duration>, now: Instant) -> Option<Instant> {
    let timeout = match (timeout::read(headers), most) {
        (Some(own), Some(most)) => Some(own.min(most)),
        (own, most) => own.or(most),
    };
    // A time too far ahead to be represented is no deadline.
    timeout.and_then(|timeout| now.checked_add(timeout))
}

/// Writes the remaining time into the header for the server.
pub(super) fn announce(deadline: Option<Instant>, headers: &mut HeaderMap, now: Instant) {
    if let Some(deadline) = deadline {
        headers.insert(GRPC_TIMEOUT, timeout::header(deadline.saturating_duration_since(now)));
    }
}
