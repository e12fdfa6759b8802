//! The ids of calls that a backend executed, in a file, so that they outlive a backend that is
//! killed.
//!
//! A server appends an id at the moment it begins, with one `write` of eight bytes; what the kernel
//! took is there whatever becomes of the process. `compare` reads the file when the run is over, or
//! watches it grow.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

/// A journal that is written.
#[derive(Debug)]
pub(crate) struct Journal(File);

impl Journal {
    /// Goes on with the journal at `path`, which is made if missing: a backend that comes back
    /// keeps its past.
    ///
    /// # Errors
    /// If the file cannot be opened.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        OpenOptions::new().create(true).append(true).open(path).map(Self)
    }

    /// A handler begins to execute the call.
    pub(crate) fn executed(&self, id: u64) {
        // Short writes to a file happen on a full disk only; then the run's numbers are the lesser
        // worry.
        if let Err(error) = (&self.0).write_all(&id.to_le_bytes()) {
            tracing::warn!(%error, "the journal cannot be written");
        }
    }
}

/// The ids in the journal at `path`, once per execution. A backend that never began has none.
///
/// # Errors
/// If the file is there and cannot be read.
pub(crate) fn read(path: &Path) -> io::Result<Vec<u64>> {
    match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        read => Ok(read?.as_chunks().0.iter().map(|id| u64::from_le_bytes(*id)).collect()),
    }
}

/// How many ids the journal at `path` has by now.
pub(crate) fn length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |file| file.len() / size_of::<u64>() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_outlive_the_writer_and_the_next_writer_adds_to_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        assert_eq!((read(&path).unwrap(), length(&path)), (Vec::new(), 0));
        for id in [7, 9] {
            Journal::open(&path).unwrap().executed(id);
        }
        Journal::open(&path).unwrap().executed(9);
        assert_eq!((read(&path).unwrap(), length(&path)), (vec![7, 9, 9], 3));
    }
}
