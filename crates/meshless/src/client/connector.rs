//! Opens the byte stream under a connection: TCP, a Unix socket, or a user's connector.
//!
//! `connection::connect` calls it, and puts TLS and HTTP/2 on top. A connector only connects. The
//! caller adds the time limit, TLS and the HTTP/2 check, in the same way for every connector.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use meshless_core::Address;
use tokio::net::TcpStream;

use crate::shared::io::BoxIo;

/// What [`Connect::connect`] returns.
pub type Connecting = Pin<Box<dyn Future<Output = io::Result<BoxIo>> + Send>>;

/// A custom way to reach a backend: a proxy, a tunnel, an in-memory pipe in a test.
///
/// TLS, if configured, and HTTP/2 run over the stream that it returns. To use a connector for tonic
/// or hyper, wrap it in [`UriConnector`](crate::client::UriConnector).
pub trait Connect: Send + Sync + 'static {
    /// Opens a byte stream to `address`.
    ///
    /// The future is dropped after the connect timeout; it needs no time limit of its own.
    fn connect(&self, address: &Address) -> Connecting;
}

/// How the byte streams of one channel are opened.
#[derive(Clone, Default)]
pub(crate) enum Connector {
    /// Through the operating system's sockets.
    #[default]
    Direct,
    /// Through the user's connector.
    Custom(Arc<dyn Connect>),
}

impl Connector {
    /// Opens a byte stream to `address`. Our own sockets fail if the peer's kernel has acknowledged
    /// nothing for `user_timeout`.
    pub(crate) async fn open(&self, address: &Address, user_timeout: Option<Duration>) -> io::Result<BoxIo> {
        match self {
            Self::Direct => dial(address, user_timeout).await,
            Self::Custom(connect) => connect.connect(address).await,
        }
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Direct => "Direct",
            Self::Custom(_) => "Custom",
        })
    }
}

async fn dial(address: &Address, user_timeout: Option<Duration>) -> io::Result<BoxIo> {
    match address {
        Address::Tcp(address) => {
            let stream = TcpStream::connect(address).await?;
            // Nagle's algorithm would delay a small request until the previous one was
            // acknowledged. TCP keepalive stays off: HTTP/2's PING asks the server's process, not
            // only its kernel.
            stream.set_nodelay(true)?;
            limit_unacknowledged(&stream, user_timeout);
            Ok(Box::new(stream))
        }
        #[cfg(unix)]
        Address::Unix(path) => Ok(Box::new(tokio::net::UnixStream::connect(path).await?)),
        other => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            format!("this platform cannot dial {other}; supply a connector that can"),
        )),
    }
}

/// "TCP_USER_TIMEOUT … set to the value of KEEPALIVE_TIMEOUT" if keepalive is on (gRFC A18). The
/// kernel knows when bytes get no further; a PING only learns it after its interval. Only Linux has
/// it; elsewhere PINGs must suffice.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn limit_unacknowledged(stream: &TcpStream, user_timeout: Option<Duration>) {
    if let Some(timeout) = user_timeout {
        // "If setting it fails, … continue" (A18). It fails on an old kernel, or in a sandbox that
        // does not support it.
        let _ = socket2::SockRef::from(stream).set_tcp_user_timeout(Some(timeout));
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn limit_unacknowledged(_: &TcpStream, _: Option<Duration>) {}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[tokio::test]
    async fn with_keepalive_the_kernel_gives_up_as_soon_as_we_do() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let set = || socket2::SockRef::from(&stream).tcp_user_timeout().unwrap().unwrap_or_default();
        limit_unacknowledged(&stream, None);
        assert_eq!(set(), Duration::ZERO, "the system's own");
        limit_unacknowledged(&stream, Some(Duration::from_secs(20)));
        assert_eq!(set(), Duration::from_secs(20));
    }
}
