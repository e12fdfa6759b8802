//! Generates the services' code, and tells the program which versions it is built with.

use std::error::Error;
use std::path::Path;
use std::{env, fs};

use prost::Message;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    // protox parses the .proto files in Rust, so that no `protoc` is needed.
    let descriptors = protox::compile(["proto/hello.proto", "proto/streams.proto"], ["proto"])?;
    let folder = env::var("OUT_DIR")?;
    fs::write(Path::new(&folder).join("descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure().compile_fds(descriptors)?;

    println!("cargo:rerun-if-changed={LOCK_FILE}");
    let lock = fs::read_to_string(LOCK_FILE)?;
    for package in ["tonic", "hyper", "h2", "tokio"] {
        let version =
            version(&lock, package).ok_or_else(|| format!("{LOCK_FILE} does not name {package}"))?;
        println!("cargo:rustc-env=VERSION_{}={version}", package.to_uppercase());
    }
    Ok(())
}

/// The version in the lock file's entry: a line `name = "…"` and, below it, `version = "…"`.
fn version<'a>(lock: &'a str, package: &str) -> Option<&'a str> {
    let name = format!("name = \"{package}\"");
    let mut lines = lock.lines().skip_while(|line| *line != name);
    lines.nth(1)?.strip_prefix("version = \"")?.strip_suffix('"')
}

const LOCK_FILE: &str = "../../Cargo.lock";
