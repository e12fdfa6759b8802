//! A name server whose every datagram a test decides: for servers that are old, broken or filtered.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hickory_proto::op::{Message, OpCode, ResponseCode};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

/// Datagrams to send, each after a while.
pub type Replies = Vec<(Duration, Vec<u8>)>;

type Behaviour = Box<dyn Fn(&Message) -> Replies + Send>;

/// Answers over UDP on loopback. Its TCP port is closed.
pub struct RawNameServer {
    /// Where it is asked.
    pub address: SocketAddr,
    behaviour: Arc<Mutex<Behaviour>>,
    queries: Arc<Mutex<Vec<Message>>>,
    task: JoinHandle<()>,
}

impl RawNameServer {
    /// Starts it on a free port.
    pub async fn start(behaviour: impl Fn(&Message) -> Replies + Send + 'static) -> Self {
        let socket = Arc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap());
        let address = socket.local_addr().unwrap();
        let behaviour = Arc::new(Mutex::new(Box::new(behaviour) as Behaviour));
        let queries = Arc::<Mutex<Vec<Message>>>::default();
        let (current, seen) = (Arc::clone(&behaviour), Arc::clone(&queries));
        let task = tokio::spawn(async move {
            let mut buffer = [0; 4096];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                let query = Message::from_vec(&buffer[..length]).unwrap();
                let replies = current.lock().unwrap()(&query);
                seen.lock().unwrap().push(query);
                let socket = Arc::clone(&socket);
                tokio::spawn(async move {
                    for (after, bytes) in replies {
                        tokio::time::sleep(after).await;
                        let _ = socket.send_to(&bytes, from).await;
                    }
                });
            }
        });
        Self { address, behaviour, queries, task }
    }

    /// Behaves so from now on.
    pub fn behave(&self, behaviour: impl Fn(&Message) -> Replies + Send + 'static) {
        *self.behaviour.lock().unwrap() = Box::new(behaviour);
    }

    /// All queries.
    pub fn queries(&self) -> Vec<Message> {
        self.queries.lock().unwrap().clone()
    }
}

impl Drop for RawNameServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What a query asks for.
pub fn kind(query: &Message) -> RecordType {
    query.queries[0].query_type()
}

/// The name that it asks for.
pub fn name(query: &Message) -> Name {
    query.queries[0].name().clone()
}

/// The response to a query, without an answer yet.
pub fn response(query: &Message) -> Message {
    let mut response = Message::response(query.metadata.id, OpCode::Query);
    response.metadata.recursion_available = true;
    response.queries = query.queries.clone();
    response
}

/// The same with these addresses, as far as they are of the kind that was asked for.
pub fn with_addresses(query: &Message, addresses: &[&str], ttl_s: u32) -> Message {
    let mut response = response(query);
    for address in addresses {
        let data = match address.parse().unwrap() {
            std::net::IpAddr::V4(v4) => RData::from(v4),
            std::net::IpAddr::V6(v6) => RData::from(v6),
        };
        if data.record_type() == kind(query) {
            response.add_answer(Record::from_rdata(name(query), ttl_s, data));
        }
    }
    response
}

/// Sends this at once.
pub fn now(message: Message) -> Replies {
    after(Duration::ZERO, message)
}

/// Sends this after a while.
pub fn after(delay: Duration, message: Message) -> Replies {
    vec![(delay, message.to_vec().unwrap())]
}

/// Sends this code at once.
pub fn code(query: &Message, code: ResponseCode) -> Replies {
    let mut response = response(query);
    response.metadata.response_code = code;
    now(response)
}
