//! The byte stream under a connection.

use tokio::io::{AsyncRead, AsyncWrite};

/// A byte stream that a connection can use. Implemented for every type that has these traits.
pub trait Io: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Io for T {}

/// A byte stream of any kind. The indirection costs nothing measurable beside a system call.
pub type BoxIo = Box<dyn Io>;
