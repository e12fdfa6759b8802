//! `meshless completions` and `meshless man`: what a package of the program brings along, made from
//! the same definition of the commands as the help.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;

use crate::cli::{Cli, VERSION};

/// What `meshless completions` can be asked for.
#[derive(Clone, Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell that reads them
    #[arg(value_enum)]
    shell: Shell,
}

/// What `meshless man` can be asked for.
#[derive(Clone, Debug, Args)]
pub(crate) struct ManArgs {
    /// Folder for the pages, one per command; it is made if it is missing [default: the first page,
    /// on stdout]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

impl CompletionsArgs {
    /// Prints the script.
    ///
    /// # Errors
    /// If stdout cannot be written to, in words for the user.
    pub(crate) fn print(&self) -> Result<(), String> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut shown(&Cli::command()), "meshless", &mut script);
        print(&script)
    }
}

impl ManArgs {
    /// Prints the first page, or writes all of them.
    ///
    /// # Errors
    /// If stdout or the folder cannot be written to, in words for the user.
    pub(crate) fn write(&self) -> Result<(), String> {
        let command = shown(&Cli::command()).disable_help_subcommand(true);
        let Some(folder) = &self.out else {
            let mut page = Vec::new();
            Man::new(command).render(&mut page).map_err(|error| error.to_string())?;
            return print(&page);
        };
        write_pages(command, folder).map_err(|error| {
            format!(
                "{}: the pages cannot be written: {error}; name another folder with --out",
                folder.display()
            )
        })
    }
}

fn write_pages(command: Command, folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    clap_mangen::generate_to(command, folder)
}

/// The program as its help shows it: without the commands that it runs itself.
fn shown(cli: &Command) -> Command {
    let commands = cli.get_subcommands().filter(|command| !command.is_hide_set()).cloned();
    Command::new("meshless")
        .version(VERSION)
        .about(cli.get_about().cloned().unwrap_or_default())
        .long_about(cli.get_long_about().cloned().unwrap_or_default())
        .subcommand_required(true)
        .subcommands(commands)
}

fn print(bytes: &[u8]) -> Result<(), String> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        // `meshless man | head` has read enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(|error| format!("cannot write to stdout: {error}")),
    }
}
