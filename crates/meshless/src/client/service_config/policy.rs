//! `retryPolicy`, `hedgingPolicy` and `retryThrottling` (gRFC A6, "Configuration Language").

use std::time::Duration;

use meshless_core::{Code, HedgingPolicy, RetryPolicy, RetryThrottling};

use super::error::ServiceConfigError;
use super::json::Node;
use crate::client::channel::Repeat;

/// Reads how the calls of a `methodConfig` are repeated.
pub(super) fn repeat(entry: &Node<'_>) -> Result<Option<Repeat>, ServiceConfigError> {
    match (entry.field("retryPolicy")?, entry.field("hedgingPolicy")?) {
        (None, None) => Ok(None),
        (Some(policy), None) => Ok(Some(Repeat::Retry(retry(&policy)?))),
        (None, Some(policy)) => Ok(Some(Repeat::Hedge(hedging(&policy)?))),
        (Some(_), Some(hedging)) => {
            Err(hedging.error("must not stand beside retryPolicy; a method has one or the other"))
        }
    }
}

/// Reads the document's throttle.
pub(super) fn throttling(root: &Node<'_>) -> Result<Option<RetryThrottling>, ServiceConfigError> {
    let Some(throttling) = root.field("retryThrottling")? else { return Ok(None) };
    let max_tokens = throttling.required("maxTokens")?;
    let ratio = throttling.required("tokenRatio")?;
    let max = whole_tokens(&max_tokens)?;
    let mut per_success = ratio.number()?;
    if per_success > 0.0 && per_success < RATIO_MIN {
        ratio.warn("counts as 0.001: three decimals count");
        per_success = RATIO_MIN;
    }
    match RetryThrottling::new(max, per_success) {
        Ok(throttling) => Ok(Some(throttling)),
        Err(_) => Err(ratio.error("must be above 0")),
    }
}

/// Reads the tokens. A6 wants a whole number; grpc-go takes any number above 0.
fn whole_tokens(node: &Node<'_>) -> Result<u32, ServiceConfigError> {
    let tokens = node.number()?;
    if !(tokens > 0.0 && tokens <= TOKENS_MAX) {
        return Err(node.error(format!("must be above 0 and at most {TOKENS_MAX}")));
    }
    let whole = tokens.round().max(1.0);
    if whole != tokens {
        node.warn(&format!("counts as {whole}: a whole number"));
    }
    Ok(whole as u32)
}

/// gRFC A6: `maxTokens` is in the range (0, 1000].
const TOKENS_MAX: f64 = 1000.0;

/// gRFC A6 ignores digits after three decimals.
const RATIO_MIN: f64 = 0.001;

fn retry(node: &Node<'_>) -> Result<RetryPolicy, ServiceConfigError> {
    let max_attempts = node.required("maxAttempts")?.whole_number(2)?;
    let initial = node.required("initialBackoff")?.positive_duration()?;
    let max = node.required("maxBackoff")?.positive_duration()?;
    let multiplier = node.required("backoffMultiplier")?;
    let codes = node.required("retryableStatusCodes")?;
    let policy =
        RetryPolicy::new(max_attempts, codes.codes()?).map_err(|error| codes.error(error.to_string()))?;
    let policy = policy
        .with_backoff(initial, max, multiplier.number()?)
        .map_err(|_| multiplier.error("must be above 0"))?;
    // Not in A6; grpc-java and C-core have it under this name.
    match node.field("perAttemptRecvTimeout")? {
        None => Ok(policy),
        Some(timeout) => policy
            .with_per_attempt_timeout(timeout.positive_duration()?)
            .map_err(|error| timeout.error(error.to_string())),
    }
}

fn hedging(node: &Node<'_>) -> Result<HedgingPolicy, ServiceConfigError> {
    let attempts = node.required("maxAttempts")?;
    let max_attempts = attempts.whole_number(2)?;
    let delay = node.field("hedgingDelay")?.map(|delay| delay.duration()).transpose()?;
    let codes = node.field("nonFatalStatusCodes")?;
    let non_fatal = codes.as_ref().map(Node::codes).transpose()?.unwrap_or_default();
    if let Some(codes) = codes.filter(|_| non_fatal.contains(&Code::Ok)) {
        return Err(codes.error("must not contain OK, which is no failure"));
    }
    let policy = HedgingPolicy::new(max_attempts, delay.unwrap_or(Duration::ZERO));
    let policy = policy.map_err(|error| attempts.error(error.to_string()))?;
    Ok(policy.with_non_fatal(non_fatal))
}
