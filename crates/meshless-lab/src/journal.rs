//! The ids of calls that reached a backend, in a file, so that they outlive a backend that is killed.
//!
//! A server appends an entry at the moment it happens, with one `write` of eight bytes; what the kernel took is there
//! whatever becomes of the process. `compare` reads the file when the run is over, or watches it grow.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

/// A journal that is written.
#[derive(Debug)]
pub(crate) struct Journal(File);

/// What a journal holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Entries {
    /// Calls that arrived, once per arrival.
    pub(crate) arrived: Vec<u64>,
    /// Calls that a handler began to execute, once per execution.
    pub(crate) executed: Vec<u64>,
}

impl Journal {
    /// Goes on with the journal at `path`, which is made if missing: a backend that comes back keeps its past.
    ///
    /// # Errors
    /// If the file cannot be opened.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        OpenOptions::new().create(true).append(true).open(path).map(Self)
    }

    /// The call has arrived.
    pub(crate) fn arrived(&self, id: u64) {
        self.append(id << 1);
    }

    /// A handler begins to execute the call.
    pub(crate) fn executed(&self, id: u64) {
        self.append(id << 1 | EXECUTED);
    }

    fn append(&self, entry: u64) {
        // Short writes to a file happen on a full disk only; then the run's numbers are the lesser worry.
        if let Err(error) = (&self.0).write_all(&entry.to_le_bytes()) {
            tracing::warn!(%error, "the journal cannot be written");
        }
    }
}

impl Entries {
    /// Adds those of the journal at `path`. A backend that never began has none.
    ///
    /// # Errors
    /// If the file is there and cannot be read.
    pub(crate) fn read(&mut self, path: &Path) -> io::Result<()> {
        let bytes = match fs::read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            read => read?,
        };
        for entry in bytes.as_chunks().0 {
            let entry = u64::from_le_bytes(*entry);
            let ids = if entry & EXECUTED == 0 { &mut self.arrived } else { &mut self.executed };
            ids.push(entry >> 1);
        }
        Ok(())
    }
}

/// How many entries the journal at `path` has by now.
pub(crate) fn length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |file| file.len() / size_of::<u64>() as u64)
}

/// The lowest bit of an entry; the id is above it.
const EXECUTED: u64 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_outlive_the_writer_and_the_next_writer_adds_to_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        let mut entries = Entries::default();
        entries.read(&path).unwrap();
        assert_eq!((entries, length(&path)), (Entries::default(), 0));
        for id in [7, 9] {
            let journal = Journal::open(&path).unwrap();
            journal.arrived(id);
            journal.executed(id);
        }
        Journal::open(&path).unwrap().arrived(9);
        let mut entries = Entries::default();
        entries.read(&path).unwrap();
        assert_eq!(entries, Entries { arrived: vec![7, 9, 9], executed: vec![7, 9] });
        assert_eq!(length(&path), 5);
    }
}
