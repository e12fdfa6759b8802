//! What a reader sees in the figures of the bounce, in a sentence each: from this run, or nothing.

use crate::drawing::format::{list, ms, percent, ratio};
use crate::facts;
use crate::results::Results;

/// What bouncing does to the slowest calls, and its price.
pub(crate) fn takeaway(results: &Results) -> String {
    let said: Vec<String> = facts::bounced(results)
        .into_iter()
        .map(|(queue, bounce)| {
            let (before, after) = (queue.outcome.latency_ms.p999, bounce.outcome.latency_ms.p999);
            format!(
                "from {} to {} with `{}` ({} of it, {} attempts a call)",
                ms(before),
                ms(after),
                bounce.strategy,
                ratio(after / before),
                ratio(bounce.attempts_per_call),
            )
        })
        .collect();
    match (said.is_empty(), facts::bounced(results).first()) {
        (false, Some((queue, _))) => {
            format!("At {} of the capacity, bouncing took p99.9 {}.", percent(queue.load), list(&said))
        }
        _ => String::new(),
    }
}
