//! TLS to backends, with rustls.
//!
//! [`TlsConfig`] is what users fill in; the connection runs the handshake with it. Trust is explicit: the certificates
//! of the authority that signs the backends, as PEM. There is no built-in list of public authorities, since backends in
//! a cluster are signed by the cluster's own; for a public one, give the bundle of the system (on most Linux images
//! `/etc/ssl/certs/ca-certificates.crt`), and for anything beyond, a `rustls::ClientConfig` of your own.

pub(crate) mod pem;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::WantsClientCert;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::{CertificateDer, InvalidDnsNameError, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{self, ClientConfig, ConfigBuilder, RootCertStore};

use crate::connector::BoxIo;

pub use pem::Pem;

/// Whom to trust, who to be, and which name to expect.
#[derive(Clone)]
pub struct TlsConfig {
    trust: Trust,
    identity: Option<Arc<Identity>>,
    server_name: Option<ServerName<'static>>,
}

impl TlsConfig {
    /// Trusts the authorities whose certificates are in `pem`, one or many.
    ///
    /// # Errors
    /// If there is no certificate in `pem`, or one that cannot be read.
    pub fn trusting(pem: impl AsRef<[u8]>) -> Result<Self, TlsError> {
        let roots = Arc::new(pem::roots(pem.as_ref())?);
        Ok(Self { trust: Trust::Roots(roots), identity: None, server_name: None })
    }

    /// Uses a configuration of your own. Its ALPN list is replaced by `h2`, without which gRPC does not work.
    pub fn from_rustls(config: ClientConfig) -> Self {
        Self { trust: Trust::Own(Arc::new(config)), identity: None, server_name: None }
    }

    /// Presents a certificate to servers that ask for one (mutual TLS): `chain` holds it and its intermediates, `key`
    /// its private key. Has no effect with [`from_rustls`](Self::from_rustls), whose configuration holds its own.
    ///
    /// # Errors
    /// If a certificate or the key is missing or cannot be read.
    pub fn identity(mut self, chain: impl AsRef<[u8]>, key: impl AsRef<[u8]>) -> Result<Self, TlsError> {
        let (chain, key) = (pem::chain(chain.as_ref())?, pem::key(key.as_ref())?);
        self.identity = Some(Arc::new(Identity { chain, key }));
        Ok(self)
    }

    /// Expects this name in the server's certificate, and asks for it with SNI. Default: the host in the channel's
    /// target. The address that is dialled plays no part.
    ///
    /// # Errors
    /// If it is neither a DNS name nor an IP address.
    pub fn server_name(mut self, name: impl Into<String>) -> Result<Self, TlsError> {
        self.server_name = Some(parse_name(name.into())?);
        Ok(self)
    }

    /// Puts it all together. `host` is the host in the channel's target.
    pub(crate) fn build(&self, host: &str) -> Result<ClientTls, TlsError> {
        let mut config = match &self.trust {
            Trust::Own(config) => ClientConfig::clone(config),
            Trust::Roots(roots) => {
                let builder = builder()?.with_root_certificates(Arc::clone(roots));
                authenticated(builder, self.identity.as_deref())?
            }
        };
        config.alpn_protocols = vec![ALPN_H2.to_vec()];
        let server_name = match &self.server_name {
            Some(name) => name.clone(),
            None => parse_name(host.trim_start_matches('[').trim_end_matches(']').to_owned())?,
        };
        Ok(ClientTls { connector: TlsConnector::from(Arc::new(config)), server_name })
    }
}

impl fmt::Debug for TlsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the key.
        f.debug_struct("TlsConfig").field("server_name", &self.server_name).finish_non_exhaustive()
    }
}

/// What is wrong with a TLS configuration, or with a server.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct TlsError(Kind);

impl TlsError {
    fn from_pem(error: rustls::pki_types::pem::Error) -> Self {
        Self(Kind::Pem(error))
    }

    pub(crate) fn from_rustls(error: rustls::Error) -> Self {
        Self(Kind::Certificate(error))
    }

    pub(crate) fn from_verifier(error: rustls::server::VerifierBuilderError) -> Self {
        Self(Kind::Authorities(error))
    }

    pub(crate) fn from_file(path: &Path, error: io::Error) -> Self {
        Self(Kind::File { path: path.to_owned(), error })
    }

    fn from_handshake(error: io::Error, name: &ServerName<'static>) -> Self {
        use rustls::{AlertDescription, CertificateError, Error};
        let cause = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
        let name = name.to_str().into_owned();
        Self(match cause {
            Some(Error::InvalidMessage(_)) => Kind::NotTls,
            Some(Error::AlertReceived(AlertDescription::NoApplicationProtocol)) => Kind::NoHttp2,
            Some(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Kind::WrongName { name, error },
            // A bad signature: the authority has the name of one that is trusted, and another key.
            Some(Error::InvalidCertificate(
                CertificateError::UnknownIssuer | CertificateError::BadSignature,
            )) => Kind::UnknownIssuer,
            _ if error.kind() == io::ErrorKind::UnexpectedEof => Kind::Closed,
            _ => Kind::Handshake(error),
        })
    }
}

/// TLS as one channel uses it.
#[derive(Clone)]
pub(crate) struct ClientTls {
    connector: TlsConnector,
    server_name: ServerName<'static>,
}

impl ClientTls {
    /// Runs the handshake, and makes sure that both sides mean HTTP/2.
    pub(crate) async fn handshake(&self, io: BoxIo) -> Result<BoxIo, TlsError> {
        let stream = self
            .connector
            .connect(self.server_name.clone(), io)
            .await
            .map_err(|error| TlsError::from_handshake(error, &self.server_name))?;
        match stream.get_ref().1.alpn_protocol() {
            Some(ALPN_H2) => Ok(Box::new(stream)),
            _ => Err(TlsError(Kind::NoHttp2)),
        }
    }
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTls").field("server_name", &self.server_name).finish_non_exhaustive()
    }
}

#[derive(Clone)]
enum Trust {
    Roots(Arc<RootCertStore>),
    Own(Arc<ClientConfig>),
}

struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

#[derive(Debug, thiserror::Error)]
enum Kind {
    #[error("cannot read PEM: {0}")]
    Pem(rustls::pki_types::pem::Error),
    #[error("no {0} found; give it as PEM")]
    Missing(&'static str),
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
        "the server's certificate is signed by an authority that is not trusted; add that authority's certificate"
    )]
    UnknownIssuer,
    #[error("the server closed the connection during the handshake; it may not speak TLS on this port")]
    Closed,
    #[error("{0}")]
    Handshake(io::Error),
}

/// Names the provider, so that nothing depends on which one the process has installed.
fn builder() -> Result<ConfigBuilder<ClientConfig, rustls::WantsVerifier>, TlsError> {
    ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(TlsError::from_rustls)
}

fn authenticated(
    builder: ConfigBuilder<ClientConfig, WantsClientCert>,
    identity: Option<&Identity>,
) -> Result<ClientConfig, TlsError> {
    match identity {
        None => Ok(builder.with_no_client_auth()),
        Some(Identity { chain, key }) => {
            builder.with_client_auth_cert(chain.clone(), key.clone_key()).map_err(TlsError::from_rustls)
        }
    }
}

fn parse_name(name: String) -> Result<ServerName<'static>, TlsError> {
    ServerName::try_from(name.clone()).map_err(|source| TlsError(Kind::Name { name, source }))
}

/// The ALPN protocol id of HTTP/2 over TLS (RFC 9113 §3.2).
pub(crate) const ALPN_H2: &[u8] = b"h2";

#[cfg(test)]
mod tests;
