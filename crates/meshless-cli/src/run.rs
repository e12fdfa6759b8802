//! From the command line to an exit code: parses it, runs the command, and prints in one line why
//! that failed.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;
use clap::error::ErrorKind;

use meshless_lab::interrupt::{EXIT_INTERRUPTED, Interrupt};
use meshless_lab::serve::EchoServerError;
#[cfg(feature = "kubernetes")]
use meshless_lab::worker;
use meshless_lab::{client, compare};

use crate::cli::{Cli, Command};
use crate::load;

/// Runs the command of `arguments`, which begin with the program's name. Returns its exit code.
pub(crate) async fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        // The help and the version: what was asked for, or all that there is to say.
        Err(error) if is_help(error.kind()) => error.exit(),
        Err(error) => {
            eprintln!("{}", one_line(&error.render().to_string()));
            return ExitCode::from(EXIT_BAD_INPUT);
        }
    };
    let done = match cli.command {
        #[cfg(feature = "kubernetes")]
        Command::Worker { score } => {
            let interrupt = Interrupt::new(worker::INTERRUPTED);
            worker::work(&score, interrupt).await.map_err(|error| error.to_string())
        }
        Command::Compare(args) => match args.request() {
            Ok(request) => {
                let interrupt = Interrupt::new(compare::interrupted(&request.place));
                compare::run(request, interrupt).await.map_err(|error| error.to_string())
            }
            Err(error) => Err(error.to_string()),
        },
        // It listens itself: a signal begins its shutdown.
        Command::Serve(args) => match args.request() {
            Ok(request) => {
                meshless_lab::serve::run(request).await.map(|()| true).map_err(|error| match error {
                    EchoServerError::Name => format!("--name: {error}"),
                    error => error.to_string(),
                })
            }
            Err(error) => Err(error.to_string()),
        },
        // A signal begins its shutdown, as above.
        Command::Xds(args) => crate::xds::run(args).await.map(|()| true),
        Command::Client => {
            let mut interrupt = Interrupt::new("");
            tokio::select! {
                ended = client::run() => ended.map(|()| true).map_err(|error| error.to_string()),
                () = interrupt.wait() => Ok(false),
            }
        }
        Command::Load(args) => match load::run(args, Interrupt::new(meshless_lab::load::INTERRUPTED)).await {
            Ok(Some(report)) if !report.interrupted && report.failed > 0 => {
                return ExitCode::from(EXIT_CALLS_FAILED);
            }
            Ok(report) => Ok(report.is_some_and(|report| !report.interrupted)),
            Err(error) => Err(error.to_string()),
        },
        Command::Completions(args) => args.print().map(|()| true),
        Command::Man(args) => args.write().map(|()| true),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(EXIT_INTERRUPTED as u8),
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(EXIT_BAD_INPUT)
        }
    }
}

fn is_help(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::DisplayHelp
            | ErrorKind::DisplayVersion
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    )
}

/// What clap says is wrong, and its tips, without the usage that it puts below them.
fn one_line(text: &str) -> String {
    let is_below = |line: &str| line.starts_with("Usage:") || line.starts_with("For more information");
    let mut said = String::new();
    for line in text.lines().map(str::trim).take_while(|line| !is_below(line)).filter(|line| !line.is_empty())
    {
        if !said.is_empty() {
            said.push_str(if line.starts_with("tip:") { "; " } else { " " });
        }
        said.push_str(line);
    }
    said
}

/// The exit code if calls of the load failed.
const EXIT_CALLS_FAILED: u8 = 1;

/// The exit code if the command could not be run.
const EXIT_BAD_INPUT: u8 = 2;
