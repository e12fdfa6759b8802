//! Listens on a Unix socket, and removes its file at the end: the file would outlive the process.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::task::{Context, Poll, ready};

use socket2::{Domain, SockAddr, Socket, Type};

use super::accepted::Accepted;
use super::error::ServeError;
use super::listener::{BACKLOG, Listener};
use super::peer::Peer;

/// Listens on a Unix socket at `path`.
///
/// A socket file of a dead process is replaced; one that a process listens on is not, nor any other
/// file. The permissions of the directory and the process's umask decide who may connect. Must be
/// called on a Tokio runtime.
///
/// # Errors
/// If a process listens there, or the file cannot be created.
pub fn bind_unix(path: impl Into<PathBuf>) -> Result<UnixListener, ServeError> {
    let path = path.into();
    match listen(&path) {
        Ok((listener, file)) => Ok(UnixListener { listener, path, file }),
        Err(error) => Err(ServeError::listen_unix(path, error)),
    }
}

/// A listening Unix socket, from [`bind_unix`]. Dropping it removes its file.
#[derive(Debug)]
pub struct UnixListener {
    listener: tokio::net::UnixListener,
    path: PathBuf,
    file: FileId,
}

impl UnixListener {
    /// Returns the path of the socket.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Listener for UnixListener {
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Accepted>> {
        Listener::poll_accept(&mut self.listener, cx)
    }
}

impl Listener for tokio::net::UnixListener {
    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Accepted>> {
        let (io, _) = ready!(tokio::net::UnixListener::poll_accept(self, cx))?;
        Poll::Ready(Ok(Accepted::new(io, Peer::Unix)))
    }
}

impl Drop for UnixListener {
    fn drop(&mut self) {
        // A newer server may have put its own file there.
        if FileId::of(&self.path).is_ok_and(|file| file == self.file) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Tells a file from another that gets its name later.
#[derive(Debug, PartialEq, Eq)]
struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    fn of(path: &Path) -> io::Result<Self> {
        let metadata = fs::symlink_metadata(path)?;
        Ok(Self { device: metadata.dev(), inode: metadata.ino() })
    }
}

fn listen(path: &Path) -> io::Result<(tokio::net::UnixListener, FileId)> {
    let address = SockAddr::unix(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    match socket.bind(&address) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_abandoned(path, &address) => {
            fs::remove_file(path)?;
            socket.bind(&address)?;
        }
        bound => bound?,
    }
    socket.listen(BACKLOG)?;
    Ok((tokio::net::UnixListener::from_std(socket.into())?, FileId::of(path)?))
}

/// Returns true if there is a socket that no process listens on. With a full backlog the error is
/// "would block", so a process listens.
fn is_abandoned(path: &Path, address: &SockAddr) -> bool {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket());
    let connect = || {
        let probe = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        probe.set_nonblocking(true)?;
        probe.connect(address)
    };
    is_socket && connect().is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}
