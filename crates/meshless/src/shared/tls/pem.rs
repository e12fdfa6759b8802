//! Certificates and keys as PEM: where the text is, and how it is read.
//!
//! Used by both sides. It never judges whether a certificate is valid, only whether it can be read.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::pki_types::pem::{Error, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::{Kind, TlsError};

/// PEM text, at hand or in a file that is read again from time to time.
#[derive(Clone)]
pub struct Pem(Source);

/// What was read.
pub(crate) type Text = Arc<[u8]>;

#[derive(Clone)]
enum Source {
    Text(Text),
    File(PathBuf),
}

impl Pem {
    /// What the file at `path` holds, now and later. Kubernetes exchanges the files of a Secret by turning a symbolic link,
    /// which is followed anew each time.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self(Source::File(path.into()))
    }

    /// Reads it; blocks if it is a file.
    pub(crate) fn read(&self) -> Result<Text, TlsError> {
        match &self.0 {
            Source::Text(text) => Ok(text.clone()),
            Source::File(path) => read_file(path).map_err(|error| TlsError::from_file(path, error)),
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

/// A certificate and its intermediates.
pub(crate) fn chain(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let chain: Vec<_> =
        CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(TlsError::from_pem)?;
    if chain.is_empty() {
        return Err(TlsError(Kind::Missing("certificate")));
    }
    Ok(chain)
}

pub(crate) fn key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| match error {
        Error::NoItemsFound => TlsError(Kind::Missing("private key")),
        other => TlsError::from_pem(other),
    })
}

/// Authorities, one or many.
pub(crate) fn roots(pem: &[u8]) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in chain(pem)? {
        roots.add(certificate).map_err(TlsError::from_rustls)?;
    }
    Ok(roots)
}

fn read_file(path: &Path) -> io::Result<Text> {
    let mut text = Vec::new();
    File::open(path)?.take(FILE_LEN_MAX + 1).read_to_end(&mut text)?;
    if text.len() as u64 > FILE_LEN_MAX {
        return Err(io::Error::other("it is too long to be a certificate or a key"));
    }
    Ok(text.into())
}

/// The bundle of every public authority has 0.2 MiB; a Kubernetes Secret holds 1 MiB at most.
const FILE_LEN_MAX: u64 = 4 << 20;
