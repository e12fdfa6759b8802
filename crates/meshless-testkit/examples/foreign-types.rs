//! Compares the types of other crates in a crate's public API with a list of those that may be
//! there: `foreign-types DOC.json LIST [--write]`.
//!
//! A type of another crate in a public signature ties our major versions to that crate's. The
//! input is rustdoc's JSON. Its format is not stable, so this reads only what every version has: an
//! object `resolved_path` (or a trait of an `impl`) with an `id`, and `paths`, which says from
//! which crate an id comes.

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::{env, fs};

use serde_json::Value;

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    let [doc, list, rest @ ..] = args.as_slice() else {
        eprintln!("usage: foreign-types DOC.json LIST [--write]");
        return ExitCode::from(2);
    };
    match run(doc, list, rest.iter().any(|arg| arg == "--write")) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

/// Returns `true` if the public API has what the list says.
fn run(doc: &str, list: &str, write: bool) -> Result<bool, String> {
    let text = fs::read_to_string(doc).map_err(|error| format!("cannot read {doc}: {error}"))?;
    let doc: Value = serde_json::from_str(&text).map_err(|error| format!("{doc}: {error}"))?;
    let found = foreign_types(&doc).ok_or("this is not what rustdoc writes with --output-format json")?;
    if write {
        let lines: String = found.iter().map(|path| format!("{path}\n")).collect();
        fs::write(list, HEADER.to_owned() + &lines)
            .map_err(|error| format!("cannot write {list}: {error}"))?;
        return Ok(true);
    }
    let text = fs::read_to_string(list).map_err(|error| format!("cannot read {list}: {error}"))?;
    let listed = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let listed: BTreeSet<String> = listed.map(str::to_owned).collect();
    for path in found.difference(&listed) {
        println!("{path} is in the public API, and not in {list}");
    }
    for path in listed.difference(&found) {
        println!("{path} is in {list}, and not in the public API any more");
    }
    Ok(found == listed)
}

fn foreign_types(doc: &Value) -> Option<BTreeSet<String>> {
    let (index, paths) = (doc.get("index")?.as_object()?, doc.get("paths")?.as_object()?);
    let mut ids = BTreeSet::new();
    for item in index.values().filter(|item| is_ours(item)) {
        collect(item.get("inner")?, &mut ids);
    }
    let path = |id: &String| {
        let path = paths.get(id)?;
        let names: Vec<&str> = path.get("path")?.as_array()?.iter().filter_map(Value::as_str).collect();
        let foreign = path.get("crate_id")?.as_u64()? != 0 && !NOT_FOREIGN.contains(names.first()?);
        foreign.then(|| names.join("::"))
    };
    Some(ids.iter().filter_map(path).collect())
}

/// What somebody wrote in this crate: not what every type has by a blanket `impl` of another one,
/// and not what the compiler adds.
fn is_ours(item: &Value) -> bool {
    let by_others = item.pointer("/inner/impl").is_some_and(|implementation| {
        let is = |key: &str| implementation.get(key).is_some_and(|value| !value.is_null() && value != false);
        is("blanket_impl") || is("is_synthetic") || is("synthetic")
    });
    item.get("crate_id") == Some(&Value::from(0)) && !by_others
}

/// Adds the id of each path in `value`.
fn collect(value: &Value, ids: &mut BTreeSet<String>) {
    match value {
        Value::Array(values) => values.iter().for_each(|value| collect(value, ids)),
        Value::Object(fields) => {
            for (key, value) in fields {
                if PATHS.contains(&key.as_str())
                    && let Some(id) = value.get("id")
                {
                    ids.insert(id.to_string().trim_matches('"').to_owned());
                }
                collect(value, ids);
            }
        }
        _ => {}
    }
}

/// Where rustdoc puts a path with an id.
const PATHS: [&str; 3] = ["resolved_path", "trait", "trait_"];

/// The language's crates, our own core, whose files may move, and what a macro makes for itself.
const NOT_FOREIGN: [&str; 5] = ["std", "core", "alloc", "meshless_core", "pin_project_lite"];

const HEADER: &str = "\
# The types of other crates in the public API, checked by `.ci/run` against rustdoc's JSON.
# A new line here ties a major version of meshless to one of that crate: think twice. To write it anew:
#   cargo +nightly rustdoc -p meshless --lib --all-features -- -Z unstable-options --output-format json
#   cargo run -p meshless-testkit --example foreign-types -- target/doc/meshless.json crates/meshless/foreign-types.txt --write
";
