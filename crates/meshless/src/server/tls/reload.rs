//! Keeps a server's certificates up to date with its files.
//!
//! The serving loop polls [`Reload::run`] beside its listeners and signals. Connections take the
//! [`Current`] configuration when their handshake begins. Open connections are not touched.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;

use super::expiry::{self, WARNING_INTERVAL};
use super::{Contents, ServerTlsConfig, Sources};
use crate::shared::tls::TlsError;

/// The configuration for the next handshake.
#[derive(Clone)]
pub(in crate::server) struct Current(Arc<ArcSwap<ServerConfig>>);

impl Current {
    pub(in crate::server) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.0.load_full())
    }
}

/// Reads the files again and again.
pub(in crate::server) struct Reload {
    config: ServerTlsConfig,
    current: Current,
    /// The problem of the last read, so that the same one is logged only once.
    trouble: Option<String>,
    /// When to check the expiry of the certificate next.
    warn_at: Instant,
}

impl Reload {
    pub(in crate::server) fn new(config: ServerTlsConfig) -> Self {
        let current = Current(Arc::new(ArcSwap::new(config.config.clone())));
        config.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
        Self { config, current, trouble: None, warn_at: Instant::now() }
    }

    pub(in crate::server) fn current(&self) -> Current {
        self.current.clone()
    }

    /// Never returns. Dropping the future loses nothing.
    pub(in crate::server) async fn run(&mut self) -> Infallible {
        let files = self.config.sources.clone().filter(Sources::has_files);
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(self.warn_at) => self.warn(),
                sources = after(self.config.reload_interval, files.as_ref()) => self.look(sources.clone()).await,
            }
        }
    }

    fn warn(&mut self) {
        self.config.expiry.warn();
        self.warn_at = Instant::now() + WARNING_INTERVAL;
    }

    async fn look(&mut self, sources: Sources) {
        let known = self.config.contents.clone();
        let look = tokio::task::spawn_blocking(move || look(&sources, &known));
        match look.await {
            Ok(Ok(Some((contents, config, warnings)))) => {
                warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
                self.config.expiry.set(expiry::ends(&contents.chain));
                self.config.contents = contents;
                self.current.0.store(config);
                self.trouble = None;
                let certificate = self.config.contents.chain.name();
                tracing::info!(%certificate, "new certificates are in use for new connections");
                self.warn();
            }
            Ok(Ok(None)) => self.trouble = None,
            Ok(Err(error)) => {
                let trouble = error.to_string();
                if self.trouble.as_ref() != Some(&trouble) {
                    tracing::warn!(error = %trouble, "changed certificates are refused, the old ones stay");
                    self.trouble = Some(trouble);
                }
            }
            Err(error) if error.is_panic() => {
                tracing::error!(%error, "reading the certificates panicked, which is a bug; they are read again after the interval");
            }
            // The runtime is shutting down.
            Err(_) => std::future::pending().await,
        }
    }
}

/// Waits until the files must be read again. Never returns if there are none, or they are read only
/// once.
async fn after(interval: Option<Duration>, files: Option<&Sources>) -> &Sources {
    match (interval, files) {
        (Some(interval), Some(files)) => {
            tokio::time::sleep(interval).await;
            files
        }
        _ => std::future::pending().await,
    }
}

/// Returns the new configuration if the contents differ from `known`.
fn look(sources: &Sources, known: &Contents) -> Result<Option<Looked>, TlsError> {
    let contents = sources.read()?;
    if contents == *known {
        return Ok(None);
    }
    let (config, warnings) = sources.build(&contents)?;
    Ok(Some((contents, config, warnings)))
}

/// The contents, the configuration made from them, and warnings.
type Looked = (Contents, Arc<ServerConfig>, Vec<String>);
