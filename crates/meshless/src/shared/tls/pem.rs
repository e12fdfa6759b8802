//! PEM text: where it comes from, and how it is read.
//!
//! Used by both sides. [`material`](super::material) parses the text.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::TlsError;

/// PEM text, given directly or in a file that is read again from time to time.
#[derive(Clone)]
pub struct Pem(Source);

/// The text that was read, and its file.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Text {
    bytes: Arc<[u8]>,
    /// `None` for text that was given directly.
    path: Option<Arc<Path>>,
}

impl Text {
    /// Returns the text as it is.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns the name for messages: the path of its file.
    pub(crate) fn name(&self) -> String {
        match &self.path {
            Some(path) => path.display().to_string(),
            None => "the PEM text".to_owned(),
        }
    }

    /// Returns the placeholder or path for a recommended command.
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
    /// The contents of the file at `path`, now and later. Kubernetes replaces the files of a Secret
    /// by changing a symbolic link, which is followed anew each time.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self(Source::File(path.into()))
    }

    /// Reads the text; blocks if it is a file.
    pub(crate) fn read(&self) -> Result<Text, TlsError> {
        match &self.0 {
            Source::Text(bytes) => Ok(Text { bytes: bytes.clone(), path: None }),
            Source::File(path) => {
                let bytes = read_file(path).map_err(|error| TlsError::from_file(path, error))?;
                Ok(Text { bytes, path: Some(path.as_path().into()) })
            }
        }
    }

    /// Returns true if the text may change.
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
            // The text may be a key.
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

/// The bundle of all public authorities has 0.2 MiB; a Kubernetes Secret has at most 1 MiB.
const FILE_LEN_MAX: u64 = 4 << 20;
