//! The report of a run: a page for people, JSON and CSV for scripts, a table for the terminal.
//!
//! Called by `compare` with its measurements. Nothing here measures, and every sentence and picture
//! is computed from [`Results`].

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::experiment;
use crate::results::Results;

mod html;
mod json;
mod publish;
mod schema;
mod summary;
mod terminal;
mod verdict;

pub(crate) use publish::publish;
pub use schema::schema;

/// The files of one report.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Written {
    /// The page to open.
    pub page: PathBuf,
    /// Every file; the page is first.
    pub files: Vec<PathBuf>,
}

/// Why a report could not be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// The folder cannot be created, or is something else.
    #[error("cannot use {} as the report's folder: {source}; choose another with --out", path.display())]
    Folder {
        /// The requested folder.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// A file in the folder cannot be written.
    #[error("cannot write {}: {source}; choose another folder with --out", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
}

/// Writes the page, `results.json` and one CSV per table into `out`, which is created if missing.
///
/// # Errors
///
/// If the folder or a file in it cannot be written. Files written before stay.
pub fn write(results: &Results, out: &Path) -> Result<Written, ReportError> {
    make_folder(out)?;
    let mut files = vec![("index.html", html::page(results)), ("results.json", json::text(results))];
    files.extend(experiment::ALL.iter().flat_map(|experiment| (experiment.tables().csv)(results)));
    let mut written = Vec::with_capacity(files.len());
    for (name, text) in files {
        let path = out.join(name);
        fs::write(&path, text).map_err(|source| ReportError::File { path: path.clone(), source })?;
        written.push(path);
    }
    Ok(Written { page: out.join("index.html"), files: written })
}

/// Checks before a long run that its report can be written: creates the folder and a file in it.
///
/// # Errors
///
/// If [`write()`] would fail for the same folder.
pub fn check_writable(out: &Path) -> Result<(), ReportError> {
    make_folder(out)?;
    let path = out.join(".writable");
    fs::write(&path, "")
        .and_then(|()| fs::remove_file(&path))
        .map_err(|source| ReportError::File { path, source })
}

/// Returns the run as JSON, the text of `results.json`.
#[must_use]
pub fn json(results: &Results) -> String {
    json::text(results)
}

/// Returns the run for a terminal of `width` columns: tables and verdict, with ANSI colours if
/// `colour` is true.
#[must_use]
pub fn terminal(results: &Results, width: u16, colour: bool) -> String {
    terminal::text(results, width, colour)
}

fn make_folder(out: &Path) -> Result<(), ReportError> {
    fs::create_dir_all(out).map_err(|source| ReportError::Folder { path: out.to_owned(), source })
}
