//! Where connections come from: listening sockets, or a source of your own. The sockets are made
//! for bursts, and a failed accept does not stop them.

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

/// A source of connections. Tokio's `TcpListener` and `UnixListener` implement it. Implement it for
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
/// Put listeners of different kinds into `Box<dyn Listener>` to serve them together.
pub trait Listener: Send + 'static {
    /// Returns the next connection. It must not wait for a handshake, such as the proxy protocol's:
    /// do that in the stream's first read.
    ///
    /// # Errors
    /// The server logs an error and asks again. Unless the error seems to concern one connection
    /// only, it first waits for up to a second.
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Accepted>>;
}

impl Listener for TcpListener {
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Accepted>> {
        let (io, peer) = ready!(TcpListener::poll_accept(self, cx))?;
        // It fails if the client has gone; the first read reports that as well.
        let _ = io.set_nodelay(true);
        Poll::Ready(Ok(Accepted::new(io, peer)))
    }
}

impl<L: Listener + ?Sized> Listener for Box<L> {
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Accepted>> {
        (**self).poll_accept(cx)
    }
}

/// Listens on `addr` with a backlog of 4096 connections. With port 0 the operating system chooses
/// the port.
///
/// tonic's backlog is 128; of a burst of 500 connections, some then wait a second until their SYN
/// is sent again. The kernel may lower the number (Linux: `net.core.somaxconn`, 4096 by default).
/// Must be called on a Tokio runtime.
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
    /// The end of the pause. An instant, because `accept` is dropped and called again whenever a
    /// connection ends: a pause that began anew each time would never end on a busy server.
    resume_at: Option<Instant>,
}

impl Acceptor {
    pub(super) fn new(listeners: Vec<Box<dyn Listener>>) -> Self {
        Self { listeners, next: 0, pause: Duration::ZERO, resume_at: None }
    }

    /// Returns the next connection; never returns without listeners.
    ///
    /// Dropping the future loses nothing.
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
                    // Most likely no file descriptor is left. The connection stays in the backlog,
                    // so an immediate retry would spin.
                    self.pause = (self.pause * 2).clamp(PAUSE_MIN, PAUSE_MAX);
                    self.resume_at = Some(Instant::now() + self.pause);
                    tracing::warn!(%error, pause = ?self.pause, "cannot accept connections");
                }
            }
        }
    }

    /// Returns the connections that wait in the backlogs, at most one backlog per listener. Stops
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

/// Returns true for errors of `accept(2)` about a connection that broke before it was accepted.
fn concerns_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

pub(super) const BACKLOG: i32 = 4096;

/// Go's `net/http` pauses the same way when it cannot accept: 5 ms, doubling up to 1 s.
const PAUSE_MIN: Duration = Duration::from_millis(5);
const PAUSE_MAX: Duration = Duration::from_secs(1);
