//! TLS to backends, with rustls.
//!
//! Users fill in [`TlsConfig`]; the connection runs the handshake with it. Trust is explicit: users
//! give the certificates of the authority that signs the backends, as PEM. There is no built-in
//! list of public authorities, since the cluster's own authority signs its backends. For a public
//! one, give the bundle of the system (on most Linux images `/etc/ssl/certs/ca-certificates.crt`).
//! For anything else, give your own `rustls::ClientConfig`.

mod credentials;
mod error;
mod explained;
pub(crate) mod material;
pub(crate) mod pem;
mod sections;
mod strange;
pub(crate) mod words;

use std::fmt;
use std::sync::Arc;

use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::shared::io::BoxIo;
pub(crate) use credentials::ALPN_H2;
use credentials::{Credentials, Sources};
use error::Kind;
pub use error::TlsError;
use explained::Explained;
pub use pem::Pem;

/// The trusted authorities, the client's own certificate, and the expected server name.
///
/// A [`Pem::file`] is read again for each new connection: when a Kubernetes Secret changes, a
/// channel presents its new certificate from the next connection on. Files that cannot be used are
/// refused with a warning, and the old ones stay in use.
///
/// An authority in a bundle that cannot be used is left out with a warning (`tracing`), and the
/// others are used. A private key must not be encrypted. A server certificate that is also an
/// authority's (`CA:TRUE`, the default of `openssl req -x509`) is refused.
#[derive(Clone)]
pub struct TlsConfig {
    trust: Trust,
    server_name: Option<ServerName<'static>>,
}

impl TlsConfig {
    /// Trusts the authorities whose certificates are in `pem`: one or more.
    ///
    /// # Errors
    /// If there is no certificate in `pem` that can be used.
    pub fn trusting(pem: impl Into<Pem>) -> Result<Self, TlsError> {
        Self::from_sources(Sources { authorities: pem.into(), identity: None })
    }

    /// Uses your own configuration. Its ALPN list is replaced by `h2`, without which gRPC does not
    /// work.
    pub fn from_rustls(config: ClientConfig) -> Self {
        Self { trust: Trust::Own(Arc::new(config)), server_name: None }
    }

    /// Presents a certificate to servers that ask for one (mutual TLS).
    ///
    /// `chain` holds it and its intermediates, `key` its private key. This has no effect with
    /// [`from_rustls`](Self::from_rustls), whose configuration holds its own.
    ///
    /// # Errors
    /// If one of them is missing or cannot be read, or the key does not match the certificate.
    pub fn identity(self, chain: impl Into<Pem>, key: impl Into<Pem>) -> Result<Self, TlsError> {
        let Trust::Sources(sources) = self.trust else { return Ok(self) };
        let changed = Self::from_sources(Sources { identity: Some((chain.into(), key.into())), ..sources })?;
        Ok(Self { server_name: self.server_name, ..changed })
    }

    /// Expects this name in the server's certificate, and sends it as SNI. Default: the host in the
    /// channel's target. The address that is dialled does not matter.
    ///
    /// # Errors
    /// If it is neither a DNS name nor an IP address.
    pub fn server_name(mut self, name: impl Into<String>) -> Result<Self, TlsError> {
        self.server_name = Some(parse_name(name.into())?);
        Ok(self)
    }

    /// Builds the TLS of one channel. `host` is the host in the channel's target.
    pub(crate) fn build(&self, host: &str) -> Result<ClientTls, TlsError> {
        let credentials = match &self.trust {
            Trust::Own(config) => Credentials::own(ClientConfig::clone(config)),
            Trust::Sources(sources) => Credentials::new(sources.clone())?,
        };
        let server_name = match &self.server_name {
            Some(name) => name.clone(),
            None => parse_name(host.trim_start_matches('[').trim_end_matches(']').to_owned())?,
        };
        Ok(ClientTls { credentials, server_name })
    }

    fn from_sources(sources: Sources) -> Result<Self, TlsError> {
        // Errors in the files are reported now, not at the first connection.
        sources.check()?;
        Ok(Self { trust: Trust::Sources(sources), server_name: None })
    }
}

impl fmt::Debug for TlsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The key must not be shown.
        f.debug_struct("TlsConfig").field("server_name", &self.server_name).finish_non_exhaustive()
    }
}

/// The TLS settings of one channel.
#[derive(Clone)]
pub(crate) struct ClientTls {
    credentials: Credentials,
    server_name: ServerName<'static>,
}

impl ClientTls {
    /// Runs the handshake, and checks that both sides use HTTP/2.
    pub(crate) async fn handshake(&self, io: BoxIo) -> Result<BoxIo, TlsError> {
        let stream = TlsConnector::from(self.credentials.current().await)
            .connect(self.server_name.clone(), io)
            .await
            .map_err(|error| TlsError::from_handshake(error, &self.server_name))?;
        match stream.get_ref().1.alpn_protocol() {
            Some(ALPN_H2) => Ok(Box::new(Explained(stream))),
            _ => Err(TlsError(Kind::NoHttp2)),
        }
    }
}

#[cfg(feature = "kubernetes")]
impl ClientTls {
    /// Runs the handshake for HTTP/1.1, which every Kubernetes API server speaks beside HTTP/2.
    pub(crate) async fn handshake_http1(&self, io: BoxIo) -> Result<BoxIo, TlsError> {
        let mut config = ClientConfig::clone(&*self.credentials.current().await);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let stream = TlsConnector::from(Arc::new(config))
            .connect(self.server_name.clone(), io)
            .await
            .map_err(|error| TlsError::from_handshake(error, &self.server_name))?;
        Ok(Box::new(stream))
    }
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTls").field("server_name", &self.server_name).finish_non_exhaustive()
    }
}

#[derive(Clone)]
enum Trust {
    Sources(Sources),
    Own(Arc<ClientConfig>),
}

fn parse_name(name: String) -> Result<ServerName<'static>, TlsError> {
    ServerName::try_from(name.clone()).map_err(|source| TlsError(Kind::Name { name, source }))
}

#[cfg(test)]
mod tests;
