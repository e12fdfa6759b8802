//! The commands of the command line. The arguments of each are in the file of its name.

use clap::{Parser, Subcommand};

use crate::compare::CompareArgs;
use crate::load::LoadArgs;
use crate::manual::{CompletionsArgs, ManArgs};
use crate::serve::ServeArgs;
use crate::xds::XdsArgs;

/// gRPC load balancing on Kubernetes without a service mesh: the lab.
///
/// Exit codes: 0 when the work was done, 1 when calls of `load` failed, 2 when it could not be (one
/// line on stderr says why and what to do), 130 when Ctrl-C ended `compare` or `load` early; the
/// report then holds what was measured until there.
#[derive(Debug, Parser)]
// Each flag's help begins on a line of its own: beside the flags, it is a word wide on a narrow
// terminal.
#[command(name = "meshless", version = VERSION, next_line_help = true, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run every way of connecting over real sockets and draw the comparison
    Compare(CompareArgs),
    /// Serve hello.HelloService/Echo, and the streams of meshless.lab.v1.StreamService, with
    /// connections that age
    Serve(ServeArgs),
    /// Call live servers through the channel, and say what became of the calls
    Load(LoadArgs),
    /// Tell gRPC clients in any language which backends there are: an xDS control plane
    Xds(XdsArgs),
    /// Print the completions of a shell, to be read by it at its start
    Completions(CompletionsArgs),
    /// Print the manual page, or write the pages of all commands into a folder
    Man(ManArgs),
    /// The client process of `compare`
    #[command(hide = true)]
    Client,
    /// A pod of the load of `compare --kubernetes`
    #[cfg(feature = "kubernetes")]
    #[command(hide = true)]
    Worker {
        /// What to call, when and how
        #[arg(long)]
        score: String,
    },
}

/// The package's version, and the commit where build.rs found one.
pub(crate) const VERSION: &str = env!("MESHLESS_VERSION");

#[cfg(test)]
mod tests;
