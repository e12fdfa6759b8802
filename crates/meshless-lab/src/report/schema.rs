//! The JSON Schema of `results.json`, generated from the types. `schema.json` is its copy in the
//! repository; a test compares the two.

use crate::results::Results;

/// The schema (draft 2020-12) as indented JSON.
#[must_use]
pub fn schema() -> String {
    let schema = schemars::schema_for!(Results);
    let mut text = serde_json::to_string_pretty(&schema).expect("a schema is plain JSON");
    text.push('\n');
    text
}
