//! Writes the report, and prints the results.

use std::io::{self, IsTerminal, Write};
use std::path::Path;

use super::ReportError;
use crate::results::Results;

/// Writes the report into `out`, and prints the results: as JSON, or as tables.
///
/// # Errors
/// If a file cannot be written.
pub(crate) fn publish(results: &Results, out: &Path, json: bool) -> Result<(), ReportError> {
    let written = super::write(results, out)?;
    if json {
        print(&super::json(results));
    } else {
        print(&super::terminal(results, terminal_width(), wants_colour()));
        eprintln!("the report is {}", written.page.display());
    }
    Ok(())
}

/// A closed reader, such as `head`, is not an error: the report is written.
fn print(text: &str) {
    let _ = writeln!(io::stdout().lock(), "{}", text.trim_end());
}

fn terminal_width() -> u16 {
    match rustix::termios::tcgetwinsize(io::stdout()) {
        Ok(size) if size.ws_col > 0 => size.ws_col,
        _ => WIDTH_UNKNOWN,
    }
}

/// See <https://no-color.org>.
fn wants_colour() -> bool {
    io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// The width if no terminal gives one.
const WIDTH_UNKNOWN: u16 = 100;
