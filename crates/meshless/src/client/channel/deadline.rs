//! One call's deadline: from the header and the channel's settings to an instant, and back into the
//! header.

use std::time::Duration;

use http::HeaderMap;
use tokio::time::Instant;

use crate::shared::grpc::timeout::{self, GRPC_TIMEOUT};

/// When a call must have ended. The earlier of what its caller and the settings of its method
/// allow.
pub(super) fn deadline(headers: &HeaderMap, most: Option<Duration>, now: Instant) -> Option<Instant> {
    let timeout = match (timeout::read(headers), most) {
        (Some(own), Some(most)) => Some(own.min(most)),
        (own, most) => own.or(most),
    };
    // So far ahead that it cannot be represented is no deadline.
    timeout.and_then(|timeout| now.checked_add(timeout))
}

/// Tells the server how long the client will wait from now on.
pub(super) fn announce(deadline: Option<Instant>, headers: &mut HeaderMap, now: Instant) {
    if let Some(deadline) = deadline {
        headers.insert(GRPC_TIMEOUT, timeout::header(deadline.saturating_duration_since(now)));
    }
}
