//! `meshless xds`: the control plane, what a client needs for it, and how it is doing.

mod bootstrap;
mod serve;
mod status;

use clap::{Args, Subcommand};

use bootstrap::BootstrapArgs;
use serve::ServeArgs;
use status::StatusArgs;

/// What `meshless xds` can be asked for.
#[derive(Clone, Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct XdsArgs {
    #[command(subcommand)]
    command: Option<XdsCommand>,
    #[command(flatten)]
    serve: ServeArgs,
}

#[derive(Clone, Debug, Subcommand)]
enum XdsCommand {
    /// Print what a client of a language needs: bootstrap, package, and the changed line of code
    Bootstrap(BootstrapArgs),
    /// Print the services of a running control plane, and its clients
    Status(StatusArgs),
}

/// Does what is asked for.
///
/// # Errors
/// In one line, if it cannot be done.
pub(crate) async fn run(args: XdsArgs) -> Result<(), String> {
    match args.command {
        None => serve::run(args.serve).await,
        Some(XdsCommand::Bootstrap(args)) => {
            bootstrap::print(&args);
            Ok(())
        }
        Some(XdsCommand::Status(args)) => status::print(&args).await,
    }
}
