//! TLS for a server's clients, with rustls: the server's certificate, the accepted clients, and
//! certificates that change while the server runs.
//!
//! Users fill in [`ServerTlsConfig`]. Each connection begins with its handshake, within the
//! handshake timeout; `reload` keeps the certificate up to date.

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

/// The server's certificate, and which clients it accepts. See [`Server::tls`](crate::Server::tls).
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
/// Files are read again every [`reload_interval`](Self::reload_interval) and compared with the last
/// contents. This works with the symbolic links of a Kubernetes volume and with files that are
/// written in place. New handshakes use the new certificate; open connections keep the old one. So
/// with a [`max_connection_age`](crate::Server::max_connection_age), a new certificate, or a new
/// list of client authorities, is used everywhere after one such age, without a restart. If a file
/// cannot be read, or the key does not match the certificate, as in the middle of a write, the old
/// files stay in use, with a warning.
///
/// The server warns (`tracing`) of a certificate that expires within seven days, or has expired:
/// when it comes into use and once a day. [`not_after`](Self::not_after) returns the time.
/// comes into use and once a day; [`not_after`](Self::not_after) tells when.
#[derive(Clone)]
pub struct ServerTlsConfig {
    sources: Option<Sources>,
    /// Valid, and made from the contents of the sources.
    config: Arc<ServerConfig>,
    contents: Contents,
    /// Warnings about client authorities that were left out.
    warnings: Vec<String>,
    expiry: Expiry,
    /// `None`: files are read once.
    reload_interval: Option<Duration>,
}

impl ServerTlsConfig {
    /// Presents a certificate: `chain` holds it and its intermediates, `key` its private key.
    ///
    /// # Errors
    /// If one of them cannot be read, or the key does not match the certificate.
    pub fn new(chain: impl Into<Pem>, key: impl Into<Pem>) -> Result<Self, TlsError> {
        Self::from_sources(Sources {
            chain: chain.into(),
            key: key.into(),
            client_ca: None,
            client_certificate_optional: false,
        })
    }

    /// Uses your own configuration. Its ALPN list is replaced by `h2`.
    ///
    /// Nothing is read again, but rustls' own certificate resolvers work. The settings below that
    /// concern certificates have no effect.
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

    /// Accepts only clients with a certificate that one of these authorities has signed (mutual
    /// TLS). Handlers find the certificate with tonic's `Request::peer_certs`.
    ///
    /// # Errors
    /// If `authorities` holds no certificate that can be used. If only some cannot be used, they
    /// are left out, with a warning when the server starts.
    pub fn client_ca(self, authorities: impl Into<Pem>) -> Result<Self, TlsError> {
        self.change(|sources| sources.client_ca = Some(authorities.into()))
    }

    /// With [`client_ca`](Self::client_ca), also accepts clients without a certificate: handlers
    /// decide. A certificate that is presented must be valid. Default: every client needs one.
    ///
    /// # Errors
    /// If a file can no longer be read.
    pub fn client_certificate_optional(self) -> Result<Self, TlsError> {
        self.change(|sources| sources.client_certificate_optional = true)
    }

    /// Sets how often files are checked. Default: 60 s, about the time until a kubelet updates a
    /// changed Secret in a pod. At least 100 ms; `None`: never.
    #[must_use]
    pub fn reload_interval(mut self, interval: impl Into<Option<Duration>>) -> Self {
        self.reload_interval =
            interval.into().map(|interval| interval.clamp(RELOAD_INTERVAL_MIN, RELOAD_INTERVAL_MAX));
        self
    }

    /// Returns the time until which the certificate and its intermediates are all valid.
    ///
    /// `None` with [`from_rustls`](Self::from_rustls). A clone that you keep beside a running
    /// server returns the time of the certificate in use, for your own metric or health check.
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
        // The key must not be shown.
        f.debug_struct("ServerTlsConfig").field("sources", &self.sources).finish_non_exhaustive()
    }
}

/// The sources of all certificates and keys.
#[derive(Clone, Debug)]
struct Sources {
    chain: Pem,
    key: Pem,
    client_ca: Option<Pem>,
    client_certificate_optional: bool,
}

/// The contents of the sources at one time.
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

    /// Returns the configuration, and warnings about authorities that were left out. Each
    /// configuration has its own session cache, so no session outlives the authorities that
    /// accepted it.
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

/// The kubelet checks its Secrets about every minute (`syncFrequency`, 1 min).
const RELOAD_INTERVAL: Duration = Duration::from_secs(60);

/// Three small files ten times a second cost nothing that can be measured.
const RELOAD_INTERVAL_MIN: Duration = Duration::from_millis(100);

/// The sum of an instant and this does not overflow.
const RELOAD_INTERVAL_MAX: Duration = Duration::from_secs(365 * 24 * 3600);
