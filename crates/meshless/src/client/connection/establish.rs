//! Establishes a connection on which calls may start: connect, TLS, HTTP/2, SETTINGS.
//!
//! One time limit covers all steps, and every failure names the address, the step and what to do.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use meshless_core::{Address, LivenessConfig};

use super::event::{CloseReason, Report};
use super::shared::ConnectionShared;
use super::task::Task;
use super::wire::ClientWire;
use super::{Connection, ConnectionConfig, Handle};
use crate::client::connector::Connector;
use crate::shared::file_descriptors;
use crate::shared::io::BoxIo;
use crate::shared::peer_text::peer_text;
#[cfg(feature = "tls")]
use crate::shared::tls::{ClientTls, TlsError};

/// The target of a connection, and how to connect to it.
#[derive(Clone, Debug)]
pub(crate) struct Destination<'a> {
    pub(crate) address: &'a Address,
    pub(crate) connector: &'a Connector,
    #[cfg(feature = "tls")]
    pub(crate) tls: Option<&'a ClientTls>,
}

impl Connection {
    /// Connects, and returns once the server's SETTINGS have arrived and are in force: gRPC's
    /// READY. The handshake of h2 returns before the server has sent anything.
    ///
    /// # Errors
    /// If any step fails, or all of them together take longer than `config.connect_timeout`.
    pub(crate) async fn connect(
        destination: Destination<'_>,
        config: &ConnectionConfig,
        report: Report,
    ) -> Result<Self, ConnectError> {
        let mut step = Step::Dial;
        let steps = establish(&destination, config, report, &mut step);
        match tokio::time::timeout(config.connect_timeout, steps).await {
            Ok(result) => result,
            Err(_) => Err(ConnectError::Timeout {
                address: destination.address.clone(),
                after: config.connect_timeout,
                step,
            }),
        }
    }
}

/// Why a connection could not be established.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// The byte stream could not be opened.
    #[error("cannot connect to {address}: {}", peer_text(source.to_string()))]
    Dial {
        /// The backend.
        address: Address,
        /// The error of the operating system or of the user's connector.
        source: io::Error,
    },
    /// TLS failed.
    #[cfg(feature = "tls")]
    #[error("TLS with {address} failed: {source}")]
    Tls {
        /// The backend.
        address: Address,
        /// The TLS error.
        source: TlsError,
    },
    /// The peer does not speak HTTP/2, or ended the connection before it was ready.
    #[error("{address} did not open HTTP/2: {reason}")]
    Http2 {
        /// The backend.
        address: Address,
        /// Why the connection ended.
        reason: CloseReason,
    },
    /// The time limit was reached.
    #[error("cannot connect to {address}: no {step} within {after:?}")]
    Timeout {
        /// The backend.
        address: Address,
        /// The limit, over all steps.
        after: Duration,
        /// The step under way at that time.
        step: Step,
    },
}

impl ConnectError {
    /// Returns true if the process had no file descriptor left, which says nothing about the
    /// backend.
    pub(crate) fn is_out_of_descriptors(&self) -> bool {
        matches!(self, Self::Dial { source, .. } if file_descriptors::is_exhausted(source))
    }

    /// Returns the cause without the address.
    pub(crate) fn cause(&self) -> String {
        match self {
            Self::Dial { source, .. } => format!("cannot connect: {}", peer_text(source.to_string())),
            #[cfg(feature = "tls")]
            Self::Tls { source, .. } => format!("TLS failed: {source}"),
            Self::Http2 { reason, .. } => format!("did not open HTTP/2: {reason}"),
            Self::Timeout { after, step, .. } => format!("cannot connect: no {step} within {after:?}"),
        }
    }
}

/// A step in establishing a connection, named by what is awaited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Dial,
    #[cfg(feature = "tls")]
    Tls,
    Http2,
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Dial => "connection",
            #[cfg(feature = "tls")]
            Self::Tls => "end of the TLS handshake",
            Self::Http2 => "HTTP/2 SETTINGS from the server",
        })
    }
}

async fn establish(
    destination: &Destination<'_>,
    config: &ConnectionConfig,
    report: Report,
    step: &mut Step,
) -> Result<Connection, ConnectError> {
    let address = destination.address;
    let io = destination
        .connector
        .open(address, config.keepalive.as_ref().map(LivenessConfig::patience))
        .await
        .map_err(|source| ConnectError::Dial { address: address.clone(), source })?;
    #[cfg(feature = "tls")]
    let io = match destination.tls {
        Some(tls) => {
            *step = Step::Tls;
            tls.handshake(io)
                .await
                .map_err(|source| ConnectError::Tls { address: address.clone(), source })?
        }
        None => io,
    };
    *step = Step::Http2;
    #[cfg(feature = "tls")]
    let is_tls = destination.tls.is_some();
    #[cfg(not(feature = "tls"))]
    let is_tls = false;
    open_http2(io, is_tls, address, config, report)
        .await
        .map_err(|reason| ConnectError::Http2 { address: address.clone(), reason })
}

async fn open_http2(
    io: BoxIo,
    is_tls: bool,
    address: &Address,
    config: &ConnectionConfig,
    report: Report,
) -> Result<Connection, CloseReason> {
    let shared = ConnectionShared::new(address.clone(), config.header_limit, report);
    let wire = ClientWire::new(io, Arc::clone(&shared), is_tls);
    let (sender, mut http2) = config
        .http2()
        .handshake::<_, Bytes>(wire)
        .await
        .map_err(|error| CloseReason::Http2(Arc::new(error)))?;
    poll_fn(|cx| match Pin::new(&mut http2).poll(cx) {
        Poll::Ready(Ok(())) => Poll::Ready(Err(CloseReason::Server)),
        Poll::Ready(Err(error)) => Poll::Ready(Err(CloseReason::Http2(Arc::new(error)))),
        Poll::Pending if shared.is_settled() => Poll::Ready(Ok(())),
        Poll::Pending => Poll::Pending,
    })
    .await?;
    shared.init_max_streams(http2.max_concurrent_send_streams());
    shared.set_sender(sender);
    tokio::spawn(Task::new(http2, Arc::clone(&shared), config.keepalive, config.stall).run());
    Ok(Connection { handle: Arc::new(Handle { shared }) })
}
