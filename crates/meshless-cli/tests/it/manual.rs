//! What a package of the program brings along: completions, manual pages, and the version.

use std::process::Stdio;

use crate::support::{meshless, refused, run, stderr};

/// The commands that the help shows.
const COMMANDS: [&str; 6] = ["compare", "serve", "load", "xds", "completions", "man"];

/// What scripts say of the commands that the program runs itself: bash's by name, the others in the
/// words of the help.
const HIDDEN: [&str; 4] = ["meshless,client", "The client process", "meshless,worker", "A pod of the load"];

#[test]
fn every_shell_completes_the_commands_and_their_flags() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let output = run(&format!("completions {shell}"));
        assert!(output.status.success(), "{shell}: {}", stderr(&output));
        let script = String::from_utf8(output.stdout).unwrap();
        for word in COMMANDS.into_iter().chain(["max-connection-age", "target"]) {
            assert!(script.contains(word), "{shell} does not complete {word}");
        }
        for words in HIDDEN {
            assert!(!script.contains(words), "{shell} completes {words}");
        }
    }
}

/// Asks bash itself, which every machine that runs these tests has.
#[test]
fn bash_completes_a_command_that_was_begun() {
    let script = String::from_utf8(run("completions bash").stdout).unwrap();
    let asks = "COMP_WORDS=(meshless comp); COMP_CWORD=1; _meshless meshless comp meshless; echo \"${COMPREPLY[*]}\"";
    let mut bash = std::process::Command::new("bash");
    let output = bash.args(["--norc", "-c", &format!("{script}\n{asks}")]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "compare completions", "{}", stderr(&output));
}

#[test]
fn the_first_page_of_the_manual_names_the_commands_and_the_version() {
    let page = String::from_utf8(run("man").stdout).unwrap();
    assert!(page.starts_with(".ie") && page.contains(".TH meshless 1"), "{page}");
    for word in COMMANDS.into_iter().chain([env!("CARGO_PKG_VERSION"), "Exit codes"]) {
        assert!(page.contains(word), "the page does not name {word}");
    }
}

#[test]
fn the_folder_of_the_manual_has_a_page_for_each_command() {
    let folder = tempfile::tempdir().unwrap();
    let pages = folder.path().join("made/man1");
    let output = run(&format!("man --out {}", pages.display()));
    assert!(output.status.success(), "{}", stderr(&output));
    let mut names: Vec<_> =
        pages.read_dir().unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort_unstable();
    let commands = COMMANDS.into_iter().chain(["xds-bootstrap", "xds-status"]);
    let mut expected: Vec<_> = commands.map(|command| format!("meshless-{command}.1")).collect();
    expected.push("meshless.1".to_owned());
    expected.sort_unstable();
    assert_eq!(names, expected);
    let serve = std::fs::read_to_string(pages.join("meshless-serve.1")).unwrap();
    assert!(serve.contains("max\\-connection\\-age"), "{serve}");
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let mut child =
        meshless("completions bash").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{}", stderr(&output));
}

#[test]
fn what_cannot_be_done_is_said_in_one_line() {
    refused("completions tcsh", &["'tcsh'", "bash, elvish, fish, powershell, zsh"]);
    refused("completions", &["<SHELL>"]);
    let file = tempfile::NamedTempFile::new().unwrap();
    refused(&format!("man --out {}/pages", file.path().display()), &["cannot be written", "--out"]);
}

#[test]
fn the_version_names_the_commit_where_there_is_one() {
    let said = String::from_utf8(run("--version").stdout).unwrap();
    let version = format!("meshless {}", env!("CARGO_PKG_VERSION"));
    match said.trim().strip_prefix(&version).unwrap() {
        "" => {}
        commit => {
            let commit = commit.strip_prefix(" (").and_then(|commit| commit.strip_suffix(')')).unwrap();
            assert!(commit.len() >= 7 && commit.chars().all(|c| c.is_ascii_hexdigit()), "{said}");
        }
    }
}
