//! The cluster's DNS, embedded: an authoritative server whose answers change while load runs.
//!
//! Scenarios publish the backends of a headless service here, as CoreDNS does: one A or AAAA record per backend, in
//! random order (its `loadbalance` plugin), with a short TTL. UDP and TCP share one port; an answer that does not fit a
//! datagram is truncated, so that clients come back over TCP. It never recurses and knows no name it was not told.
//!
//! With a [`DnsTrouble`] it answers as a DNS server in trouble does.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hickory_proto::op::{Edns, Metadata, ResponseCode};
use hickory_proto::rr::{RData, Record, RecordType};
use hickory_server::net::runtime::Time;
use hickory_server::net::xfer::Protocol;
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::MessageResponseBuilder;
use meshless_core::Rng;
use tokio::net::{TcpListener, UdpSocket};

/// A DNS server on one address, UDP and TCP. It stops when it is dropped.
pub struct DnsServer {
    local_addr: SocketAddr,
    zone: Arc<Zone>,
    /// Its tasks end with it.
    _server: hickory_server::Server<Handler>,
}

impl DnsServer {
    /// Serves on `listen` (port 0 picks one that is free for both protocols). Records live for `ttl`, in whole seconds;
    /// their order is drawn from the random stream of `seed`.
    ///
    /// # Errors
    /// If the address cannot be bound for UDP and TCP.
    pub async fn bind(listen: SocketAddr, ttl: Duration, seed: u64) -> io::Result<Self> {
        let (udp, tcp) = bind_both(listen).await?;
        let local_addr = tcp.local_addr()?;
        let zone = Arc::new(Zone {
            ttl_s: u32::try_from(ttl.as_secs()).unwrap_or(u32::MAX),
            names: Mutex::default(),
            rng: Mutex::new(Rng::new(seed, RNG_STREAM)),
            queries: AtomicU64::new(0),
            trouble: Mutex::default(),
        });
        let mut server = hickory_server::Server::new(Handler { zone: Arc::clone(&zone) });
        server.register_socket(udp);
        server.register_listener(tcp, TCP_IDLE, TCP_RESPONSE_BUFFER);
        Ok(Self { local_addr, zone, _server: server })
    }

    /// Answers queries for `name` with `addresses` from now on: A and AAAA records by family. A final dot and case do
    /// not matter. An empty list leaves a name that exists and has no address (NOERROR); a name never set is NXDOMAIN.
    pub fn set_records(&self, name: &str, addresses: Vec<IpAddr>) {
        self.zone.lock_names().insert(canonical(name), addresses);
    }

    /// Answers every query in this way from now on, or as it should.
    pub fn set_trouble(&self, trouble: Option<DnsTrouble>) {
        *self.zone.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    /// The address to query.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Queries answered so far, over both protocols.
    pub fn queries(&self) -> u64 {
        self.zone.queries.load(Ordering::Relaxed)
    }
}

/// A way in which DNS goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DnsTrouble {
    /// SERVFAIL, as from a resolver that cannot reach the servers behind it.
    ServerFailure,
    /// NXDOMAIN, as while a Service is made anew.
    NoSuchName,
    /// NOERROR without an address, as when no pod is ready.
    NoAddress,
    /// The right answer, so much later.
    Slow(Duration),
    /// Over UDP, a truncated answer without a record; over TCP the right one.
    Truncated,
}

/// What a query gets.
enum Answer {
    /// These addresses of the family that was asked for, in this order.
    Addresses(Vec<IpAddr>),
    /// NXDOMAIN.
    NoSuchName,
    /// SERVFAIL.
    ServerFailure,
    /// None, and the TC bit.
    Truncated,
}

struct Zone {
    ttl_s: u32,
    names: Mutex<HashMap<String, Vec<IpAddr>>>,
    rng: Mutex<Rng>,
    queries: AtomicU64,
    trouble: Mutex<Option<DnsTrouble>>,
}

impl Zone {
    async fn answer(&self, name: &str, family: RecordType, protocol: Protocol) -> Answer {
        let trouble = *self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        match trouble {
            Some(DnsTrouble::ServerFailure) => return Answer::ServerFailure,
            Some(DnsTrouble::NoSuchName) => return Answer::NoSuchName,
            Some(DnsTrouble::NoAddress) => return Answer::Addresses(Vec::new()),
            Some(DnsTrouble::Truncated) if protocol == Protocol::Udp => return Answer::Truncated,
            Some(DnsTrouble::Slow(late)) => tokio::time::sleep(late).await,
            Some(DnsTrouble::Truncated) | None => {}
        }
        let Some(addresses) = self.lock_names().get(&canonical(name)).cloned() else {
            return Answer::NoSuchName;
        };
        let mut addresses: Vec<_> = addresses
            .into_iter()
            .filter(|address| match family {
                RecordType::A => address.is_ipv4(),
                RecordType::AAAA => address.is_ipv6(),
                _ => false,
            })
            .collect();
        self.rng.lock().unwrap_or_else(PoisonError::into_inner).shuffle(&mut addresses);
        Answer::Addresses(addresses)
    }

    fn lock_names(&self) -> std::sync::MutexGuard<'_, HashMap<String, Vec<IpAddr>>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Handler {
    zone: Arc<Zone>,
}

#[async_trait::async_trait]
impl RequestHandler for Handler {
    async fn handle_request<R: ResponseHandler, T: Time>(
        &self,
        request: &Request,
        mut response_handle: R,
    ) -> ResponseInfo {
        self.zone.queries.fetch_add(1, Ordering::Relaxed);
        let mut metadata = Metadata::response_from_request(&request.metadata);
        metadata.authoritative = true;
        let mut records = Vec::new();
        match request.request_info() {
            Ok(info) => {
                let name = info.query.original().name();
                match self.zone.answer(&name.to_ascii(), info.query.query_type(), request.protocol()).await {
                    Answer::NoSuchName => metadata.response_code = ResponseCode::NXDomain,
                    Answer::ServerFailure => metadata.response_code = ResponseCode::ServFail,
                    Answer::Truncated => metadata.truncation = true,
                    Answer::Addresses(addresses) => records.extend(addresses.into_iter().map(|address| {
                        let data = match address {
                            IpAddr::V4(v4) => RData::from(v4),
                            IpAddr::V6(v6) => RData::from(v6),
                        };
                        Record::from_rdata(name.clone(), self.zone.ttl_s, data)
                    })),
                }
            }
            Err(_) => metadata.response_code = ResponseCode::FormErr,
        }
        let edns = request.edns.as_ref().map(|asked| {
            let mut edns = Edns::new();
            edns.set_max_payload(asked.max_payload().clamp(512, MAX_UDP_PAYLOAD));
            edns
        });
        let mut builder = MessageResponseBuilder::from_message_request(request);
        if let Some(edns) = &edns {
            builder.edns(edns);
        }
        let response = builder.build(metadata, &records, [], [], []);
        match response_handle.send_response(response).await {
            Ok(info) => info,
            Err(error) => {
                tracing::debug!(%error, "a DNS answer could not be sent");
                // Only for the server's log: nothing of it reaches the client any more.
                metadata.response_code = ResponseCode::ServFail;
                hickory_proto::op::Header { metadata, counts: Default::default() }.into()
            }
        }
    }
}

/// Binds UDP and TCP to one port. With port 0 the port that TCP got may be taken for UDP, so try a few.
async fn bind_both(listen: SocketAddr) -> io::Result<(UdpSocket, TcpListener)> {
    let attempts = if listen.port() == 0 { BIND_ATTEMPTS } else { 1 };
    let mut last = None;
    for _ in 0..attempts {
        let tcp = TcpListener::bind(listen).await?;
        match UdpSocket::bind(tcp.local_addr()?).await {
            Ok(udp) => return Ok((udp, tcp)),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| io::ErrorKind::AddrInUse.into()))
}

fn canonical(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

/// Largest UDP answer to a client with EDNS: CoreDNS's `bufsize` default, chosen so that no datagram is fragmented
/// (DNS flag day 2020).
const MAX_UDP_PAYLOAD: u16 = 1232;
/// A TCP connection without a query for this long is closed.
const TCP_IDLE: Duration = Duration::from_secs(10);
/// Answers that wait for one TCP client to read.
const TCP_RESPONSE_BUFFER: usize = 32;
/// Ports tried when any will do.
const BIND_ATTEMPTS: usize = 16;
/// The random stream's id under the seed ("dns").
const RNG_STREAM: u64 = 0x0064_6e73;

#[cfg(test)]
mod tests;
