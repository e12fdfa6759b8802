//! What a reader sees in the figures of the levelling, in a sentence each: from this run, or
//! nothing.

use crate::drawing::format::{list, percent, ratio};
use crate::facts;
use crate::results::Results;

/// What levelling does to the spread of connections, and its price.
pub(crate) fn takeaway(results: &Results) -> String {
    let said: Vec<String> = facts::levelled(results)
        .into_iter()
        .map(|(without, with)| {
            // Not rotations: a channel that replaces connections ahead of their age sees to some of
            // them itself.
            let price = with.connections_opened as f64 / without.connections_opened as f64;
            format!(
                "with `{}` from {} to {} of the mean, {} of it, for {}\u{a0}× the new connections",
                with.strategy,
                percent(without.deviation),
                percent(with.deviation),
                ratio(with.deviation / without.deviation),
                ratio(price),
            )
        })
        .collect();
    match said.is_empty() {
        true => String::new(),
        false => format!(
            "Levelled ages took the spread of connections {}; the closed form says 0.55.",
            list(&said)
        ),
    }
}
