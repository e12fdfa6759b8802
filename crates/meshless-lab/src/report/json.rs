//! `results.json`: the unchanged results, for scripts. `schema.json` describes the layout.

use crate::results::Results;

/// The whole run, indented.
pub(crate) fn text(results: &Results) -> String {
    let mut text = serde_json::to_string_pretty(results)
        .expect("results hold only numbers, strings and maps with string keys");
    text.push('\n');
    text
}
