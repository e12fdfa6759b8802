//! `results.json`: the results as they are, for scripts. The layout's description is `schema.json`.

use crate::results::Results;

/// The whole run, indented.
pub(crate) fn text(results: &Results) -> String {
    let mut text = serde_json::to_string_pretty(results)
        .expect("results hold only numbers, strings and maps with string keys");
    text.push('\n');
    text
}
