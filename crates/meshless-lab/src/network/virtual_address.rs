//! One address in front of several backends, like a ClusterIP.
//!
//! kube-proxy's iptables and nftables rules choose a backend at random for each new *connection*,
//! which stays there for its life. [`VirtualAddress`] does the same with a TCP forwarder in this
//! process: scenarios put it in front of the echo servers. It never reads the bytes, so HTTP/2
//! stays on one backend here exactly as on a cluster. Only the cost differs: rewriting packets
//! costs the kernel almost nothing, but copying bytes costs this process some µs per call.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use meshless_core::Rng;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// A listener that hands each new connection to a uniformly random backend.
///
/// Dropping it closes the listener and every connection that passes through it.
#[derive(Debug)]
pub struct VirtualAddress {
    local_addr: SocketAddr,
    backends: Arc<BackendList>,
    forwarder: JoinHandle<()>,
}

impl VirtualAddress {
    /// Listens on `listen` (port 0 selects a free one) and forwards to `backends`, chosen by the
    /// random stream of `seed`.
    ///
    /// # Errors
    /// If the address cannot be bound.
    pub async fn bind(listen: SocketAddr, backends: Vec<SocketAddr>, seed: u64) -> io::Result<Self> {
        let listener = listen_on(listen)?;
        let local_addr = listener.local_addr()?;
        let backends = Arc::new(BackendList::new(backends));
        let forwarder = tokio::spawn(forward(listener, Arc::clone(&backends), Rng::new(seed, RNG_STREAM)));
        Ok(Self { local_addr, backends, forwarder })
    }

    /// Sends new connections to `backends` from now on. Existing ones stay where they are, as with
    /// kube-proxy. Without any backend, new connections are reset.
    pub fn set_backends(&self, backends: Vec<SocketAddr>) {
        self.backends.lock().current = backends;
    }

    /// Returns the address that clients connect to.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Returns how many connections each backend has accepted so far, including ended ones.
    pub fn connections(&self) -> BTreeMap<SocketAddr, u64> {
        self.backends.lock().connections.clone()
    }
}

impl Drop for VirtualAddress {
    fn drop(&mut self) {
        // The forwarder owns the listener and, in its `JoinSet`, every flow: all end with it.
        self.forwarder.abort();
    }
}

#[derive(Debug)]
struct BackendList(Mutex<BackendState>);

#[derive(Debug)]
struct BackendState {
    current: Vec<SocketAddr>,
    connections: BTreeMap<SocketAddr, u64>,
}

impl BackendList {
    fn new(current: Vec<SocketAddr>) -> Self {
        Self(Mutex::new(BackendState { current, connections: BTreeMap::new() }))
    }

    fn lock(&self) -> MutexGuard<'_, BackendState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn choose(&self, rng: &mut Rng) -> Option<SocketAddr> {
        let state = self.lock();
        (!state.current.is_empty()).then(|| state.current[rng.below(state.current.len())])
    }

    fn count(&self, backend: SocketAddr) {
        *self.lock().connections.entry(backend).or_default() += 1;
    }
}

async fn forward(listener: TcpListener, backends: Arc<BackendList>, mut rng: Rng) {
    let mut flows = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((client, _)) => {
                    let backend = backends.choose(&mut rng);
                    flows.spawn(flow(client, backend, Arc::clone(&backends)));
                }
                // The client left before it was accepted; this does not affect the next one.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                // Out of descriptors or memory. The error returns at once while that lasts, so
                // wait.
                Err(error) => {
                    tracing::warn!(%error, "the virtual address cannot accept; trying again in {ACCEPT_BACKOFF:?}");
                    tokio::time::sleep(ACCEPT_BACKOFF).await;
                }
            },
            Some(_) = flows.join_next() => {}
        }
    }
}

/// One connection from its acceptance to its end. A half-close passes through as such, a failure as
/// a reset of both sides.
async fn flow(mut client: TcpStream, backend: Option<SocketAddr>, backends: Arc<BackendList>) {
    let connected = match backend {
        Some(backend) => TcpStream::connect(backend).await.map(|stream| (backend, stream)),
        None => Err(io::ErrorKind::ConnectionRefused.into()),
    };
    let Ok((backend, mut server)) = connected else {
        reset_on_close(&client);
        return;
    };
    backends.count(backend);
    // Nagle's algorithm would delay small frames that client and server have sent at once.
    let _ = client.set_nodelay(true);
    let _ = server.set_nodelay(true);
    if copy_bidirectional(&mut client, &mut server).await.is_err() {
        reset_on_close(&client);
        reset_on_close(&server);
    }
}

/// Makes the next close a RST. Fails only if the socket is already closed, which is fine.
pub(super) fn reset_on_close(stream: &TcpStream) {
    let _ = stream.set_zero_linger();
}

pub(super) fn listen_on(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Connections that wait to be accepted. A larger burst loses SYNs, which are repeated only after
/// 1 s.
const BACKLOG: i32 = 4096;
/// Pause after a failed accept.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(20);
/// The random stream's id under the seed ("vip"), so that it shares no draws with the lab's other
/// entities.
const RNG_STREAM: u64 = 0x0076_6970;

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

    /// A backend that answers each connection with `name` and the bytes that it has read, once the
    /// client has closed its sending side.
    async fn backend(name: &'static str) -> SocketAddr {
        let listener = TcpListener::bind(LOOPBACK).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut heard = Vec::new();
                    stream.read_to_end(&mut heard).await.unwrap();
                    stream.write_all(name.as_bytes()).await.unwrap();
                    stream.write_all(&heard).await.unwrap();
                });
            }
        });
        address
    }

    async fn ask(address: SocketAddr, word: &str) -> io::Result<String> {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(word.as_bytes()).await?;
        stream.shutdown().await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    }

    #[tokio::test]
    async fn connections_spread_evenly_over_the_backends() {
        let backends = vec![backend("a").await, backend("b").await, backend("c").await];
        let seed = 7;
        let address = VirtualAddress::bind(LOOPBACK, backends.clone(), seed).await.unwrap();
        let n = 900;
        for _ in 0..n {
            ask(address.local_addr(), "").await.unwrap();
        }
        let counts = address.connections();
        assert_eq!(counts.values().sum::<u64>(), n);
        // Four standard deviations of a binomial count, √(n · ⅓ · ⅔).
        let tolerance = 4.0 * (n as f64 * 2.0 / 9.0).sqrt();
        for backend in backends {
            let off = (counts[&backend] as f64 - n as f64 / 3.0).abs();
            assert!(off <= tolerance, "seed {seed}: {counts:?} is off by {off} > {tolerance}");
        }
    }

    #[tokio::test]
    async fn a_half_close_passes_and_the_answer_still_comes() {
        let address = VirtualAddress::bind(LOOPBACK, vec![backend("a:").await], 1).await.unwrap();
        let long = "0123456789".repeat(50_000);
        assert_eq!(ask(address.local_addr(), &long).await.unwrap(), format!("a:{long}"));
    }

    #[tokio::test]
    async fn new_backends_get_new_connections_and_old_connections_stay() {
        let (old, new) = (backend("old").await, backend("new").await);
        let address = VirtualAddress::bind(LOOPBACK, vec![old], 1).await.unwrap();
        let mut kept = TcpStream::connect(address.local_addr()).await.unwrap();
        kept.write_all(b"!").await.unwrap();
        while address.connections().is_empty() {
            tokio::task::yield_now().await;
        }
        address.set_backends(vec![new]);
        assert_eq!(ask(address.local_addr(), "?").await.unwrap(), "new?");
        kept.shutdown().await.unwrap();
        let mut answer = String::new();
        kept.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer, "old!");
    }

    #[tokio::test]
    async fn a_backend_that_refuses_and_no_backend_reset_the_client() {
        let gone = TcpListener::bind(LOOPBACK).await.unwrap().local_addr().unwrap();
        for backends in [vec![gone], Vec::new()] {
            let address = VirtualAddress::bind(LOOPBACK, backends, 1).await.unwrap();
            let mut stream = TcpStream::connect(address.local_addr()).await.unwrap();
            let error = stream.read_u8().await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        }
    }

    #[tokio::test]
    async fn dropping_it_ends_every_connection_and_frees_the_address() {
        let address = VirtualAddress::bind(LOOPBACK, vec![backend("a").await], 1).await.unwrap();
        let local_addr = address.local_addr();
        let mut stream = TcpStream::connect(local_addr).await.unwrap();
        stream.write_all(b"!").await.unwrap();
        while address.connections().is_empty() {
            tokio::task::yield_now().await;
        }
        drop(address);
        // End of stream or reset, but an end; and nothing listens any more.
        assert!(matches!(stream.read(&mut [0; 8]).await, Ok(0) | Err(_)));
        assert!(TcpStream::connect(local_addr).await.is_err());
    }
}
