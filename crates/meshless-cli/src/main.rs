//! The command `meshless`: arguments → request → exit code.
//!
//! What it does stands in the library `meshless-lab`; here is only how it is asked for, and how
//! what came of it is said.

mod cli;
mod cluster;
mod compare;
mod event_name;
mod load;
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
    // What the lab says is for its user; what the libraries say is for who debugs them, with
    // RUST_LOG. What goes wrong in the channel comes back as an error, and is then said once; how a
    // server shuts down is said by the server. That the channel asks DNS in place of EndpointSlices
    // is no error, and nothing else says it.
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
    // A thread that reads stdin may still wait for a line; its end is not worth waiting for.
    runtime.shutdown_background();
    code
}
