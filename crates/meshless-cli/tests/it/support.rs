//! Running the program.

use std::process::{Command, Output, Stdio};

/// The program with these arguments, separated by spaces.
pub(crate) fn meshless(arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_meshless"));
    command.args(arguments.split_whitespace()).stdin(Stdio::null()).env_remove("RUST_LOG");
    command
}

/// Runs it to its end.
pub(crate) fn run(arguments: &str) -> Output {
    meshless(arguments).output().expect("the program starts")
}

/// What it said on stderr.
pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Nothing is done: exit code 2, and one line on stderr that says these words.
pub(crate) fn refused(arguments: &str, says: &[&str]) {
    let output = run(arguments);
    let stderr = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{arguments}: {stderr}");
    assert_eq!(stderr.trim().lines().count(), 1, "{arguments}: {stderr}");
    for words in says {
        assert!(stderr.contains(words), "{arguments}: {stderr} does not say {words}");
    }
}
