//! The DNS server as clients see it: hickory's resolver, and single messages over UDP.

use super::*;
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};

use hickory_proto::op::{self, Message, MessageType, OpCode};
use hickory_proto::rr::Name;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};

const LOOPBACK: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
const NAME: &str = "echo.shop.svc.cluster.local.";

async fn server_with(addresses: Vec<IpAddr>) -> DnsServer {
    let server = DnsServer::bind(LOOPBACK, 11).await.unwrap();
    server.set(NAME, Script::Addresses { addresses, ttl_s: 5 });
    server
}

fn v4(n: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, 0, n))
}

fn resolver(server: &DnsServer) -> TokioResolver {
    let mut connections = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
    for connection in &mut connections {
        connection.port = server.address.port();
    }
    let name_server = NameServerConfig::new(server.address.ip(), true, connections);
    let config = ResolverConfig::from_parts(None, Vec::new(), vec![name_server]);
    TokioResolver::builder_with_config(config, Default::default()).build().unwrap()
}

/// Sends one query in one datagram and reads the answer. `payload` is what EDNS advertises.
async fn query_udp(server: &DnsServer, name: &str, family: RecordType, payload: Option<u16>) -> Message {
    let mut message = Message::new(4711, MessageType::Query, OpCode::Query);
    message.add_query(op::Query::query(Name::from_ascii(name).unwrap(), family));
    if let Some(payload) = payload {
        let mut edns = Edns::new();
        edns.set_max_payload(payload);
        message.edns = Some(edns);
    }
    let socket = UdpSocket::bind(LOOPBACK).await.unwrap();
    socket.send_to(&message.to_vec().unwrap(), server.address).await.unwrap();
    let mut buffer = [0; 4096];
    let length = socket.recv(&mut buffer).await.unwrap();
    let answer = Message::from_vec(&buffer[..length]).unwrap();
    assert_eq!(answer.metadata.id, 4711);
    assert!(answer.metadata.authoritative);
    answer
}

fn addresses(answer: &Message) -> Vec<IpAddr> {
    answer.answers.iter().filter_map(|record| record.data.ip_addr()).collect()
}

#[tokio::test]
async fn each_family_gets_its_own_records_with_the_ttl() {
    let v6 = IpAddr::V6(Ipv6Addr::LOCALHOST);
    let server = server_with(vec![v4(1), v6]).await;
    let a = query_udp(&server, NAME, RecordType::A, None).await;
    assert_eq!(addresses(&a), [v4(1)]);
    assert_eq!(a.answers[0].ttl, 5);
    let aaaa = query_udp(&server, NAME, RecordType::AAAA, None).await;
    assert_eq!(addresses(&aaaa), [v6]);
    assert_eq!(server.queries().len(), 2);
}

#[tokio::test]
async fn a_missing_family_is_empty_and_an_unknown_name_does_not_exist() {
    let server = server_with(vec![v4(1)]).await;
    let aaaa = query_udp(&server, NAME, RecordType::AAAA, None).await;
    assert_eq!((aaaa.metadata.response_code, aaaa.answers.len()), (ResponseCode::NoError, 0));
    let unknown = query_udp(&server, "nobody.svc.cluster.local.", RecordType::A, None).await;
    assert_eq!(unknown.metadata.response_code, ResponseCode::NXDomain);
}

#[tokio::test]
async fn answers_change_at_once_and_names_ignore_case() {
    let server = server_with(vec![v4(1)]).await;
    server.set_addresses("ECHO.shop.svc.cluster.local", &["10.0.0.2"], 5);
    let answer = query_udp(&server, "echo.Shop.svc.cluster.local.", RecordType::A, None).await;
    assert_eq!(addresses(&answer), [v4(2)]);
}

#[tokio::test]
async fn every_record_comes_first_equally_often() {
    let server = server_with((1..=3).map(v4).collect()).await;
    let n = 300;
    let mut first = [0u32; 3];
    for _ in 0..n {
        let answer = query_udp(&server, NAME, RecordType::A, None).await;
        let order = addresses(&answer);
        assert_eq!(order.iter().collect::<BTreeSet<_>>().len(), 3);
        first[(1..=3).position(|i| v4(i) == order[0]).unwrap()] += 1;
    }
    // Four standard deviations of a binomial count.
    let tolerance = 4.0 * (f64::from(n) * 2.0 / 9.0).sqrt();
    assert!(first.iter().all(|count| (f64::from(*count) - 100.0).abs() <= tolerance), "seed 11: {first:?}");
}

#[tokio::test]
async fn an_answer_too_big_for_the_datagram_is_truncated() {
    let server = server_with((1..=60).map(v4).collect()).await;
    let plain = query_udp(&server, NAME, RecordType::A, None).await;
    assert!(plain.metadata.truncation && plain.answers.len() < 60);
    let edns = query_udp(&server, NAME, RecordType::A, Some(1232)).await;
    assert!(!edns.metadata.truncation);
    assert_eq!(edns.answers.len(), 60);
}

#[tokio::test]
async fn a_resolver_gets_all_of_a_long_answer_over_tcp() {
    let server = server_with((1..=200).map(v4).collect()).await;
    let found: BTreeSet<_> = resolver(&server).lookup_ip(NAME).await.unwrap().iter().collect();
    assert_eq!(found, (1..=200).map(v4).collect());
}

#[tokio::test]
async fn a_resolver_is_told_that_a_name_does_not_exist() {
    let server = server_with(Vec::new()).await;
    let error = resolver(&server).lookup_ip("nobody.").await.unwrap_err();
    assert!(error.is_nx_domain(), "{error}");
}

#[tokio::test]
async fn trouble_shows_in_every_answer_until_it_is_over() {
    let server = server_with(vec![v4(1)]).await;
    for (trouble, code) in [
        (DnsTrouble::ServerFailure, ResponseCode::ServFail),
        (DnsTrouble::NoSuchName, ResponseCode::NXDomain),
        (DnsTrouble::NoAddress, ResponseCode::NoError),
    ] {
        server.set_trouble(Some(trouble));
        let answer = query_udp(&server, NAME, RecordType::A, None).await;
        assert_eq!((answer.metadata.response_code, addresses(&answer)), (code, vec![]), "{trouble:?}");
    }
    server.set_trouble(None);
    let answer = query_udp(&server, NAME, RecordType::A, None).await;
    assert_eq!(addresses(&answer), [v4(1)]);
}

#[tokio::test]
async fn a_truncated_answer_comes_whole_over_tcp() {
    let server = server_with(vec![v4(1), v4(2)]).await;
    server.set_trouble(Some(DnsTrouble::Truncated));
    let answer = query_udp(&server, NAME, RecordType::A, None).await;
    assert!(answer.metadata.truncation && addresses(&answer).is_empty());
    assert_eq!(resolver(&server).ipv4_lookup(NAME).await.unwrap().answers().len(), 2);
}

#[tokio::test]
async fn a_slow_answer_is_right_and_late() {
    let server = server_with(vec![v4(1)]).await;
    let late = Duration::from_millis(30);
    server.set_trouble(Some(DnsTrouble::Slow(late)));
    let begun = std::time::Instant::now();
    assert_eq!(addresses(&query_udp(&server, NAME, RecordType::A, None).await), [v4(1)]);
    assert!(begun.elapsed() >= late);
}
