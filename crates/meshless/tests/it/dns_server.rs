//! A small authoritative DNS server whose answers a test decides, on loopback, UDP and TCP on one port.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hickory_proto::op::{Edns, Header, Metadata, ResponseCode};
use hickory_proto::rr::{RData, Record, RecordType};
use hickory_server::net::runtime::Time;
use hickory_server::net::xfer::Protocol;
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::zone_handler::MessageResponseBuilder;
use tokio::net::{TcpListener, UdpSocket};

/// What a name is answered with.
#[derive(Clone, Debug)]
pub(crate) enum Script {
    /// These addresses, each family to those who ask for it.
    Addresses { addresses: Vec<IpAddr>, ttl_s: u32 },
    /// This code and no records.
    Code(ResponseCode),
    /// The same as `Addresses`, after a while.
    Slow { addresses: Vec<IpAddr>, after: Duration },
    /// Nothing.
    Silence,
}

/// One query as it arrived.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Query {
    pub(crate) name: String,
    pub(crate) kind: RecordType,
    pub(crate) protocol: Protocol,
}

pub(crate) struct DnsServer {
    pub(crate) address: SocketAddr,
    zone: Arc<Zone>,
    _server: hickory_server::Server<Handler>,
}

impl DnsServer {
    pub(crate) async fn start() -> Self {
        // The port that TCP was given may be taken for UDP.
        let (tcp, udp) = loop {
            let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            if let Ok(udp) = UdpSocket::bind(tcp.local_addr().unwrap()).await {
                break (tcp, udp);
            }
        };
        let address = tcp.local_addr().unwrap();
        let zone = Arc::new(Zone::default());
        let mut server = hickory_server::Server::new(Handler(Arc::clone(&zone)));
        server.register_socket(udp);
        server.register_listener(tcp, Duration::from_secs(5), 32);
        Self { address, zone, _server: server }
    }

    /// Answers `name` so from now on. Names without a script are NXDOMAIN.
    pub(crate) fn set(&self, name: &str, script: Script) {
        self.zone.scripts.lock().unwrap().insert(name.to_owned(), script);
    }

    pub(crate) fn set_addresses(&self, name: &str, addresses: &[&str], ttl_s: u32) {
        let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
        self.set(name, Script::Addresses { addresses, ttl_s });
    }

    pub(crate) fn queries(&self) -> Vec<Query> {
        self.zone.queries.lock().unwrap().clone()
    }
}

#[derive(Default)]
struct Zone {
    scripts: Mutex<HashMap<String, Script>>,
    queries: Mutex<Vec<Query>>,
}

struct Handler(Arc<Zone>);

#[async_trait::async_trait]
impl RequestHandler for Handler {
    async fn handle_request<R: ResponseHandler, T: Time>(
        &self,
        request: &Request,
        mut response_handle: R,
    ) -> ResponseInfo {
        let info = request.request_info().unwrap();
        let (name, kind) = (info.query.original().name().clone(), info.query.query_type());
        self.0.queries.lock().unwrap().push(Query { name: name.to_ascii(), kind, protocol: info.protocol });
        let mut script = self.0.scripts.lock().unwrap().get(&name.to_ascii()).cloned();
        if let Some(Script::Slow { addresses, after }) = script {
            tokio::time::sleep(after).await;
            script = Some(Script::Addresses { addresses, ttl_s: 0 });
        }
        let mut metadata = Metadata::response_from_request(&request.metadata);
        let mut records = Vec::new();
        match script.unwrap_or(Script::Code(ResponseCode::NXDomain)) {
            Script::Addresses { addresses, ttl_s } => {
                let data = addresses.into_iter().map(|address| match address {
                    IpAddr::V4(v4) => RData::from(v4),
                    IpAddr::V6(v6) => RData::from(v6),
                });
                records.extend(
                    data.filter(|data| data.record_type() == kind)
                        .map(|data| Record::from_rdata(name.clone(), ttl_s, data)),
                );
            }
            Script::Code(code) => metadata.response_code = code,
            Script::Slow { .. } | Script::Silence => {
                return Header { metadata, counts: Default::default() }.into();
            }
        }
        let edns = request.edns.as_ref().map(|asked| {
            let mut edns = Edns::new();
            edns.set_max_payload(asked.max_payload());
            edns
        });
        let mut builder = MessageResponseBuilder::from_message_request(request);
        if let Some(edns) = &edns {
            builder.edns(edns);
        }
        response_handle.send_response(builder.build(metadata, &records, [], [], [])).await.unwrap()
    }
}
