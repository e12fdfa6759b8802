//! A connection's byte stream, which begins with the TLS handshake.
//!
//! The first read or write drives the handshake, so it is a part of the connection like any other.
//! The lifetime machine's handshake timeout includes it and the HTTP/2 preface, the age begins
//! after both, and a drain reaches it as it reaches every connection.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls;
use tokio_rustls::server::{FallibleAccept, TlsStream};
use tonic::transport::server::{Connected, TcpConnectInfo, TlsConnectInfo};

use crate::server::accepted::Accepted;
use crate::shared::io::BoxIo;
use crate::shared::tls::ALPN_H2;
use crate::shared::tls::words::{self, Whose};

/// A stream that speaks TLS.
pub(in crate::server) struct TlsIo {
    state: HandshakeState,
    /// Set by the handshake, and so before the first request.
    connect_info: Arc<OnceLock<TlsConnectInfo<TcpConnectInfo>>>,
}

enum HandshakeState {
    Handshaking(Box<FallibleAccept<Plain>>),
    Established(Box<TlsStream<Plain>>),
    /// Only the close is left.
    Failed(BoxIo),
}

impl TlsIo {
    /// Returns an accepted connection with TLS. Its requests also carry tonic's `TlsConnectInfo`.
    pub(in crate::server) fn accept(acceptor: &TlsAcceptor, accepted: Accepted) -> Accepted {
        let Accepted { io, peer, info } = accepted;
        let handshake = acceptor.accept(Plain { io, tcp: info.tcp() }).into_fallible();
        let connect_info = Arc::new(OnceLock::new());
        let io = Self {
            state: HandshakeState::Handshaking(Box::new(handshake)),
            connect_info: connect_info.clone(),
        };
        let info = info.and(move |extensions| {
            if let Some(info) = connect_info.get() {
                extensions.insert::<TlsConnectInfo<TcpConnectInfo>>(info.clone());
            }
        });
        Accepted { io: Box::new(io), peer, info }
    }

    fn poll_established(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Pin<&mut TlsStream<Plain>>>> {
        if let HandshakeState::Handshaking(handshake) = &mut self.state {
            match ready!(Pin::new(handshake).poll(cx)) {
                Ok(stream) if stream.get_ref().1.alpn_protocol() == Some(ALPN_H2) => {
                    // This is the only handshake of the connection.
                    let _ = self.connect_info.set(stream.connect_info());
                    self.state = HandshakeState::Established(Box::new(stream));
                    // A write that waited for the handshake is not woken by a read that completed
                    // it.
                    cx.waker().wake_by_ref();
                }
                Ok(stream) => {
                    self.state = HandshakeState::Failed(Box::new(stream));
                    return Poll::Ready(Err(io::Error::other("the client did not ask for HTTP/2 by ALPN")));
                }
                Err((error, Plain { io, .. })) => {
                    self.state = HandshakeState::Failed(io);
                    return Poll::Ready(Err(explained(error)));
                }
            }
        }
        Poll::Ready(match &mut self.state {
            HandshakeState::Established(stream) => Ok(Pin::new(stream)),
            HandshakeState::Handshaking(_) | HandshakeState::Failed(_) => {
                Err(io::ErrorKind::NotConnected.into())
            }
        })
    }
}

impl AsyncRead for TlsIo {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let me = self.get_mut();
        match &mut me.state {
            // Reads the rest before the close, so that the alert arrives.
            HandshakeState::Failed(io) => Pin::new(io).poll_read(cx, buf),
            _ => ready!(me.poll_established(cx))?.poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for TlsIo {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.get_mut().poll_established(cx))?.poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.get_mut().poll_established(cx))?.poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        // TLS encrypts many slices into one record.
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.get_mut().poll_established(cx))?.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().state {
            // No bytes can get lost, so the socket may close at once.
            HandshakeState::Handshaking(_) => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
            HandshakeState::Established(stream) => Pin::new(stream).poll_shutdown(cx),
            HandshakeState::Failed(io) => Pin::new(io).poll_shutdown(cx),
        }
    }
}

/// The stream below TLS, which knows its addresses.
struct Plain {
    io: BoxIo,
    tcp: TcpConnectInfo,
}

impl Connected for Plain {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.tcp.clone()
    }
}

impl AsyncRead for Plain {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Plain {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// Explains rustls's error, and says what to check.
fn explained(error: io::Error) -> io::Error {
    use rustls::{AlertDescription, Error};
    let hint = match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(Error::InvalidMessage(_)) => "the client does not speak TLS on this port",
        Some(Error::NoCertificatesPresented) => "the client presented no certificate",
        Some(Error::InvalidCertificate(cause)) => {
            return io::Error::new(error.kind(), words::certificate(cause, Whose::Client));
        }
        Some(Error::AlertReceived(AlertDescription::UnknownCA | AlertDescription::BadCertificate)) => {
            "the client does not trust this server's certificate"
        }
        Some(Error::AlertReceived(_)) => "the client gave the handshake up",
        _ if error.kind() == io::ErrorKind::UnexpectedEof => "the client closed during the handshake",
        _ => "the handshake failed",
    };
    io::Error::new(error.kind(), format!("{hint}: {error}"))
}
