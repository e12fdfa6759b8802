//! Opens the connections of a client, and counts what passes through them.
//!
//! tonic's own connector asks the system's resolver, which sorts the addresses of a name (RFC 6724)
//! and so sends every client to the same one. This one asks the run's DNS server and takes the
//! addresses in the order of the answer, as gRPC's `pick_first` does.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hyper_util::rt::TokioIo;
use meshless_core::{FrameHeader, FrameKind};
use meshless_testkit::watched::{FrameWatcher, Watched};
use tokio::net::TcpStream;
use tonic::codegen::http::Uri;
use tower_service::Service;

/// A tower service from a URI to a connection, as `tonic::transport::Endpoint` takes it.
#[derive(Clone)]
pub(crate) struct Connector {
    resolver: Option<TokioResolver>,
    counters: Arc<Counters>,
}

/// What passed through the connections of a client, since it began.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    opened: AtomicU64,
    goaways: AtomicU64,
    attempts: AtomicU64,
}

impl Connector {
    /// A connector that resolves names at `dns`, if there is one.
    ///
    /// # Errors
    /// If the resolver cannot be made.
    pub(crate) fn new(dns: Option<SocketAddr>, counters: Arc<Counters>) -> io::Result<Self> {
        Ok(Self { resolver: dns.map(resolver).transpose()?, counters })
    }

    /// What DNS says now about a host.
    ///
    /// # Errors
    /// If it does not answer, or says that there is no such name or no address.
    pub(crate) async fn addresses(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        if let Ok(address) = host.trim_matches(['[', ']']).parse() {
            return Ok(vec![address]);
        }
        let Some(resolver) = &self.resolver else {
            return Err(io::Error::new(io::ErrorKind::NotFound, format!("no DNS server knows {host}")));
        };
        let answer = resolver.lookup_ip(host).await.map_err(io::Error::other)?;
        Ok(answer.iter().collect())
    }

    async fn connect(self, uri: Uri) -> io::Result<TokioIo<Counted>> {
        let host = uri.host().unwrap_or_default();
        let port = uri.port_u16().unwrap_or(80);
        let mut failure = io::Error::new(io::ErrorKind::NotFound, format!("{host} has no address"));
        for address in self.addresses(host).await? {
            match TcpStream::connect((address, port)).await {
                Ok(stream) => return Ok(TokioIo::new(counted(stream, self.counters)?)),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Counted>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TokioIo<Counted>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        Box::pin(self.clone().connect(uri))
    }
}

/// For the channel, which resolves and chooses by itself.
#[derive(Debug)]
pub(crate) struct CountingDialer(pub(crate) Arc<Counters>);

impl meshless::client::Connect for CountingDialer {
    fn connect(&self, address: &meshless::resolver::Address) -> meshless::client::Connecting {
        let (address, counters) = (address.clone(), Arc::clone(&self.0));
        Box::pin(async move {
            let meshless::resolver::Address::Tcp(address) = address else {
                return Err(io::Error::new(io::ErrorKind::Unsupported, "the lab's backends listen on TCP"));
            };
            let stream = TcpStream::connect(address).await?;
            Ok(Box::new(counted(stream, counters)?) as meshless::client::BoxIo)
        })
    }
}

impl Counters {
    /// Connections that were opened.
    pub(crate) fn opened(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }

    /// GOAWAY frames that were received.
    pub(crate) fn goaways(&self) -> u64 {
        self.goaways.load(Ordering::Relaxed)
    }

    /// Requests that were sent. A call that is sent again counts again, whoever did it and for
    /// whatever reason.
    pub(crate) fn attempts(&self) -> u64 {
        self.attempts.load(Ordering::Relaxed)
    }
}

/// A connection whose frames are counted.
pub(crate) type Counted = Watched<TcpStream, Count>;

#[derive(Debug)]
pub(crate) struct Count(Arc<Counters>);

fn counted(stream: TcpStream, counters: Arc<Counters>) -> io::Result<Counted> {
    stream.set_nodelay(true)?;
    counters.opened.fetch_add(1, Ordering::Relaxed);
    Ok(Watched::new(stream, Count(counters)))
}

impl FrameWatcher for Count {
    fn on_read(&mut self, frame: FrameHeader) {
        if frame.kind == FrameKind::GoAway {
            self.0.goaways.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A request is a HEADERS frame: calls of gRPC have no trailers on their way out.
    fn on_written(&mut self, frame: FrameHeader) {
        if frame.kind == FrameKind::Headers {
            self.0.attempts.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn resolver(server: SocketAddr) -> io::Result<TokioResolver> {
    let mut transports = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
    transports.iter_mut().for_each(|transport| transport.port = server.port());
    let server = NameServerConfig::new(server.ip(), true, transports);
    let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
    let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    let options = builder.options_mut();
    // The backends have IPv4 addresses only, and each connection asks again: the answer's order is
    // what balances.
    options.ip_strategy = LookupIpStrategy::Ipv4Only;
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Never;
    options.timeout = Duration::from_millis(250);
    builder.build().map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use meshless_testkit::raw_peer::{DATA, END_STREAM, RawPeer, frame, request};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn every_request_on_a_connection_is_an_attempt() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let counters = Arc::new(Counters::default());
        for connections in 1..=2 {
            let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let mut peer = RawPeer::connect(counted(stream, counters.clone()).unwrap()).await;
            peer.call(1, "/").await;
            peer.send(&request(3, "/", &[], 0)).await;
            peer.send(&frame(DATA, END_STREAM, 3, &[])).await;
            assert_eq!((counters.opened(), counters.attempts()), (connections, 2 * connections));
        }
    }
}
