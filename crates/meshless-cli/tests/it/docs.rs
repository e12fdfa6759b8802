//! The pages that people read: README.md, the book in `docs/`, and the other Markdown files.
//!
//! Links lead somewhere, command lines are understood by the program, JSON and YAML parse, and lists
//! of names agree with the code. Rust code is tested with the library, as doctests; here is checked
//! that no page is left out. Nothing here needs a network.

mod page;

use std::fs;
use std::path::PathBuf;

use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use meshless::ServiceConfig;
use meshless::client::ServiceConfigError;
use meshless_xds::PolicyBook;
use serde_json::Value;

use self::page::{Page, book, pages, root};
use crate::deploy::strict;
use crate::support::{run, stderr};

#[test]
fn every_link_leads_somewhere() {
    let all = pages();
    let mut broken = Vec::new();
    for page in &all {
        for link in page.links().iter().filter(|link| !link.contains("://")) {
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if path.is_empty() { page.path.clone() } else { page.relative(path) };
            let found = match all.iter().find(|other| other.path == target) {
                Some(other) => anchor.is_empty() || other.anchors().iter().any(|known| known == anchor),
                None => anchor.is_empty() && root().join(&target).exists(),
            };
            if !found {
                broken.push(format!("{}: {link}", page.path));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
}

#[test]
fn the_book_lists_each_of_its_pages_once_and_links_to_nothing_outside() {
    let summary = Page::read("docs/SUMMARY.md");
    let mut listed: Vec<_> = summary.links().iter().map(|link| summary.relative(link)).collect();
    listed.sort();
    let mut present: Vec<_> = book().into_iter().map(|page| page.path).collect();
    present.retain(|path| *path != summary.path);
    assert_eq!(listed, present);
    for page in book() {
        for link in page.links().iter().filter(|link| !link.contains("://") && !link.starts_with('#')) {
            let target = page.relative(link);
            // mdBook copies `docs/` and nothing else: such a link works on one side only.
            assert!(target.starts_with("docs/"), "{}: {link} leaves the book", page.path);
        }
    }
}

#[test]
fn every_command_line_of_the_pages_is_understood_by_the_program() {
    let mut seen = 0;
    for page in pages() {
        for arguments in page.commands().iter().filter_map(|command| arguments(command)) {
            // A program that the reader has built before, in the same line.
            let arguments = arguments.replace("target/lab", env!("CARGO_BIN_EXE_meshless"));
            // Flags and values are read before the help is printed.
            let output = run(&format!("{arguments} --help"));
            assert!(output.status.success(), "{}: meshless {arguments}: {}", page.path, stderr(&output));
            seen += 1;
        }
    }
    assert!(seen > 20, "{seen} command lines were found");
    for misspelt in ["compare --sed 1 --help", "compare --rounds many --help", "compere --help"] {
        assert!(!run(misspelt).status.success(), "{misspelt}");
    }
}

#[test]
fn every_file_and_every_script_flag_in_a_command_line_is_there() {
    for page in pages() {
        for command in page.commands() {
            let words = command.split_whitespace().map(|word| word.trim_end_matches('/'));
            let folders = ["deploy/", "peers/", ".ci/", "crates/"];
            for word in words.filter(|word| folders.iter().any(|folder| word.starts_with(folder))) {
                assert!(root().join(word).exists(), "{}: {word}", page.path);
            }
            let Some(flags) = command.strip_prefix("peers/run.sh ") else { continue };
            let script = read("peers/run.sh");
            let known: Vec<_> = script.split(|c: char| c.is_whitespace() || "[]|)".contains(c)).collect();
            for flag in flags.split_whitespace().filter(|word| word.starts_with("--")) {
                assert!(known.contains(&flag), "{}: peers/run.sh {flag}", page.path);
            }
        }
    }
}

#[test]
fn every_test_bench_and_example_that_a_page_names_is_there() {
    let kinds = [("--test", "tests"), ("--bench", "benches"), ("--example", "examples")];
    let crates: Vec<_> =
        fs::read_dir(root().join("crates")).unwrap().map(|entry| entry.unwrap().path()).collect();
    let mut seen = 0;
    for page in pages() {
        let words: Vec<_> = page.text().split(|c: char| c.is_whitespace() || "`),.".contains(c)).collect();
        for pair in words.windows(2) {
            let Some((_, folder)) = kinds.iter().find(|(flag, _)| *flag == pair[0]) else { continue };
            let (file, directory) =
                (format!("{folder}/{}.rs", pair[1]), format!("{folder}/{}/main.rs", pair[1]));
            let there = |it: &PathBuf| it.join(&file).is_file() || it.join(&directory).is_file();
            assert!(crates.iter().any(there), "{}: {} {}", page.path, pair[0], pair[1]);
            seen += 1;
        }
    }
    assert!(seen > 5, "{seen}");
}

#[test]
fn every_json_block_is_a_service_config_of_which_all_is_obeyed() {
    let mut seen = 0;
    for page in book() {
        for block in page.blocks("json") {
            // A file of policies holds a service config for each service.
            let warnings = if block.contains("\"services\"") {
                PolicyBook::from_json(&block)
                    .map(|book| book.warnings().to_vec())
                    .map_err(|error| error.to_string())
            } else {
                let config = block.parse().map_err(|error: ServiceConfigError| error.to_string());
                config.map(|config: ServiceConfig| config.warnings().to_vec())
            };
            assert_eq!(warnings, Ok(Vec::new()), "{}", page.path);
            seen += 1;
        }
    }
    assert!(seen > 0);
}

#[test]
fn every_yaml_block_parses_and_objects_of_kubernetes_do_so_strictly() {
    let mut kinds = Vec::new();
    for page in pages() {
        for document in page.blocks("yaml").iter().flat_map(|block| block.split("\n---\n")) {
            let value: Value =
                serde_saphyr::from_str(document).unwrap_or_else(|error| panic!("{}: {error}", page.path));
            let kind = value["kind"].as_str().unwrap_or_default().to_owned();
            match kind.as_str() {
                "Role" => drop(strict::<Role>(&value).unwrap()),
                "RoleBinding" => drop(strict::<RoleBinding>(&value).unwrap()),
                "Kustomization" | "" => {}
                other => panic!("{}: this test does not know the kind {other}", page.path),
            }
            kinds.push(kind);
        }
    }
    assert!(kinds.contains(&"Role".to_owned()) && kinds.contains(&String::new()), "{kinds:?}");
}

#[test]
fn every_page_with_rust_code_is_tested_with_the_library() {
    let tested = read("crates/meshless/src/book.rs");
    for page in book().into_iter().chain([Page::read("README.md")]) {
        let fences: Vec<_> = page.fences().into_iter().filter(|fence| fence.starts_with("rust")).collect();
        let included = tested.contains(&format!("/{}\"", page.path));
        assert_eq!(!fences.is_empty(), included, "{} in crates/meshless/src/book.rs", page.path);
        assert!(fences.iter().all(|fence| ["rust", "rust,no_run"].contains(&fence.as_str())), "{fences:?}");
    }
}

#[test]
fn the_page_of_metrics_has_a_row_for_each_instrument() {
    let row = |line: &str| Some(line.strip_prefix("| `")?.split_once('`')?.0.to_owned());
    let names = |text: &str| {
        let mut names: Vec<_> = text.lines().filter_map(row).filter(|name| name.contains('.')).collect();
        names.sort();
        names
    };
    let documented = read("crates/meshless/src/shared/metrics.rs").replace("//! ", "");
    let rows = names(&read("docs/reference/metrics.md"));
    assert!(rows.len() > 30, "{rows:?}");
    assert_eq!(rows, names(&documented));
}

#[test]
fn the_page_of_commands_has_each_command_and_only_names_that_the_program_knows() {
    let page = read("docs/reference/cli.md");
    let help = String::from_utf8(run("-h").stdout).unwrap();
    let commands = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let commands = commands.take_while(|line| !line.is_empty());
    let commands = commands.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let commands: Vec<_> = commands.filter_map(|line| line.split_whitespace().next()).collect();
    assert!(commands.contains(&"compare"), "{help}");
    for command in commands.iter().filter(|command| **command != "help") {
        assert!(
            page.contains(&format!("| `meshless {command}")),
            "docs/reference/cli.md has no row for {command}"
        );
    }
    for (command, page) in [("compare", section(&page, "compare")), ("xds", section(&page, "xds"))] {
        let help = run(&format!("{command} --help")).stdout;
        let help = String::from_utf8(help).unwrap().replace('\n', " ");
        let known: Vec<_> = help.split(|c: char| c.is_whitespace() || ",;:()[]".contains(c)).collect();
        let rows: Vec<_> = page.lines().filter(|line| line.starts_with("| `--")).collect();
        assert!(!rows.is_empty(), "{command}");
        for name in
            rows.iter().flat_map(|row| row.split('`').skip(1).step_by(2)).flat_map(|name| name.split(','))
        {
            let name = name.split(' ').next().unwrap_or_default();
            let is_value = name == "report" || name.contains(['.', '/']);
            assert!(is_value || known.contains(&name), "docs/reference/cli.md, {command}: `{name}`");
        }
    }
}

/// With a second binary anywhere in the workspace, `cargo run` asks which one is meant.
#[test]
fn cargo_run_needs_no_name() {
    let crates = fs::read_dir(root().join("crates")).unwrap().map(|entry| entry.unwrap().path());
    let binaries = crates.flat_map(|path| [path.join("src/main.rs"), path.join("src/bin")]);
    let holds_files = |path: &PathBuf| path.read_dir().is_ok_and(|mut files| files.next().is_some());
    let binaries: Vec<_> = binaries.filter(|path| path.is_file() || holds_files(path)).collect();
    assert_eq!(binaries, [root().join("crates/meshless-cli/src/main.rs")]);
}

#[test]
fn the_readme_is_read_in_a_minute() {
    let lines = read("README.md").lines().count();
    assert!(lines <= 120, "README.md has {lines} lines: move details to docs/");
}

/// The page from the heading of that name to the next.
fn section<'a>(page: &'a str, heading: &str) -> &'a str {
    let (_, rest) = page.split_once(&format!("\n## {heading}\n")).expect(heading);
    rest.split("\n## ").next().expect("a split has a first part")
}

/// What a shell command gives to the program, if that is what it starts.
fn arguments(command: &str) -> Option<String> {
    let starts = ["meshless ", "cargo run --release -- ", "cargo run --release --locked -- "];
    let command = command.strip_prefix("sudo target/release/").unwrap_or(command);
    starts.iter().find_map(|start| command.strip_prefix(start)).map(str::to_owned)
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}
