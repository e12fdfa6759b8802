//! Name servers as they are met: old, filtering, forwarding, slow, or wrong.
//!
//! Each test is a behaviour that real servers or the boxes before them show, at the level of
//! datagrams.

use std::collections::BTreeSet;
use std::future::poll_fn;
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::rdata::CNAME;
use hickory_proto::rr::{Name, RData, Record, RecordType};
use meshless::Resolver;
use meshless::resolver::{DnsConfig, DnsResolver, Resolution, ResolveError, ResolveHint};

use meshless_testkit::raw_name_server::*;

const MS: Duration = Duration::from_millis(1);
/// Longer than anything here takes; reaching it is a failure.
const PATIENCE: Duration = Duration::from_secs(20);

const V4: &str = "127.0.0.1";
const V6: &str = "::1";

fn config() -> DnsConfig {
    DnsConfig::new().poll_floor(50 * MS).min_interval(20 * MS).lookup_timeout(2000 * MS)
}

fn resolver_of(server: &RawNameServer, host: &str, config: DnsConfig) -> Box<dyn Resolver> {
    Box::new(DnsResolver::new(host, 50051, config).name_server(server.address))
}

fn resolver(server: &RawNameServer) -> Box<dyn Resolver> {
    resolver_of(server, "echo.shop.test.", config())
}

async fn next(resolver: &mut Box<dyn Resolver>) -> Resolution {
    let next = poll_fn(|cx| resolver.poll_resolution(cx));
    tokio::time::timeout(PATIENCE, next).await.expect("a resolution comes")
}

async fn next_addresses(resolver: &mut Box<dyn Resolver>) -> BTreeSet<String> {
    addresses(&next(resolver).await)
}

fn addresses(resolution: &Resolution) -> BTreeSet<String> {
    resolution.as_ref().unwrap().iter().map(|endpoint| endpoint.address.to_string()).collect()
}

async fn until_addresses(resolver: &mut Box<dyn Resolver>, wanted: &[&str]) {
    let begin = Instant::now();
    loop {
        let resolution = next(resolver).await;
        if resolution.is_ok() && addresses(&resolution) == set(wanted) {
            return;
        }
        assert!(begin.elapsed() < PATIENCE, "still {resolution:?}");
    }
}

fn set(addresses: &[&str]) -> BTreeSet<String> {
    let show = |ip: &&str| if ip.contains(':') { format!("[{ip}]:50051") } else { format!("{ip}:50051") };
    addresses.iter().map(show).collect()
}

/// Whether this machine could send to an IPv6 address: otherwise it is left out beside an IPv4 one.
fn both(v4: &'static str, v6: &'static str) -> Vec<&'static str> {
    let routed = std::net::UdpSocket::bind("[::]:0").and_then(|socket| socket.connect((v6, 9))).is_ok();
    if routed { vec![v4, v6] } else { vec![v4] }
}

/// Answers queries of `answered`, and is silent about the other kind.
fn only(answered: RecordType, address: &'static str) -> impl Fn(&Message) -> Replies + Send {
    move |query| match kind(query) == answered {
        true => now(with_addresses(query, &[address], 0)),
        false => Vec::new(),
    }
}

#[tokio::test]
async fn one_family_that_is_never_answered_does_not_hold_up_the_other() {
    for (answered, first, second) in
        [(RecordType::A, "127.0.0.1", "127.0.0.2"), (RecordType::AAAA, "::1", "fd00::2")]
    {
        let server = RawNameServer::start(only(answered, first)).await;
        let mut resolver = resolver(&server);
        let begin = Instant::now();
        assert_eq!(next_addresses(&mut resolver).await, set(&[first]), "{answered}");
        assert!(begin.elapsed() >= 50 * MS, "the other family was given RFC 8305's delay");
        assert!(begin.elapsed() < 1900 * MS, "and not the whole lookup: {:?}", begin.elapsed());
        // Nor is the old address kept when it changes.
        server.behave(only(answered, second));
        until_addresses(&mut resolver, &[second]).await;
    }
}

#[tokio::test]
async fn a_family_that_comes_late_is_added_and_one_that_fell_silent_is_kept_for_a_while() {
    let late = |query: &Message| match kind(query) {
        RecordType::A => now(with_addresses(query, &[V4], 30)),
        _ => after(300 * MS, with_addresses(query, &[V6], 30)),
    };
    let server = RawNameServer::start(late).await;
    let mut resolver = resolver(&server);
    assert_eq!(next_addresses(&mut resolver).await, set(&[V4]));
    assert_eq!(next_addresses(&mut resolver).await, set(&both(V4, V6)), "in the same lookup");
    server.behave(only(RecordType::A, "127.0.0.2"));
    resolver.resolve_now(ResolveHint::AllFailed);
    assert_eq!(next_addresses(&mut resolver).await, set(&both("127.0.0.2", V6)));
}

#[tokio::test]
async fn a_family_that_was_missing_is_asked_for_again_long_before_the_records_expire() {
    let server = RawNameServer::start(only(RecordType::A, V4)).await;
    let hour = Duration::from_secs(3600);
    let config = config().lookup_timeout(400 * MS).poll_ceiling(hour).poll_floor(hour);
    let mut resolver = resolver_of(&server, "echo.shop.test.", config);
    assert_eq!(next_addresses(&mut resolver).await, set(&[V4]));
    server.behave(|query| now(with_addresses(query, &[V4, V6], 3600)));
    until_addresses(&mut resolver, &both(V4, V6)).await;
}

#[tokio::test]
async fn servers_that_do_not_know_aaaa_fail_it_in_many_ways() {
    use ResponseCode::{FormErr, NXDomain, NoError, NotImp, Refused, ServFail};
    for answer in [ServFail, Refused, NotImp, FormErr, NXDomain, NoError] {
        let server = RawNameServer::start(move |query| match kind(query) {
            RecordType::A => now(with_addresses(query, &[V4], 30)),
            _ => code(query, answer),
        })
        .await;
        assert_eq!(next_addresses(&mut resolver(&server)).await, set(&[V4]), "{answer}");
        // The wrong answer comes first, and the right one takes its time.
        server.behave(move |query| match kind(query) {
            RecordType::A => after(150 * MS, with_addresses(query, &["127.0.0.2"], 30)),
            _ => code(query, answer),
        });
        assert_eq!(next_addresses(&mut resolver(&server)).await, set(&["127.0.0.2"]), "late, {answer}");
    }
}

#[tokio::test]
async fn servers_that_do_not_know_edns_are_asked_without_it() {
    use ResponseCode::{BADVERS, FormErr, NotImp, Refused, ServFail};
    for answer in [Some(FormErr), Some(NotImp), Some(ServFail), Some(Refused), Some(BADVERS), None] {
        let server = RawNameServer::start(move |query| match (&query.edns, answer) {
            (None, _) => now(with_addresses(query, &[V4], 30)),
            (Some(_), None) => Vec::new(),
            // Extended codes need EDNS in the response.
            (Some(edns), Some(BADVERS)) => {
                let mut response = response(query);
                response.set_edns(edns.clone());
                response.metadata.response_code = BADVERS;
                now(response)
            }
            (Some(_), Some(answer)) => code(query, answer),
        })
        .await;
        assert_eq!(next_addresses(&mut resolver(&server)).await, set(&[V4]), "{answer:?}");
        assert!(server.queries().iter().any(|query| query.edns.is_some()), "{answer:?}: EDNS is tried first");
    }
}

#[tokio::test]
async fn silence_about_edns_is_waited_for_once_and_not_in_each_lookup() {
    let silent = |query: &Message| match &query.edns {
        None => now(with_addresses(query, &[V4], 0)),
        Some(_) => Vec::new(),
    };
    let server = RawNameServer::start(silent).await;
    let mut resolver = resolver(&server);
    assert_eq!(next_addresses(&mut resolver).await, set(&[V4]));
    let asked = server.queries().len();
    for _ in 0..3 {
        assert_eq!(next_addresses(&mut resolver).await, set(&[V4]));
    }
    assert!(server.queries()[asked..].iter().all(|query| query.edns.is_none()));
    // A server that is silent for a while is asked with EDNS again.
    server.behave(|_| Vec::new());
    while next(&mut resolver).await.is_ok() {}
    server.behave(|query| {
        if query.edns.is_some() { now(with_addresses(query, &["127.0.0.2"], 0)) } else { Vec::new() }
    });
    until_addresses(&mut resolver, &["127.0.0.2"]).await;
}

#[tokio::test]
async fn datagrams_that_are_not_the_answer_are_passed_over() {
    let server = RawNameServer::start(|query| {
        let good = with_addresses(query, &[V4], 30);
        let lie = with_addresses(query, &["127.0.0.66"], 30);
        let mut wrong_id = lie.clone();
        wrong_id.metadata.id ^= 1;
        let mut wrong_question = lie.clone();
        let other: Name = "other.shop.test.".parse().unwrap();
        wrong_question.queries[0].set_name(other);
        let bytes = |message: &Message| (Duration::ZERO, message.to_vec().unwrap());
        vec![
            bytes(&wrong_id),
            bytes(&wrong_question),
            (Duration::ZERO, vec![0]),
            (Duration::ZERO, Vec::new()),
            (5 * MS, good.to_vec().unwrap()),
        ]
    })
    .await;
    assert_eq!(next_addresses(&mut resolver(&server)).await, set(&[V4]));
}

#[tokio::test]
async fn a_query_that_comes_back_or_cannot_be_read_is_a_failure_in_time() {
    type Broken = fn(&Message) -> Vec<u8>;
    let cases: [(&str, Broken); 3] = [
        ("a forwarder that echoes", |query| {
            let mut echo = query.clone();
            echo.metadata.message_type = MessageType::Query;
            echo.to_vec().unwrap()
        }),
        ("a header without the rest", |query| {
            let mut bytes = with_addresses(query, &[V4], 30).to_vec().unwrap();
            bytes.truncate(20);
            bytes
        }),
        ("counts that promise too much", |query| {
            let mut bytes = with_addresses(query, &[V4], 30).to_vec().unwrap();
            bytes[6..8].copy_from_slice(&u16::MAX.to_be_bytes());
            bytes
        }),
    ];
    for (case, broken) in cases {
        let server = RawNameServer::start(move |query| vec![(Duration::ZERO, broken(query))]).await;
        let config = config().lookup_timeout(600 * MS);
        let mut resolver = resolver_of(&server, "echo.shop.test.", config);
        let begin = Instant::now();
        let error = next(&mut resolver).await.unwrap_err();
        assert!(begin.elapsed() < 5000 * MS, "{case}");
        let expected = matches!(
            error,
            ResolveError::Dns { .. } | ResolveError::Timeout { .. } | ResolveError::NoAddresses { .. }
        );
        assert!(expected, "{case}: {error:?}");
        server.behave(|query| now(with_addresses(query, &[V4], 30)));
        until_addresses(&mut resolver, &[V4]).await;
    }
}

fn alias(of: &str, to: &str, ttl_s: u32) -> Record {
    let (of, to): (Name, Name) = (of.parse().unwrap(), to.parse().unwrap());
    Record::from_rdata(of, ttl_s, RData::CNAME(CNAME(to)))
}

#[tokio::test]
async fn aliases_are_followed_as_far_as_they_lead_somewhere() {
    let chain = |query: &Message| {
        let mut response = response(query);
        response.add_answer(alias("echo.shop.test.", "a.test.", 30));
        response.add_answer(alias("a.test.", "b.test.", 30));
        if kind(query) == RecordType::A {
            let data = RData::from(std::net::Ipv4Addr::LOCALHOST);
            response.add_answer(Record::from_rdata("b.test.".parse().unwrap(), 30, data));
        }
        now(response)
    };
    let server = RawNameServer::start(chain).await;
    assert_eq!(next_addresses(&mut resolver(&server)).await, set(&[V4]));
    // To itself, and to nowhere.
    for to in ["echo.shop.test.", "nowhere.test."] {
        server.behave(move |query| {
            let mut response = response(query);
            if name(query).to_ascii() == "echo.shop.test." {
                response.add_answer(alias("echo.shop.test.", to, 30));
            }
            now(response)
        });
        let error = next(&mut resolver(&server)).await.unwrap_err();
        assert!(!matches!(error, ResolveError::Timeout { .. }), "to {to}: {error}");
    }
}

#[tokio::test]
async fn records_of_another_name_are_not_ours() {
    let server = RawNameServer::start(|query| {
        let mut response = with_addresses(query, &[V4], 30);
        if kind(query) == RecordType::A {
            let data = RData::from(std::net::Ipv4Addr::new(127, 0, 0, 66));
            response.add_answer(Record::from_rdata("other.test.".parse().unwrap(), 30, data));
        }
        now(response)
    })
    .await;
    assert_eq!(next_addresses(&mut resolver(&server)).await, set(&[V4]));
}

#[tokio::test]
async fn the_case_of_names_does_not_matter() {
    let server = RawNameServer::start(|query| {
        let mut response = with_addresses(query, &[V4], 30);
        let lower = |name: &Name| name.to_ascii().to_ascii_lowercase().parse::<Name>().unwrap();
        response.queries[0].set_name(lower(&name(query)));
        for answer in &mut response.answers {
            answer.name = lower(&answer.name).to_string().to_ascii_uppercase().parse().unwrap();
        }
        now(response)
    })
    .await;
    let mut resolver = resolver_of(&server, "Echo.Shop.TEST.", config());
    assert_eq!(next_addresses(&mut resolver).await, set(&[V4]));
}

#[tokio::test]
async fn any_ttl_is_bounded() {
    for ttl_s in [0, 1 << 31, u32::MAX] {
        let server = RawNameServer::start(move |query| now(with_addresses(query, &[V4], ttl_s))).await;
        let config = config().poll_ceiling(60 * MS).poll_floor(50 * MS);
        let mut resolver = resolver_of(&server, "echo.shop.test.", config);
        for _ in 0..3 {
            assert_eq!(next_addresses(&mut resolver).await, set(&[V4]), "{ttl_s}");
        }
    }
}

#[tokio::test]
async fn a_truncated_answer_without_tcp_is_a_failure_that_says_so() {
    let server = RawNameServer::start(|query| now(with_addresses(query, &[V4], 0))).await;
    let mut resolver = resolver(&server);
    assert_eq!(next_addresses(&mut resolver).await, set(&[V4]));
    // As in grpc-go and in C-core's c-ares: a part of the backends is not the backends.
    server.behave(|query| {
        let mut response = with_addresses(query, &[V4], 0);
        response.metadata.truncation = true;
        now(response)
    });
    let begin = Instant::now();
    let error = loop {
        match next(&mut resolver).await {
            Err(error) => break error,
            Ok(_) => assert!(begin.elapsed() < PATIENCE),
        }
    };
    assert!(error.to_string().contains("TCP"), "{error}");
}

#[tokio::test]
async fn addresses_by_which_filters_block_a_name_are_a_failure_that_says_so() {
    let server = RawNameServer::start(|query| now(with_addresses(query, &["0.0.0.0", "::"], 30))).await;
    let error = next(&mut resolver(&server)).await.unwrap_err();
    assert!(matches!(error, ResolveError::Dns { .. }) && error.to_string().contains("filter"), "{error}");
    // One real address among them is used.
    server.behave(|query| now(with_addresses(query, &["0.0.0.0", V4], 30)));
    assert_eq!(next_addresses(&mut resolver(&server)).await, set(&[V4]));
}

#[tokio::test]
async fn the_search_path_does_not_wait_for_aaaa_of_names_that_do_not_exist() {
    // The system's search path may be empty here, and the name itself is tried in any case: it is
    // the only one with A.
    let server = RawNameServer::start(|query| match (kind(query), name(query).to_ascii().as_str()) {
        (RecordType::A, "echo.shop.test.") => now(with_addresses(query, &[V4], 30)),
        (RecordType::A, _) => code(query, ResponseCode::NXDomain),
        _ => Vec::new(),
    })
    .await;
    let mut resolver = resolver_of(&server, "echo.shop.test", config());
    assert_eq!(next_addresses(&mut resolver).await, set(&[V4]));
    server.behave(|query| match kind(query) {
        RecordType::A => code(query, ResponseCode::NXDomain),
        _ => Vec::new(),
    });
    let begin = Instant::now();
    let mut resolver = resolver_of(&server, "no.such.test.", config());
    let error = next(&mut resolver).await.unwrap_err();
    assert!(matches!(error, ResolveError::NoSuchName { .. }), "{error}");
    assert!(begin.elapsed() < 1900 * MS, "{:?}", begin.elapsed());
}
