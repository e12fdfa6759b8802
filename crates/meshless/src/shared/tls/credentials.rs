//! The rustls configuration of a channel, which follows its certificate files.
//!
//! Each handshake asks for it, and the files are then read again. This needs no task and no timer:
//! a channel connects rarely, and an open connection keeps its credentials until it is replaced.

use std::sync::{Arc, Mutex, PoisonError};

use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::crypto::ring::default_provider;

use super::error::TlsError;
use super::material;
use super::pem::{Pem, Text};

/// Where the certificates and the key come from.
#[derive(Clone, Debug)]
pub(super) struct Sources {
    pub(super) authorities: Pem,
    pub(super) identity: Option<(Pem, Pem)>,
}

/// The configuration of one channel. Clones share it.
#[derive(Clone)]
pub(super) struct Credentials {
    /// `None`: the user's own configuration, which does not change.
    sources: Option<Sources>,
    current: Arc<Mutex<Current>>,
}

struct Current {
    contents: Contents,
    config: Arc<ClientConfig>,
    /// The problem of the last read, so that the same one is logged only once.
    trouble: Option<String>,
}

/// The contents of the sources at one time.
#[derive(Clone, Default, PartialEq, Eq)]
struct Contents {
    authorities: Text,
    identity: Option<(Text, Text)>,
}

impl Credentials {
    /// Blocks on files. Warns of authorities that are left out.
    pub(super) fn new(sources: Sources) -> Result<Self, TlsError> {
        let current = sources.look()?;
        let sources = Some(sources).filter(Sources::has_files);
        Ok(Self { sources, current: Arc::new(Mutex::new(current)) })
    }

    pub(super) fn own(mut config: ClientConfig) -> Self {
        config.alpn_protocols = vec![ALPN_H2.to_vec()];
        let current = Current { contents: Contents::default(), config: Arc::new(config), trouble: None };
        Self { sources: None, current: Arc::new(Mutex::new(current)) }
    }

    /// Returns the configuration for a handshake that begins now. Unusable files change nothing.
    pub(super) async fn current(&self) -> Arc<ClientConfig> {
        let (known, config) = self.read_current(|current| (current.contents.clone(), current.config.clone()));
        let Some(sources) = self.sources.clone() else { return config };
        let look = tokio::task::spawn_blocking(move || sources.look_again(&known));
        match look.await {
            Ok(Ok(Some(changed))) => {
                let config = changed.config.clone();
                self.read_current(|current| *current = changed);
                config
            }
            Ok(Err(error)) => {
                let trouble = Some(error.to_string());
                if self.read_current(|current| current.trouble.replace(error.to_string())) != trouble {
                    tracing::warn!(%error, "changed certificates are refused, the old ones stay");
                }
                config
            }
            Err(error) if error.is_panic() => {
                tracing::error!(%error, "reading the certificates panicked, which is a bug; the old ones stay");
                config
            }
            // Nothing has changed, or the runtime is shutting down.
            Ok(Ok(None)) | Err(_) => {
                self.read_current(|current| current.trouble = None);
                config
            }
        }
    }

    fn read_current<T>(&self, read: impl FnOnce(&mut Current) -> T) -> T {
        read(&mut self.current.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Sources {
    fn has_files(&self) -> bool {
        let identity = self.identity.as_ref().is_some_and(|(chain, key)| chain.is_file() || key.is_file());
        self.authorities.is_file() || identity
    }

    fn read(&self) -> Result<Contents, TlsError> {
        let pair = |(chain, key): &(Pem, Pem)| Ok::<_, TlsError>((chain.read()?, key.read()?));
        let identity = self.identity.as_ref().map(pair).transpose()?;
        Ok(Contents { authorities: self.authorities.read()?, identity })
    }

    /// Reads the files and makes the configuration. Warns of authorities that are left out.
    fn look(&self) -> Result<Current, TlsError> {
        let contents = self.read()?;
        let (config, warnings) = self.build(&contents)?;
        warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
        Ok(Current { contents, config, trouble: None })
    }

    /// The same, if the contents differ from `known`.
    fn look_again(&self, known: &Contents) -> Result<Option<Current>, TlsError> {
        if self.read()? == *known { Ok(None) } else { self.look().map(Some) }
    }

    /// Checks the sources. Blocks on files.
    pub(super) fn check(&self) -> Result<(), TlsError> {
        self.build(&self.read()?).map(drop)
    }

    /// Returns the configuration, and warnings about authorities that were left out.
    fn build(&self, contents: &Contents) -> Result<(Arc<ClientConfig>, Vec<String>), TlsError> {
        let authorities = material::authorities(&contents.authorities)?;
        // Named, so that nothing depends on the provider that the process has installed.
        let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(TlsError::from_rustls)?
            .with_root_certificates(authorities.roots);
        let mut config = match &contents.identity {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => {
                let (chain, key) = material::identity(chain, key)?;
                builder.with_client_auth_cert(chain, key).map_err(TlsError::from_rustls)?
            }
        };
        config.alpn_protocols = vec![ALPN_H2.to_vec()];
        Ok((Arc::new(config), authorities.warnings))
    }
}

/// The ALPN protocol id of HTTP/2 over TLS (RFC 9113 §3.2).
pub(crate) const ALPN_H2: &[u8] = b"h2";
