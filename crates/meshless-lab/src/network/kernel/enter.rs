//! Moves this process into its own network namespace, by starting itself again inside.
//!
//! A namespace belongs to a thread, and a runtime has many. So `unshare(1)` creates the namespace
//! first and then becomes this program. The process id stays the same, so that signals, pipes and
//! the exit code still work.
//! need nobody to pass them on.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use super::program::first_line;
use crate::network::error::NetworkError;

/// Returns once this process is alone in its namespace.
///
/// # Errors
/// If it cannot be.
pub(super) fn namespace_of_its_own() -> Result<(), NetworkError> {
    if !cfg!(target_os = "linux") {
        return Err(NetworkError::NotLinux);
    }
    if let Some(missing) = PROGRAMS.into_iter().find(|program| !is_on_path(program)) {
        return Err(NetworkError::ProgramMissing(missing));
    }
    if !rustix::process::geteuid().is_root() {
        return Err(NetworkError::NotRoot);
    }
    let namespace = current()?;
    match mark::left_by_this_process() {
        Some(before) if before != namespace => return Ok(()),
        Some(_) => return Err(NetworkError::Namespace("unshare changed nothing".into())),
        None => {}
    }
    // A trial run first: after `exec`, a failure of `unshare` would look like one of the run.
    let trial = Command::new("unshare").args(["--net", "--", "true"]).output()?;
    if !trial.status.success() {
        return Err(NetworkError::Namespace(first_line(&trial.stderr, &trial.status.to_string())));
    }
    let mut again = Command::new("unshare");
    again.args(["--net", "--"]).arg(std::env::current_exe()?).args(std::env::args_os().skip(1));
    // Returns only if it fails.
    Err(again.env(mark::NAME, mark::of_this_process(&namespace)).exec().into())
}

/// The mark that tells a process that it has moved: its own id, which its children do not share,
/// and its former namespace.
mod mark {
    pub(super) const NAME: &str = "MESHLESS_MOVED_FROM";

    pub(super) fn of_this_process(namespace: &str) -> String {
        format!("{} {namespace}", std::process::id())
    }

    /// The namespace that this process came from.
    pub(super) fn left_by_this_process() -> Option<String> {
        let mark = std::env::var(NAME).ok()?;
        let (id, namespace) = mark.split_once(' ')?;
        (id == std::process::id().to_string()).then(|| namespace.to_owned())
    }
}

/// Returns the id of this process's namespace, such as `net:[4026531833]`.
fn current() -> Result<String, NetworkError> {
    Ok(fs::read_link("/proc/self/ns/net")?.to_string_lossy().into_owned())
}

fn is_on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).map(|folder: PathBuf| folder.join(program)).any(|file| file.is_file())
}

/// Of nftables, iproute2 and util-linux.
const PROGRAMS: [&str; 4] = ["nft", "ip", "unshare", "nsenter"];
