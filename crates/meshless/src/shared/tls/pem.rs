//! PEM text: where it is, and how it is read.
//!
//! Used by both sides. What stands in the text is read by [`material`](super::material).

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::TlsError;

/// PEM text, at hand or in a file that is read again from time to time.
#[derive(Clone)]
pub struct Pem(Source);

/// What was read, and from where.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Text {
    bytes: Arc<[u8]>,
    /// `None` for text that was given as such.
    path: Option<Arc<Path>>,
}

impl Text {
    /// The text, as it is.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// How a message names it: by the path of its file.
    pub(crate) fn name(&self) -> String {
        match &self.path {
            Some(path) => path.display().to_string(),
            None => "the PEM text".to_owned(),
        }
    }

    /// What stands for it in a command that is recommended.
    pub(crate) fn file(&self) -> String {
        match &self.path {
            Some(path) => path.display().to_string(),
            None => "FILE".to_owned(),
        }
    }
}

#[derive(Clone)]
enum Source {
    Text(Arc<[u8]>),
    File(PathBuf),
}

impl Pem {
    /// What the file at `path` holds, now and later. Kubernetes exchanges the files of a Secret by
    /// turning a symbolic link, which is followed anew each time.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self(Source::File(path.into()))
    }

    /// Reads it; blocks if it is a file.
    pub(crate) fn read(&self) -> Result<Text, TlsError> {
        match &self.0 {
            Source::Text(bytes) => Ok(Text { bytes: bytes.clone(), path: None }),
            Source::File(path) => {
                let bytes = read_file(path).map_err(|error| TlsError::from_file(path, error))?;
                Ok(Text { bytes, path: Some(path.as_path().into()) })
            }
        }
    }

    /// Whether it may change.
    pub(crate) fn is_file(&self) -> bool {
        matches!(self.0, Source::File(_))
    }
}

impl From<&str> for Pem {
    fn from(text: &str) -> Self {
        Self(Source::Text(text.as_bytes().into()))
    }
}

impl From<String> for Pem {
    fn from(text: String) -> Self {
        text.into_bytes().into()
    }
}

impl From<&String> for Pem {
    fn from(text: &String) -> Self {
        text.as_str().into()
    }
}

impl From<&[u8]> for Pem {
    fn from(text: &[u8]) -> Self {
        Self(Source::Text(text.into()))
    }
}

impl From<Vec<u8>> for Pem {
    fn from(text: Vec<u8>) -> Self {
        Self(Source::Text(text.into()))
    }
}

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            // It may be a key.
            Source::Text(_) => f.write_str("Pem(..)"),
            Source::File(path) => f.debug_tuple("Pem").field(path).finish(),
        }
    }
}

fn read_file(path: &Path) -> io::Result<Arc<[u8]>> {
    let mut text = Vec::new();
    File::open(path)?.take(FILE_LEN_MAX + 1).read_to_end(&mut text)?;
    if text.len() as u64 > FILE_LEN_MAX {
        return Err(io::Error::other("it is too long to be a certificate or a key"));
    }
    Ok(text.into())
}

/// The bundle of every public authority has 0.2 MiB; a Kubernetes Secret holds 1 MiB at most.
const FILE_LEN_MAX: u64 = 4 << 20;
