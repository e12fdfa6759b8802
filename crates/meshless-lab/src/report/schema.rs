//! The JSON Schema of `results.json`, made from the types so that it cannot drift; `schema.json` is
//! its copy in the repository, and a test compares the two.

use crate::results::Results;

/// The schema (draft 2020-12) as indented JSON.
#[must_use]
pub fn schema() -> String {
    let schema = schemars::schema_for!(Results);
    let mut text = serde_json::to_string_pretty(&schema).expect("a schema is plain JSON");
    text.push('\n');
    text
}
