//! What is wrong with a TLS configuration, or with a server: in words that say what mends it.

use std::io;
use std::path::{Path, PathBuf};

use tokio_rustls::rustls;
use tokio_rustls::rustls::pki_types::{InvalidDnsNameError, ServerName};

use super::words::{self, Whose};

/// What is wrong with a TLS configuration, or with a server.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct TlsError(pub(super) Kind);

impl TlsError {
    pub(crate) fn from_rustls(error: rustls::Error) -> Self {
        Self(Kind::Certificate(error))
    }

    pub(crate) fn from_verifier(error: rustls::server::VerifierBuilderError) -> Self {
        Self(Kind::Authorities(error))
    }

    pub(crate) fn from_file(path: &Path, error: io::Error) -> Self {
        Self(Kind::File { path: path.to_owned(), error })
    }

    pub(super) fn from_handshake(error: io::Error, name: &ServerName<'static>) -> Self {
        use rustls::{AlertDescription, CertificateError, Error};
        let cause = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
        let name = name.to_str().into_owned();
        Self(match cause {
            Some(Error::InvalidMessage(_)) => Kind::NotTls,
            Some(Error::AlertReceived(AlertDescription::NoApplicationProtocol)) => Kind::NoHttp2,
            Some(Error::AlertReceived(alert)) => match words::alert_of_server(*alert) {
                Some(words) => Kind::Refused(words),
                None => Kind::Handshake(error),
            },
            Some(Error::InvalidCertificate(CertificateError::NotValidForNameContext {
                presented, ..
            })) if presented.is_empty() => Kind::NoNames { name },
            Some(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Kind::WrongName { name, error },
            Some(Error::InvalidCertificate(error)) => Kind::Refused(words::certificate(error, Whose::Server)),
            _ if error.kind() == io::ErrorKind::UnexpectedEof => Kind::Closed,
            _ => Kind::Handshake(error),
        })
    }
}

#[derive(Debug, thiserror::Error)]
pub(super) enum Kind {
    #[error("{0}")]
    Unusable(String),
    #[error("cannot read {}: {error}", path.display())]
    File {
        path: PathBuf,
        #[source]
        error: io::Error,
    },
    #[error("unusable certificate or key: {0}")]
    Certificate(rustls::Error),
    #[error("unusable authorities for clients: {0}")]
    Authorities(rustls::server::VerifierBuilderError),
    #[error("{name:?} is neither a DNS name nor an IP address")]
    Name {
        name: String,
        #[source]
        source: InvalidDnsNameError,
    },
    #[error("the server does not speak TLS; use a plain-text target, or the server's TLS port")]
    NotTls,
    #[error(
        "the server did not choose HTTP/2 by ALPN; switch it on there (ALPN \"h2\"), or use the server's gRPC port"
    )]
    NoHttp2,
    #[error(
        "the server's certificate is not for {name:?} ({error}); set the name it is for as the server name"
    )]
    WrongName { name: String, error: io::Error },
    #[error(
        "the server's certificate has no subjectAltName, and so is not for {name:?}: its common name does not count; make it \
         again with `-addext subjectAltName=DNS:{name}` (or IP:…)"
    )]
    NoNames { name: String },
    #[error("{0}")]
    Refused(String),
    #[error("the server closed the connection during the handshake; it may not speak TLS on this port")]
    Closed,
    #[error("{0}")]
    Handshake(io::Error),
}
