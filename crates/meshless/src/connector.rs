//! Opens the byte stream under a connection: TCP, a Unix socket, or what the user supplies.
//!
//! Called by `connection::connect`, which puts TLS and HTTP/2 on top. A connector only dials: the time limit, TLS
//! and the check that the peer speaks HTTP/2 are the caller's, and the same for every connector.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;

use meshless_core::Address;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// A byte stream that a connection can run over. Implemented by everything that has these traits.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Io for T {}

/// A byte stream of any kind. The indirection costs nothing that can be seen beside a system call.
pub type BoxIo = Box<dyn Io>;

/// What [`Connect::connect`] returns.
pub type Connecting = Pin<Box<dyn Future<Output = io::Result<BoxIo>> + Send>>;

/// A user's own way of reaching a backend: a proxy, a tunnel, an in-memory pipe in a test.
///
/// TLS, if configured, and HTTP/2 run over the stream that it returns.
pub trait Connect: Send + Sync + 'static {
    /// Opens a byte stream to `address`.
    ///
    /// The future is dropped when the connect timeout has passed; it needs no limit of its own.
    fn connect(&self, address: &Address) -> Connecting;
}

/// How the byte streams of one channel are opened.
#[derive(Clone, Default)]
pub(crate) enum Connector {
    /// By the operating system's sockets.
    #[default]
    Direct,
    /// By the user's own means.
    Custom(Arc<dyn Connect>),
}

impl Connector {
    /// Opens a byte stream to `address`.
    pub(crate) async fn open(&self, address: &Address) -> io::Result<BoxIo> {
        match self {
            Self::Direct => dial(address).await,
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

async fn dial(address: &Address) -> io::Result<BoxIo> {
    match address {
        Address::Tcp(address) => {
            let stream = TcpStream::connect(address).await?;
            // Nagle would hold a small request back until the previous one was acknowledged. TCP keepalive stays
            // off: HTTP/2's PING asks the server's process, not only its kernel.
            stream.set_nodelay(true)?;
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
