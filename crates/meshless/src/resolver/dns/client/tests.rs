//! The names that are tried, and the name servers that are asked.

use super::*;
use hickory_resolver::proto::op::Message;
use hickory_resolver::proto::rr::{RData, Record};
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;
use tokio::net::UdpSocket;

/// A pod's search path in namespace `shop`.
fn search() -> Vec<Name> {
    ["shop.svc.cluster.local", "svc.cluster.local", "cluster.local"]
        .map(|name| name.parse().unwrap())
        .to_vec()
}

fn tried(host: &str, ndots: usize) -> Vec<String> {
    names(host, ndots, &search()).unwrap().iter().map(Name::to_ascii).collect()
}

#[test]
fn a_pods_search_path_comes_before_the_name_itself() {
    assert_eq!(
        tried("echo.shop", 5),
        [
            "echo.shop.shop.svc.cluster.local.",
            "echo.shop.svc.cluster.local.",
            "echo.shop.cluster.local.",
            "echo.shop."
        ]
    );
}

#[test]
fn a_name_with_enough_dots_comes_first() {
    assert_eq!(tried("echo.shop", 1)[0], "echo.shop.");
    assert_eq!(tried("echo", 1).last().unwrap(), "echo.");
    assert_eq!(tried("echo.shop", 1).len(), 4);
}

#[test]
fn a_final_dot_leaves_the_search_path_out() {
    assert_eq!(tried("echo.shop.", 5), ["echo.shop."]);
}

#[test]
fn a_root_in_the_search_path_is_not_asked_twice() {
    let names = names("echo.shop", 5, &[Name::root()]).unwrap();
    assert_eq!(names.len(), 1);
}

/// A name server that answers A queries with this code, or this address, after a while.
async fn name_server(after: Duration, answer: Result<IpAddr, ResponseCode>) -> SocketAddr {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
            let query = Message::from_vec(&buffer[..length]).unwrap();
            let mut response = Message::response(query.metadata.id, query.metadata.op_code);
            response.queries = query.queries.clone();
            match answer {
                Err(code) => response.metadata.response_code = code,
                Ok(ip) => {
                    let name = query.queries[0].name().clone();
                    response.add_answer(Record::from_rdata(name, 30, RData::from(ip)));
                }
            }
            tokio::time::sleep(after).await;
            socket.send_to(&response.to_vec().unwrap(), from).await.unwrap();
        }
    });
    address
}

async fn asked(servers: &[SocketAddr]) -> Result<Vec<IpAddr>, NetError> {
    let mut options = ResolverOpts::default();
    (options.cache_size, options.attempts, options.timeout) = (0, 0, Duration::from_secs(1));
    let servers: Vec<_> = servers.iter().copied().map(name_server_at).collect();
    let resolver = build(servers.clone(), options.clone())?;
    let edns = AtomicBool::new(true);
    let client = Client { resolver, edns, servers, options, names: Vec::new() };
    let found = client.records(&"echo.shop.test.".parse()?, RecordType::A).await?;
    Ok(found.answers().iter().filter_map(|record| record.data.ip_addr()).collect())
}

#[tokio::test]
async fn one_name_server_that_fails_or_is_slow_does_not_speak_for_the_other() {
    use ResponseCode::{FormErr, NotImp, Refused, ServFail};
    let ip = IpAddr::from([10, 0, 0, 1]);
    let delay = Duration::from_millis(20);
    for code in [ServFail, Refused, NotImp, FormErr] {
        let (bad, good) = (name_server(Duration::ZERO, Err(code)).await, name_server(delay, Ok(ip)).await);
        assert_eq!(asked(&[bad, good]).await.unwrap(), [ip], "{code}");
        assert_eq!(asked(&[good, bad]).await.unwrap(), [ip], "{code}");
        let error = asked(&[bad, bad]).await.unwrap_err();
        assert!(matches!(error, NetError::Dns(DnsError::ResponseCode(given)) if given == code), "{error}");
    }
    let (slow, good) = (name_server(Duration::from_secs(60), Ok(ip)).await, name_server(delay, Ok(ip)).await);
    assert_eq!(asked(&[slow, good]).await.unwrap(), [ip]);
    assert_eq!(asked(&[good, slow]).await.unwrap(), [ip]);
}
