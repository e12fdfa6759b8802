//! Where connections come from: listening sockets, made for bursts and not stopped by a failed
//! accept, or a source of one's own.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::accepted::Accepted;
use super::error::ServeError;

/// A source of connections. Tokio's `TcpListener` and `UnixListener` are some; implement it for
/// others, such as a tunnel, or an in-memory pipe in a test:
///
/// ```
/// use std::task::{Context, Poll};
/// use meshless::server::{Accepted, Listener, Peer};
///
/// struct Pipes(tokio::sync::mpsc::Receiver<tokio::io::DuplexStream>);
///
/// impl Listener for Pipes {
///     fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<Accepted>> {
///         match self.0.poll_recv(cx) {
///             Poll::Ready(Some(io)) => Poll::Ready(Ok(Accepted::new(io, Peer::Other("pipe".into())))),
///             // Nobody connects any more; the server still serves those who have.
///             Poll::Ready(None) | Poll::Pending => Poll::Pending,
///         }
///     }
/// }
/// ```
///
/// Listeners of different kinds serve together as `Box<dyn Listener>`.
pub trait Listener: Send + 'static {
    /// The next connection. It must come back at once: a handshake, such as a proxy protocol's,
    /// belongs into the stream's first read.
    ///
    /// # Errors
    /// The server logs an error, waits up to a second if it does not look like that of one
    /// connection, and asks again.
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Accepted>>;
}

impl Listener for TcpListener {
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Accepted>> {
        let (io, peer) = ready!(TcpListener::poll_accept(self, cx))?;
        // It fails if the client is gone already, which the first read tells as well.
        let _ = io.set_nodelay(true);
        Poll::Ready(Ok(Accepted::new(io, peer)))
    }
}

impl<L: Listener + ?Sized> Listener for Box<L> {
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Accepted>> {
        (**self).poll_accept(cx)
    }
}

/// Listens on `addr` with a backlog of 4096 connections; port 0 lets the operating system choose.
///
/// tonic listens with 128, and of a burst of 500 connections some then wait a second for their SYN
/// to be sent again. The kernel may lower the number (Linux: `net.core.somaxconn`, 4096 by
/// default). Must be called on a Tokio runtime.
///
/// # Errors
/// If the address cannot be listened on.
pub fn bind(addr: SocketAddr) -> Result<TcpListener, ServeError> {
    listen(addr).map_err(|error| ServeError::listen(addr, error))
}

fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    // On Windows the option lets two processes share a port.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Accepts from several listeners in turn.
pub(super) struct Acceptor {
    listeners: Vec<Box<dyn Listener>>,
    next: usize,
    pause: Duration,
    /// When the pause is over. An instant, because `accept` is dropped and called again whenever a
    /// connection ends: a pause that began anew each time would never end on a busy server.
    resume_at: Option<Instant>,
}

impl Acceptor {
    pub(super) fn new(listeners: Vec<Box<dyn Listener>>) -> Self {
        Self { listeners, next: 0, pause: Duration::ZERO, resume_at: None }
    }

    /// The next connection. Without listeners there is none, ever.
    ///
    /// Loses nothing when it is dropped.
    pub(super) async fn accept(&mut self) -> Accepted {
        loop {
            if let Some(resume_at) = self.resume_at {
                tokio::time::sleep_until(resume_at).await;
                self.resume_at = None;
            }
            match std::future::poll_fn(|cx| self.poll_accept(cx)).await {
                Ok(accepted) => {
                    self.pause = Duration::ZERO;
                    return accepted;
                }
                Err(error) if concerns_one_connection(&error) => self.pause = Duration::ZERO,
                Err(error) => {
                    // Out of descriptors, most likely. The connection stays in the backlog, so an
                    // immediate retry would spin.
                    self.pause = (self.pause * 2).clamp(PAUSE_MIN, PAUSE_MAX);
                    self.resume_at = Some(Instant::now() + self.pause);
                    tracing::warn!(%error, pause = ?self.pause, "cannot accept connections");
                }
            }
        }
    }

    /// What clients have already connected to, at most a backlog for each listener. Stops
    /// listening.
    pub(super) fn close(mut self, cx: &mut Context<'_>) -> Vec<Accepted> {
        let mut accepted = Vec::new();
        for _ in 0..self.listeners.len() * BACKLOG as usize {
            match self.poll_accept(cx) {
                Poll::Ready(Ok(connection)) => accepted.push(connection),
                Poll::Ready(Err(error)) if concerns_one_connection(&error) => {}
                Poll::Ready(Err(_)) | Poll::Pending => break,
            }
        }
        accepted
    }

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Accepted>> {
        for _ in 0..self.listeners.len() {
            let turn = self.next;
            self.next = (turn + 1) % self.listeners.len();
            let listener = &mut self.listeners[turn];
            if let Poll::Ready(accepted) = listener.poll_accept(cx) {
                return Poll::Ready(accepted);
            }
        }
        Poll::Pending
    }
}

impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acceptor").field("listeners", &self.listeners.len()).finish_non_exhaustive()
    }
}

/// Errors of `accept(2)` that stand for a connection which broke before it was taken.
fn concerns_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

pub(super) const BACKLOG: i32 = 4096;

/// Go's `net/http` pauses as long when it cannot accept: 5 ms, doubling up to 1 s.
const PAUSE_MIN: Duration = Duration::from_millis(5);
const PAUSE_MAX: Duration = Duration::from_secs(1);
