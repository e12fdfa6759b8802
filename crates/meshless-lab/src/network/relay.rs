//! A path to one backend that can become a black hole.
//!
//! It is a forwarder like [`VirtualAddress`](super::VirtualAddress), with one backend.
//! [`Relay::swallow`] makes it behave like a node without network: it answers nothing, ends no
//! connection, and accepts no new ones. One thing differs: until the relay's buffers are full, the
//! kernel still acknowledges what an established connection sends. So a limit on unacknowledged
//! data (`TCP_USER_TIMEOUT`) does not notice.

use std::io;
use std::net::SocketAddr;

use socket2::SockRef;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use super::virtual_address::{listen_on, reset_on_close};

/// A forwarder to one backend. Dropping it closes its connections.
#[derive(Debug)]
pub struct Relay {
    local_addr: SocketAddr,
    swallows: watch::Sender<bool>,
    forwarder: JoinHandle<()>,
}

impl Relay {
    /// Listens on `listen` (port 0 selects a free one) and forwards to `backend`.
    ///
    /// # Errors
    /// If the address cannot be bound.
    pub async fn bind(listen: SocketAddr, backend: SocketAddr) -> io::Result<Self> {
        let listener = listen_on(listen)?;
        let local_addr = listener.local_addr()?;
        let (swallows, swallowed) = watch::channel(false);
        let forwarder = tokio::spawn(forward(listener, backend, swallowed));
        Ok(Self { local_addr, swallows, forwarder })
    }

    /// Becomes a black hole: from now on nothing is answered, and nothing ends.
    pub fn swallow(&self) {
        self.swallows.send_replace(true);
    }

    /// Returns the address that clients connect to.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.forwarder.abort();
    }
}

async fn forward(listener: TcpListener, backend: SocketAddr, mut swallowed: watch::Receiver<bool>) {
    let mut flows = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = swallowing(&mut swallowed) => break,
            Some(_) = flows.join_next() => continue,
        };
        if let Ok((client, _)) = accepted {
            flows.spawn(flow(client, backend, swallowed.clone()));
        }
    }
    let _held = stop_accepting(&listener).await;
    // The flows stop by themselves; only they and the listener must not be dropped.
    std::future::pending().await
}

async fn flow(mut client: TcpStream, backend: SocketAddr, mut swallowed: watch::Receiver<bool>) {
    let Ok(mut server) = TcpStream::connect(backend).await else {
        return reset_on_close(&client);
    };
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    tokio::select! {
        copied = copy_bidirectional(&mut client, &mut server) => if copied.is_err() {
            reset_on_close(&client);
            reset_on_close(&server);
        },
        // Both sockets stay open, and nobody reads them.
        () = swallowing(&mut swallowed) => std::future::pending().await,
    }
}

/// Returns when the relay is a black hole.
async fn swallowing(swallowed: &mut watch::Receiver<bool>) {
    // Without a sender the relay was dropped, and this task ends soon.
    if swallowed.wait_for(|swallows| *swallows).await.is_err() {
        std::future::pending().await
    }
}

/// Fills the listener's queue, so that the kernel answers no more SYN (listen(2): when the queue is
/// full, "the request may be ignored so that a later reattempt at connection succeeds"). Returns
/// the connections that fill it.
async fn stop_accepting(listener: &TcpListener) -> Vec<TcpStream> {
    let mut held = Vec::new();
    let Ok(address) = listener.local_addr() else { return held };
    if SockRef::from(listener).listen(0).is_err() {
        return held;
    }
    for _ in 0..FILLERS {
        match tokio::time::timeout(FILL_TIMEOUT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => held.push(stream),
            // No answer: the queue is full.
            _ => break,
        }
    }
    held
}

/// Linux accepts one more than the backlog of 0; other systems round it up.
const FILLERS: usize = 16;

/// On this machine a SYN is answered within microseconds, or never.
const FILL_TIMEOUT: std::time::Duration = std::time::Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

    /// A backend that sends back what it reads.
    async fn echo() -> SocketAddr {
        let listener = TcpListener::bind(LOOPBACK).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut read, mut write) = stream.split();
                    let _ = tokio::io::copy(&mut read, &mut write).await;
                });
            }
        });
        address
    }

    #[tokio::test]
    async fn a_black_hole_neither_answers_nor_ends_nor_accepts() {
        let relay = Relay::bind(LOOPBACK, echo().await).await.unwrap();
        let mut stream = TcpStream::connect(relay.local_addr()).await.unwrap();
        stream.write_all(b"a").await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), b'a');

        relay.swallow();
        // Writes until the relay is silent: what it had copied before may still come back.
        let silent = async {
            loop {
                stream.write_all(b"b").await.unwrap();
                if tokio::time::timeout(Duration::from_millis(50), stream.read_u8()).await.is_err() {
                    break;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(10), silent).await.expect("it goes silent");
        assert!(stream.try_write(b"c").is_ok(), "the connection stays open");
        // A late connection is not answered; the first few may still have found room in the queue.
        let unanswered = async {
            let mut queued = Vec::new();
            while let Ok(connected) =
                tokio::time::timeout(Duration::from_millis(200), TcpStream::connect(relay.local_addr())).await
            {
                queued.push(connected.unwrap());
            }
        };
        tokio::time::timeout(Duration::from_secs(10), unanswered).await.expect("it stops to accept");
    }

    #[tokio::test]
    async fn without_a_backend_the_client_is_reset() {
        let gone = TcpListener::bind(LOOPBACK).await.unwrap().local_addr().unwrap();
        let relay = Relay::bind(LOOPBACK, gone).await.unwrap();
        let mut stream = TcpStream::connect(relay.local_addr()).await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }
}
