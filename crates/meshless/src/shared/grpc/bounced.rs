//! The header by which a channel and an overloaded server count the refusals of one call.
//!
//! A transparent retry carries no `grpc-previous-rpc-attempts` (gRFC A6 counts only the attempts of
//! a retry policy). So the channel marks it with its own header, which counts the refusals. A
//! channel that sends it understands a second refusal. So the server may refuse once more, with the
//! same header in its answer: A6 allows only one transparent retry after REFUSED_STREAM, which any
//! server may send for any reason.

use http::{HeaderMap, HeaderName, HeaderValue};

/// Marks the next attempt of a call whose last one was refused.
pub(crate) fn mark(headers: &mut HeaderMap) {
    let value = if headers.contains_key(BOUNCED) { "2" } else { "1" };
    headers.insert(BOUNCED, HeaderValue::from_static(value));
}

/// Marks a server's answer as a refusal of the second attempt.
pub(crate) fn mark_answer(headers: &mut HeaderMap) {
    headers.insert(BOUNCED, HeaderValue::from_static("2"));
}

/// Returns true if `answer` to this request is a refusal, which no handler has seen.
///
/// A handler that forwards the status of its own call must not be able to fake this. So the channel
/// removes foreign marks from requests and answers.
pub(crate) fn is_refusal(request: &HeaderMap, answer: &HeaderMap) -> bool {
    is_marked(answer)
        && answer.get("grpc-status").is_some_and(|status| status == "14")
        && may_bounce_again(request)
}

/// Returns true if this answer carries the mark of a refusal.
pub(crate) fn is_marked(answer: &HeaderMap) -> bool {
    answer.contains_key(BOUNCED)
}

/// Removes a mark that is not this channel's own, or is no longer needed.
pub(crate) fn clear(headers: &mut HeaderMap) {
    headers.remove(BOUNCED);
}

/// Returns true if an earlier attempt of this call was refused, or failed.
pub(crate) fn is_second_attempt(headers: &HeaderMap) -> bool {
    headers.contains_key(BOUNCED) || headers.contains_key(PREVIOUS_ATTEMPTS)
}

/// Returns true if this call may be refused once more.
pub(crate) fn may_bounce_again(headers: &HeaderMap) -> bool {
    headers.get(BOUNCED).is_some_and(|refusals| refusals == "1") && !headers.contains_key(PREVIOUS_ATTEMPTS)
}

const BOUNCED: HeaderName = HeaderName::from_static("meshless-bounced");

/// gRFC A6: "the number of preceding retry attempts", absent on the first.
const PREVIOUS_ATTEMPTS: &str = "grpc-previous-rpc-attempts";
