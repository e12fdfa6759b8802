//! TLS for a server's clients, with rustls: who the server is, which clients it lets in, and
//! certificates that change under a running server.
//!
//! [`ServerTlsConfig`] is what users fill in. Each connection's handshake runs as the first part of
//! the connection, under its handshake timeout; `reload` keeps the certificate up to date.

mod expiry;
mod handshake;
mod reload;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::server::WebPkiClientVerifier;

use crate::shared::tls::pem::{Pem, Text};
use crate::shared::tls::{ALPN_H2, TlsError, material};

use expiry::Expiry;
pub(super) use handshake::TlsIo;
pub(super) use reload::{Current, Reload};

/// Who the server is, and which clients it lets in. See [`Server::tls`](crate::Server::tls).
///
/// ```no_run
/// use meshless::{Pem, ServerTlsConfig};
/// # fn config() -> Result<ServerTlsConfig, meshless::tls::TlsError> {
/// // A Secret of type kubernetes.io/tls, as cert-manager keeps it up to date.
/// let tls = ServerTlsConfig::new(Pem::file("/tls/tls.crt"), Pem::file("/tls/tls.key"))?
///     .client_ca(Pem::file("/tls/ca.crt"))?;
/// # Ok(tls)
/// # }
/// ```
///
/// # Certificates that change
///
/// Files are read again every [`reload_interval`](Self::reload_interval) and compared with what was
/// read before, which is as sure with the symbolic links of a Kubernetes volume as with files that
/// are written in place. New handshakes use the new certificate; connections that stand keep the
/// old one, until their age replaces them: with a
/// [`max_connection_age`](crate::Server::max_connection_age) a new certificate, or a new list of
/// client authorities, is in effect everywhere one such age later, with no restart. Files that
/// cannot be read, or of which certificate and key do not belong together, as in the middle of a
/// write, are refused with a warning, and the old ones stay.
///
/// A certificate that expires within seven days, or has expired, is warned of (`tracing`) when it
/// comes into use and once a day; [`not_after`](Self::not_after) tells when.
#[derive(Clone)]
pub struct ServerTlsConfig {
    sources: Option<Sources>,
    /// Valid, and made from what the sources held.
    config: Arc<ServerConfig>,
    contents: Contents,
    /// What is to be said about client authorities that were left out.
    warnings: Vec<String>,
    expiry: Expiry,
    /// `None`: files are read once.
    reload_interval: Option<Duration>,
}

impl ServerTlsConfig {
    /// Presents a certificate: `chain` holds it and its intermediates, `key` its private key.
    ///
    /// # Errors
    /// If one of them cannot be read, or they do not belong together.
    pub fn new(chain: impl Into<Pem>, key: impl Into<Pem>) -> Result<Self, TlsError> {
        Self::from_sources(Sources {
            chain: chain.into(),
            key: key.into(),
            client_ca: None,
            client_certificate_optional: false,
        })
    }

    /// Uses a configuration of your own, whose ALPN list is replaced by `h2`. Nothing is read
    /// again, but rustls' own certificate resolvers work; the settings below that concern
    /// certificates have no effect.
    pub fn from_rustls(mut config: ServerConfig) -> Self {
        config.alpn_protocols = vec![ALPN_H2.to_vec()];
        Self {
            sources: None,
            config: Arc::new(config),
            contents: Contents::default(),
            warnings: Vec::new(),
            expiry: Expiry::new(Vec::new()),
            reload_interval: Some(RELOAD_INTERVAL),
        }
    }

    /// Lets in only clients with a certificate that one of these authorities has signed (mutual
    /// TLS). Handlers find it with tonic's `Request::peer_certs`.
    ///
    /// # Errors
    /// If there is no certificate in it that can be used. Others are left out, with a warning when
    /// the server starts.
    pub fn client_ca(self, authorities: impl Into<Pem>) -> Result<Self, TlsError> {
        self.change(|sources| sources.client_ca = Some(authorities.into()))
    }

    /// With [`client_ca`](Self::client_ca), also lets in clients without a certificate: handlers
    /// decide. A certificate that is presented must be good. Default: every client needs one.
    ///
    /// # Errors
    /// If a file cannot be read any more.
    pub fn client_certificate_optional(self) -> Result<Self, TlsError> {
        self.change(|sources| sources.client_certificate_optional = true)
    }

    /// How often files are looked at. Default: 60 s, which is about what a kubelet takes to bring a
    /// changed Secret into a pod. At least 100 ms; `None`: never.
    #[must_use]
    pub fn reload_interval(mut self, interval: impl Into<Option<Duration>>) -> Self {
        self.reload_interval =
            interval.into().map(|interval| interval.clamp(RELOAD_INTERVAL_MIN, RELOAD_INTERVAL_MAX));
        self
    }

    /// Until when the certificate and its intermediates are all valid. A clone that is kept beside
    /// a running server tells it of the certificate that is in use there, for a metric or a health
    /// check of your own. `None` with [`from_rustls`](Self::from_rustls).
    pub fn not_after(&self) -> Option<SystemTime> {
        let seconds = Duration::from_secs(self.expiry.not_after()?.max(0).unsigned_abs());
        UNIX_EPOCH.checked_add(seconds)
    }

    fn from_sources(sources: Sources) -> Result<Self, TlsError> {
        let contents = sources.read()?;
        let (config, warnings) = sources.build(&contents)?;
        let expiry = Expiry::new(expiry::ends(&contents.chain));
        let sources = Some(sources);
        Ok(Self { sources, config, contents, warnings, expiry, reload_interval: Some(RELOAD_INTERVAL) })
    }

    fn change(self, change: impl FnOnce(&mut Sources)) -> Result<Self, TlsError> {
        let Some(mut sources) = self.sources else { return Ok(self) };
        change(&mut sources);
        let changed = Self::from_sources(sources)?;
        Ok(Self { reload_interval: self.reload_interval, ..changed })
    }
}

impl fmt::Debug for ServerTlsConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the key.
        f.debug_struct("ServerTlsConfig").field("sources", &self.sources).finish_non_exhaustive()
    }
}

/// Where everything comes from.
#[derive(Clone, Debug)]
struct Sources {
    chain: Pem,
    key: Pem,
    client_ca: Option<Pem>,
    client_certificate_optional: bool,
}

/// What stood there at one time.
#[derive(Clone, Default, PartialEq, Eq)]
struct Contents {
    chain: Text,
    key: Text,
    client_ca: Option<Text>,
}

impl Sources {
    fn has_files(&self) -> bool {
        let client_ca = self.client_ca.as_ref().is_some_and(Pem::is_file);
        self.chain.is_file() || self.key.is_file() || client_ca
    }

    /// Blocks on files.
    fn read(&self) -> Result<Contents, TlsError> {
        let client_ca = self.client_ca.as_ref().map(Pem::read).transpose()?;
        Ok(Contents { chain: self.chain.read()?, key: self.key.read()?, client_ca })
    }

    /// The configuration, and what is to be said about authorities that were left out. Each
    /// configuration has its own session cache, so no session outlives the authorities that let it
    /// in.
    fn build(&self, contents: &Contents) -> Result<(Arc<ServerConfig>, Vec<String>), TlsError> {
        let mut warnings = Vec::new();
        let provider = Arc::new(default_provider());
        let verifier = match &contents.client_ca {
            None => WebPkiClientVerifier::no_client_auth(),
            Some(authorities) => {
                let authorities = material::authorities(authorities)?;
                warnings = authorities.warnings;
                let roots = Arc::new(authorities.roots);
                let mut verifier = WebPkiClientVerifier::builder_with_provider(roots, provider.clone());
                if self.client_certificate_optional {
                    verifier = verifier.allow_unauthenticated();
                }
                verifier.build().map_err(TlsError::from_verifier)?
            }
        };
        let (chain, key) = material::identity(&contents.chain, &contents.key)?;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(TlsError::from_rustls)?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)
            .map_err(TlsError::from_rustls)?;
        config.alpn_protocols = vec![ALPN_H2.to_vec()];
        Ok((Arc::new(config), warnings))
    }
}

/// The kubelet looks at its Secrets every minute or so (`syncFrequency`, 1 min).
const RELOAD_INTERVAL: Duration = Duration::from_secs(60);

/// Three small files ten times a second cost nothing that can be measured.
const RELOAD_INTERVAL_MIN: Duration = Duration::from_millis(100);

/// No sum of an instant and this overflows.
const RELOAD_INTERVAL_MAX: Duration = Duration::from_secs(365 * 24 * 3600);
