//! The halves of the library stay apart: `client` and `server` never import each other, and what
//! both use imports neither. Otherwise neither feature could be built without the other.

use std::fs;
use std::path::Path;

/// Each folder of `src` with its root file, and what its files may import of the crate.
const MAY_IMPORT: [(&str, &[&str]); 4] = [
    ("client", &["client", "resolver", "shared"]),
    ("resolver", &["resolver", "shared"]),
    ("server", &["server", "shared"]),
    ("shared", &["shared"]),
];

#[test]
fn the_halves_do_not_import_each_other() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = Vec::new();
    for (part, may_import) in MAY_IMPORT {
        let mut files = vec![src.join(part).with_extension("rs")];
        rust_files(&src.join(part), &mut files);
        // A part that has moved must not pass for one without faults.
        assert!(files.len() > 5, "{part} has {} files", files.len());
        for file in files {
            let text = fs::read_to_string(&file).unwrap();
            for name in imports(&text).filter(|name| !may_import.contains(name)) {
                wrong.push(format!("{}: crate::{name}", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn an_import_is_found_wherever_it_stands() {
    let text = "use crate::client::call;\n/// See [`x`](crate::Server).\nlet a = crate::server::X; // crate::y\n\
                pub(in crate::shared) fn f() {}\nuse crate::{Pem, server};\nmacro_rules! m { () => { $crate::z } }\n";
    assert_eq!(imports(text).collect::<Vec<_>>(), ["client", "server", "shared", "", "z"]);
}

/// The name after each `crate::` in code, comments left out. It is empty for a group, which would
/// hide its names.
fn imports(text: &str) -> impl Iterator<Item = &str> {
    let code = text.lines().map(|line| line.split_once("//").map_or(line, |(code, _)| code));
    code.flat_map(|line| line.split("crate::").skip(1)).map(|rest| {
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        &rest[..end]
    })
}

fn rust_files(folder: &Path, files: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}
