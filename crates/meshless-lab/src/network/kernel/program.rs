//! Runs `ip` and `nft`, one batch at a time.
//!
//! Both take a script on stdin; `nft` applies it as one transaction, `ip` line by line.

use std::process::Stdio;

use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::network::error::NetworkError;

/// Applies lines of `ip` in this process's namespace.
///
/// # Errors
/// If one of them is refused; those before it are applied.
pub(super) async fn ip(lines: &str) -> Result<(), NetworkError> {
    let mut command = Command::new("ip");
    command.args(["-batch", "-"]);
    feed("ip", command, lines).await
}

/// Applies a script of `nft` in this process's namespace, completely or not at all.
///
/// # Errors
/// If it is refused.
pub(super) async fn nft(script: &str) -> Result<(), NetworkError> {
    let mut command = Command::new("nft");
    command.args(["--file", "-"]);
    feed("nft", command, script).await
}

/// Runs `command` with this input.
///
/// # Errors
/// If it does not start, or fails.
pub(super) async fn feed(
    program: &'static str,
    mut command: Command,
    input: &str,
) -> Result<(), NetworkError> {
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // After a refused line the program may read no further; its exit status reports that.
        let _ = stdin.write_all(input.as_bytes()).await;
    }
    let output = child.wait_with_output().await?;
    if output.status.success() {
        return Ok(());
    }
    Err(NetworkError::Program { program, said: first_line(&output.stderr, &output.status.to_string()) })
}

/// Returns the first line of a program's output, or `otherwise` if it is empty.
pub(super) fn first_line(said: &[u8], otherwise: &str) -> String {
    let said = String::from_utf8_lossy(said);
    said.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or(otherwise).to_owned()
}
