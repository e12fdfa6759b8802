//! How a call says that it has been refused before: what the channel writes, and the server under load reads.
//!
//! A transparent retry carries no `grpc-previous-rpc-attempts` (gRFC A6 counts only the attempts of a retry policy), so the channel
//! marks it with a header of its own.

use http::{HeaderMap, HeaderName, HeaderValue};

/// Marks the next attempt of a call whose last one was refused.
pub(crate) fn mark(headers: &mut HeaderMap) {
    headers.insert(BOUNCED, HeaderValue::from_static("1"));
}

/// Whether an earlier attempt of this call was refused, or failed.
pub(crate) fn is_second_attempt(headers: &HeaderMap) -> bool {
    headers.contains_key(BOUNCED) || headers.contains_key(PREVIOUS_ATTEMPTS)
}

const BOUNCED: HeaderName = HeaderName::from_static("meshless-bounced");

/// gRFC A6: "the number of preceding retry attempts", absent on the first.
const PREVIOUS_ATTEMPTS: &str = "grpc-previous-rpc-attempts";
