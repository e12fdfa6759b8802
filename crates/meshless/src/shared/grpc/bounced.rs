//! How a call says that it has been refused before: what the channel writes, and the server under
//! load reads and answers.
//!
//! A transparent retry carries no `grpc-previous-rpc-attempts` (gRFC A6 counts only the attempts of
//! a retry policy), so the channel marks it with a header of its own, which counts the refusals.
//! Who sends that header takes a second refusal for what it is, so a server may refuse once more,
//! in an answer that carries the same header: A6 allows one transparent retry after REFUSED_STREAM,
//! which any server may say for any reason.

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

/// Whether this answer to a request with these headers is a refusal, which went to no handler. A
/// handler that hands on the status of a call of its own must not be able to say so: hence the
/// channel clears both requests and answers of marks that others made.
pub(crate) fn is_refusal(request: &HeaderMap, answer: &HeaderMap) -> bool {
    is_marked(answer)
        && answer.get("grpc-status").is_some_and(|status| status == "14")
        && may_bounce_again(request)
}

/// Whether this answer says that it is a refusal.
pub(crate) fn is_marked(answer: &HeaderMap) -> bool {
    answer.contains_key(BOUNCED)
}

/// Takes away a mark that is not this channel's own, or has served.
pub(crate) fn clear(headers: &mut HeaderMap) {
    headers.remove(BOUNCED);
}

/// Whether an earlier attempt of this call was refused, or failed.
pub(crate) fn is_second_attempt(headers: &HeaderMap) -> bool {
    headers.contains_key(BOUNCED) || headers.contains_key(PREVIOUS_ATTEMPTS)
}

/// Whether this call may be refused once more.
pub(crate) fn may_bounce_again(headers: &HeaderMap) -> bool {
    headers.get(BOUNCED).is_some_and(|refusals| refusals == "1") && !headers.contains_key(PREVIOUS_ATTEMPTS)
}

const BOUNCED: HeaderName = HeaderName::from_static("meshless-bounced");

/// gRFC A6: "the number of preceding retry attempts", absent on the first.
const PREVIOUS_ATTEMPTS: &str = "grpc-previous-rpc-attempts";
