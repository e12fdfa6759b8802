//! The command `meshless`: arguments → request → exit code.
//!
//! The work is done by the library `meshless-lab`; this crate only parses the arguments and prints
//! the result.

mod cli;
mod cluster;
mod compare;
mod load;
mod manual;
mod run;
mod serve;
mod values;
mod words;
mod xds;

use std::env;
use std::io::{self, IsTerminal};
use std::process::ExitCode;

use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    // The lab's messages are for its user; the libraries' messages are for debugging, with
    // RUST_LOG. A channel's failure comes back as an error, and is printed once; the server reports
    // its shutdown itself. The warning that the channel uses DNS in place of EndpointSlices is not
    // an error, and nothing else prints it.
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| {
        EnvFilter::new(
            "warn,kube_client=off,meshless::server=info,meshless::client::driver=error,meshless::resolver=error,\
             meshless::resolver::kubernetes=warn,meshless_lab=info,meshless_xds=info",
        )
    });
    let ansi = io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(ansi).with_writer(io::stderr).init();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: cannot start the runtime: {error}");
            return ExitCode::from(2);
        }
    };
    let code = runtime.block_on(run::run(env::args_os()));
    // A thread that reads stdin may still wait for a line; do not wait for its end.
    runtime.shutdown_background();
    code
}
