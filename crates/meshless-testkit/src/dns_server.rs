//! An authoritative DNS server whose answers change while it runs.
//!
//! Like CoreDNS for a headless service: one A or AAAA record per backend, in random order (its
//! `loadbalance` plugin) if asked for. UDP and TCP share one port; an answer that does not fit a
//! datagram is truncated, so that clients come back over TCP. It never recurses and knows no name
//! it was not told. A [`Script`] says how one name is answered, and a [`DnsTrouble`] what is wrong
//! with all answers.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use hickory_proto::op::{Edns, Header, Metadata, ResponseCode};
use hickory_proto::rr::{RData, Record, RecordType};
use hickory_server::net::runtime::Time;
pub use hickory_server::net::xfer::Protocol;
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::MessageResponseBuilder;
use meshless_core::Rng;
use tokio::net::{TcpListener, UdpSocket};

/// A DNS server on one address, UDP and TCP. It stops when it is dropped.
pub struct DnsServer {
    /// Where it is asked.
    pub address: SocketAddr,
    zone: Arc<Zone>,
    /// Its tasks end with it.
    _server: hickory_server::Server<Handler>,
}

/// What a name is answered with.
#[derive(Clone, Debug)]
pub enum Script {
    /// These addresses, each family to those who ask for it. None of a family is NOERROR without a
    /// record.
    Addresses {
        /// Of both families.
        addresses: Vec<IpAddr>,
        /// For how long clients may keep them, in seconds.
        ttl_s: u32,
    },
    /// This code and no records.
    Code(ResponseCode),
    /// The same as `Addresses` with a TTL of zero, after a while.
    Slow {
        /// Of both families.
        addresses: Vec<IpAddr>,
        /// So much later.
        after: Duration,
    },
    /// Nothing.
    Silence,
}

/// One query as it arrived.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    /// As the client spelled it, with its final dot.
    pub name: String,
    /// A, AAAA, or what else was asked for.
    pub kind: RecordType,
    /// UDP or TCP.
    pub protocol: Protocol,
}

impl DnsServer {
    /// A server on a free port of loopback, which answers with addresses in the order in which they
    /// were given.
    ///
    /// # Panics
    /// If there is no free port.
    pub async fn start() -> Self {
        let listen = (Ipv4Addr::LOCALHOST, 0).into();
        Self::bind_with(listen, None).await.expect("loopback has a free port")
    }

    /// Serves on `listen` (port 0 picks one that is free for both protocols). The order of the
    /// addresses in each answer is drawn from the random stream of `seed`.
    ///
    /// # Errors
    /// If the address cannot be bound for UDP and TCP.
    pub async fn bind(listen: SocketAddr, seed: u64) -> io::Result<Self> {
        Self::bind_with(listen, Some(Rng::new(seed, RNG_STREAM))).await
    }

    async fn bind_with(listen: SocketAddr, order: Option<Rng>) -> io::Result<Self> {
        let (udp, tcp) = bind_both(listen).await?;
        let address = tcp.local_addr()?;
        let state = ZoneState { scripts: HashMap::new(), order, queries: VecDeque::new(), trouble: None };
        let zone = Arc::new(Zone(Mutex::new(state)));
        let mut server = hickory_server::Server::new(Handler { zone: Arc::clone(&zone) });
        server.register_socket(udp);
        server.register_listener(tcp, TCP_IDLE, TCP_RESPONSE_BUFFER);
        Ok(Self { address, zone, _server: server })
    }

    /// Answers queries for `name` so from now on. A final dot and case do not matter. A name never
    /// set is NXDOMAIN.
    pub fn set(&self, name: &str, script: Script) {
        self.zone.lock().scripts.insert(canonical(name), script);
    }

    /// Answers with these addresses, as text.
    ///
    /// # Panics
    /// If one is not an address.
    pub fn set_addresses(&self, name: &str, addresses: &[&str], ttl_s: u32) {
        let addresses = addresses.iter().map(|address| address.parse().expect("an address")).collect();
        self.set(name, Script::Addresses { addresses, ttl_s });
    }

    /// Answers every query in this way from now on, or as it should.
    pub fn set_trouble(&self, trouble: Option<DnsTrouble>) {
        self.zone.lock().trouble = trouble;
    }

    /// The last queries, at most 4096 of them, over both protocols.
    pub fn queries(&self) -> Vec<Query> {
        self.zone.lock().queries.iter().cloned().collect()
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

struct Zone(Mutex<ZoneState>);

struct ZoneState {
    scripts: HashMap<String, Script>,
    /// Draws the order of addresses, if it is not the given one.
    order: Option<Rng>,
    queries: VecDeque<Query>,
    trouble: Option<DnsTrouble>,
}

/// What a query gets.
enum Reply {
    /// This code, and addresses with their TTL in seconds.
    Records(ResponseCode, Vec<IpAddr>, u32),
    /// No record, and the TC bit.
    Truncated,
    Nothing,
}

impl Zone {
    fn lock(&self) -> MutexGuard<'_, ZoneState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn reply(&self, query: Query) -> Reply {
        let code = |code| Reply::Records(code, Vec::new(), 0);
        let (trouble, script) = {
            let mut state = self.lock();
            let script = state.scripts.get(&canonical(&query.name)).cloned();
            if state.queries.len() == MOST_REMEMBERED {
                state.queries.pop_front();
            }
            state.queries.push_back(query.clone());
            (state.trouble, script)
        };
        match trouble {
            Some(DnsTrouble::ServerFailure) => return code(ResponseCode::ServFail),
            Some(DnsTrouble::NoSuchName) => return code(ResponseCode::NXDomain),
            Some(DnsTrouble::NoAddress) => return code(ResponseCode::NoError),
            Some(DnsTrouble::Truncated) if query.protocol == Protocol::Udp => return Reply::Truncated,
            Some(DnsTrouble::Slow(late)) => tokio::time::sleep(late).await,
            Some(DnsTrouble::Truncated) | None => {}
        }
        let (mut addresses, ttl_s) = match script {
            None => return code(ResponseCode::NXDomain),
            Some(Script::Code(refusal)) => return code(refusal),
            Some(Script::Silence) => return Reply::Nothing,
            Some(Script::Addresses { addresses, ttl_s }) => (addresses, ttl_s),
            Some(Script::Slow { addresses, after }) => {
                tokio::time::sleep(after).await;
                (addresses, 0)
            }
        };
        addresses.retain(|address| match query.kind {
            RecordType::A => address.is_ipv4(),
            RecordType::AAAA => address.is_ipv6(),
            _ => false,
        });
        if let Some(order) = &mut self.lock().order {
            order.shuffle(&mut addresses);
        }
        Reply::Records(ResponseCode::NoError, addresses, ttl_s)
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
        let mut metadata = Metadata::response_from_request(&request.metadata);
        metadata.authoritative = true;
        let mut records = Vec::new();
        match request.request_info() {
            Ok(info) => {
                let name = info.query.original().name();
                let (kind, protocol) = (info.query.query_type(), info.protocol);
                match self.zone.reply(Query { name: name.to_ascii(), kind, protocol }).await {
                    Reply::Nothing => return Header { metadata, counts: Default::default() }.into(),
                    Reply::Truncated => metadata.truncation = true,
                    Reply::Records(code, addresses, ttl_s) => {
                        metadata.response_code = code;
                        records.extend(addresses.into_iter().map(|address| {
                            let data = match address {
                                IpAddr::V4(v4) => RData::from(v4),
                                IpAddr::V6(v6) => RData::from(v6),
                            };
                            Record::from_rdata(name.clone(), ttl_s, data)
                        }));
                    }
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
                Header { metadata, counts: Default::default() }.into()
            }
        }
    }
}

/// Binds UDP and TCP to one port. With port 0 the port that TCP got may be taken for UDP, so try a
/// few.
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

/// Largest UDP answer to a client with EDNS: CoreDNS's `bufsize` default, chosen so that no
/// datagram is fragmented (DNS flag day 2020).
const MAX_UDP_PAYLOAD: u16 = 1232;
/// A TCP connection without a query for this long is closed.
const TCP_IDLE: Duration = Duration::from_secs(10);
/// Answers that wait for one TCP client to read.
const TCP_RESPONSE_BUFFER: usize = 32;
/// Queries that are kept: a thousand times what a test makes.
const MOST_REMEMBERED: usize = 4096;
/// Ports tried when any will do.
const BIND_ATTEMPTS: usize = 16;
/// The random stream's id under the seed ("dns").
const RNG_STREAM: u64 = 0x0064_6e73;

#[cfg(test)]
mod tests;
