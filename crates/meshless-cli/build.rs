//! Tells the program its version: the package's, and the commit that it is built from.

use std::env;
use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-env-changed={COMMIT}");
    let version = env::var("CARGO_PKG_VERSION").unwrap_or_default();
    // Given by whoever builds without a checkout, such as the Dockerfile.
    let given = env::var(COMMIT).ok().filter(|commit| !commit.is_empty());
    let version = match given.or_else(commit_of_checkout) {
        Some(commit) => format!("{version} ({})", commit.get(..LENGTH).unwrap_or(&commit)),
        None => version,
    };
    println!("cargo:rustc-env=MESHLESS_VERSION={version}");
}

/// The commit that is checked out here. `None` without git, and where this folder only lies within
/// some other repository.
fn commit_of_checkout() -> Option<String> {
    git(&["ls-files", "--error-unmatch", "Cargo.toml"])?;
    // Both are written when the commit changes: one by a checkout, the other by every commit.
    for file in ["HEAD", "logs/HEAD"] {
        let path = git(&["rev-parse", "--git-path", file])?;
        // Cargo would build anew each time for a file that does not exist.
        if Path::new(&path).exists() {
            println!("cargo:rerun-if-changed={path}");
        }
    }
    git(&["rev-parse", "HEAD"])
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

/// The variable that names the commit.
const COMMIT: &str = "MESHLESS_COMMIT";

/// Digits of a commit that are shown: enough to be the only one for a long time.
const LENGTH: usize = 9;
